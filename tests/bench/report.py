"""The results for people and programs: a table on the terminal, results.json and RESULTS.md."""

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.figures import Figure

HEADS = ("", "Backlot", "naive", "ratio", "target", "aim", "")
VERDICTS = {None: "", True: "met", False: "MISSED"}


def show(console: Console, figures: list[Figure]) -> None:
    """The table."""
    table = Table(*HEADS, header_style="bold")
    for column in table.columns[1:4]:
        column.justify = "right"
    for figure in figures:
        style = {None: None, True: "green", False: "red"}[figure.met]
        table.add_row(*_cells(figure), style=style)
    console.print(table)


def write(folder: Path, facts: dict[str, str], figures: list[Figure]) -> None:
    """Both files."""
    lines = [
        {**asdict(figure), "ratio": figure.ratio, "met": figure.met, "aim_met": figure.aim_met} for figure in figures
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({"machine": facts, "figures": lines}, indent=1) + "\n")
    (folder / "RESULTS.md").write_text("\n".join(_markdown(facts, figures)) + "\n")


def _markdown(facts: dict[str, str], figures: list[Figure]) -> Iterable[str]:
    yield "# Measured by `make bench`"
    yield ""
    yield (
        "Backlot beside a plain Flask, Celery and Redis app (naive.py), in turns, on one machine that also made the "
        "load. Medians; (lowest-highest) where there were several runs; the ratio is the median of the pairs'. "
        "README.md says how each figure is taken."
    )
    yield ""
    yield from (f"- {name}: {text}" for name, text in facts.items())
    yield ""
    yield "| " + " | ".join(HEADS) + " |"
    yield "|---|--:|--:|--:|---|---|---|"
    for figure in figures:
        yield "| " + " | ".join(_cells(figure)) + " |"


def _cells(figure: Figure) -> tuple[str, ...]:
    ratio = f"{figure.ratio:.2f}" if figure.ratio is not None else ""
    return (
        f"{figure.name}{', ' + figure.unit if figure.unit else ''}",
        _values(figure.backlot),
        _values(figure.naive),
        ratio,
        str(figure.target or ""),
        str(figure.aim or ""),
        VERDICTS[figure.met] + (", aim too" if figure.aim_met else ""),
    )


def _values(values: list[float]) -> str:
    if not values:
        return ""
    middle = _number(statistics.median(values))
    return f"{middle} ({_number(min(values))}-{_number(max(values))})" if len(values) > 1 else middle


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"
