"""The results for people and programs: a table on the terminal, results.json and RESULTS.md.

python -m tests.bench.report results.json --before earlier.json    # writes RESULTS.md of a run again, beside it
"""

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.bench.before import Before, Earlier, places
from tests.bench.figures import Figure, Target

HEADS = ("", "before", "Backlot", "naive", "ratio", "target", "aim", "")
VERDICTS = {None: "", True: "met", False: "MISSED"}
AIMS = {None: "", True: "aim met", False: "aim missed"}
RIGHT = "|---|--:|--:|--:|--:|---|---|---|"
INTRODUCTION = """\
Backlot beside a plain Flask, Celery and Redis app (naive.py), in turns, on one machine that also made the load.
Medians; (lowest-highest) where there were several runs; the ratio is the median of the pairs'. README.md says how
each figure is taken. Targets with an x are of the ratio."""
Row = tuple[str, ...]


@click.command(help=__doc__)
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--before", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(results: Path, before: Path | None) -> None:
    told = json.loads(results.read_text())
    figures = [_figure(line) for line in told["figures"]]
    _write_page(results.parent, told["machine"], figures, Before(before) if before else None)


def show(console: Console, figures: list[Figure], before: Before | None = None) -> None:
    """The table."""
    table = Table(*HEADS, header_style="bold")
    for column in table.columns[1:5]:
        column.justify = "right"
    for figure, cells in zip(figures, _rows(figures, before), strict=True):
        style = {None: None, True: "green", False: "red"}[figure.met]
        table.add_row(*cells, style=style)
    console.print(table)


def write(folder: Path, facts: dict[str, str], figures: list[Figure], before: Before | None = None) -> None:
    """Both files."""
    lines = [
        {**asdict(figure), "ratio": figure.ratio, "met": figure.met, "aim_met": figure.aim_met} for figure in figures
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({"machine": facts, "figures": lines}, indent=1) + "\n")
    _write_page(folder, facts, figures, before)


def _write_page(folder: Path, facts: dict[str, str], figures: list[Figure], before: Before | None) -> None:
    (folder / "RESULTS.md").write_text("\n".join(_markdown(facts, figures, before)) + "\n")


def _markdown(facts: dict[str, str], figures: list[Figure], before: Before | None) -> Iterable[str]:
    yield from ("# Measured by `make bench`", "", INTRODUCTION, "")
    yield from (f"- {name}: {text}" for name, text in facts.items())
    if before:
        told = before.machine
        yield f"- before: a run of {told.get('measured at')}, {told.get('cores')} cores, Python {told.get('python')}"
    rows = list(_rows(figures, before))
    headings = (heading for heading, _ in places(figure.name for figure in figures))
    judged = [
        (f"{heading}: {name.removeprefix('- ')}" if name.startswith("- ") else name, *rest)
        for figure, heading, (name, *rest) in zip(figures, headings, rows, strict=True)
        if figure.target or figure.aim
    ]
    yield from ("", "## Targets", "", *_table(judged), "", "## All figures", "", *_table(rows))


def _table(rows: list[Row]) -> Iterable[str]:
    yield "| " + " | ".join(HEADS) + " |"
    yield RIGHT
    yield from ("| " + " | ".join(row) + " |" for row in rows)


def _rows(figures: list[Figure], before: Before | None) -> Iterable[Row]:
    for place, figure in zip(places(figure.name for figure in figures), figures, strict=True):
        yield _cells(figure, before.find(place, figure.unit) if before else None)


def _cells(figure: Figure, earlier: Earlier | None) -> Row:
    return (
        f"{figure.name}{', ' + figure.unit if figure.unit else ''}",
        _earlier(earlier),
        _values(figure.backlot),
        _values(figure.naive),
        f"{figure.ratio:.2f}" if figure.ratio is not None else "",
        str(figure.target or ""),
        str(figure.aim or ""),
        ", ".join(filter(None, (VERDICTS[figure.met], AIMS[figure.aim_met]))),
    )


def _earlier(earlier: Earlier | None) -> str:
    if earlier is None:
        return ""
    ratio = f" ({earlier.ratio:.2f}x)" if earlier.ratio is not None else ""
    return _number(earlier.value) + ratio


def _values(values: list[float]) -> str:
    if not values:
        return ""
    middle = _number(statistics.median(values))
    return f"{middle} ({_number(min(values))}-{_number(max(values))})" if len(values) > 1 else middle


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"


def _figure(line: dict) -> Figure:
    """Of results.json; a run of before December 2026 has no aims."""
    targets = {name: Target(**line[name]) if line.get(name) else None for name in ("target", "aim")}
    return Figure(line["name"], line["unit"], line["backlot"], line["naive"], **targets, compared=line["compared"])


if __name__ == "__main__":
    main()
