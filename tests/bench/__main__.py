"""python -m tests.bench: measure Backlot beside a naive Flask + Celery + Redis app, on this machine, now.

It stops where something else takes more than a tenth of a core; --anyway goes on and marks the report.
--quick runs every measurement and profile with small numbers: it proves that the bench runs and judges nothing.
--profile submit|drain says where the time goes instead.
"""

import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

import click
from rich.console import Console

from tests.bench import quiet
from tests.bench.plan import Plan

PARTS = (
    "submits",
    "drain",
    "pickup",
    "bulk",
    "growth",
    "memory",
    "cold",
    "keeper",
    "batching",
    "scale",
    "events",
    "flood",
    "eta",
)  # one line a measurement, in the order of the report: tests/bench/<name>.py with measure(plan) -> list[Figure]
PAIRS, QUICK_PAIRS = 3, 1
WAITING, QUICK_WAITING = 1_000_000, 1000
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
console = Console(highlight=False, soft_wrap=True)


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="all of it and the profiles, with small numbers; nothing to quote")
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="only this measurement (may be repeated)")
@click.option("--pairs", type=click.IntRange(1), help="runs of each side")
@click.option("--waiting", type=click.IntRange(1000), help="jobs waiting at most, for growth")
@click.option("--anyway", is_flag=True, help="go on where something else takes the cores; the report says so")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="where results.json and RESULTS.md go: tests/bench unless told; with --quick .backlot/bench",
)
@click.option(
    "--before",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="results.json of an earlier run, whose figures stand in a column of their own",
)
@click.option("--profile", type=click.Choice(["submit", "drain"]), help="say where the time goes, and no more")
def main(
    quick: bool,
    only: tuple[str, ...],
    pairs: int | None,
    waiting: int | None,
    anyway: bool,
    out: Path | None,
    before: Path | None,
    profile: str | None,
) -> None:
    for name in [name for name in os.environ if name.startswith("BACKLOT_")]:
        del os.environ[name]  # a stack that is up has nothing to do with this
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end with us
    from tests.bench import profiles

    shown = {"submit": profiles.submit, "drain": profiles.drain}
    if profile:
        return shown[profile](profiles.FEW_JOBS if quick else profiles.JOBS)
    out = out or (ROOT / ".backlot" / "bench" if quick else HERE)
    out.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        pairs=pairs or (QUICK_PAIRS if quick else PAIRS),
        quick=quick,
        waiting=waiting or (QUICK_WAITING if quick else WAITING),
        say=console.print,
        out=out,
    )
    _measure(only or PARTS, plan, anyway or quick, before)
    if quick and not only:
        for show in shown.values():
            show(profiles.FEW_JOBS)


def _measure(parts: tuple[str, ...], plan: Plan, anyway: bool, before: Path | None) -> None:
    from tests.bench import machine, report, scaling
    from tests.bench.before import Before

    earlier, out = Before(before) if before else None, plan.out
    facts, figures, took, loud = {**machine.facts(), "pairs": f"{plan.pairs}"}, [], [], []
    start = time.monotonic()
    for part in parts:
        quiet_before = quiet.require(plan.say, anyway)
        watch, begun = quiet.Watch(), time.monotonic()
        figures += import_module(f"tests.bench.{part}").measure(plan)
        took.append(f"{part} {time.monotonic() - begun:.0f} s beside {watch.cores():.2f} cores of something else")
        plan.say(took[-1])
        loud += [] if quiet_before else [part]
        facts["took"] = f"{time.monotonic() - start:.0f} s: {'; '.join(took)}"
        if loud:
            facts["NOT QUIET"] = f"something else took more than {quiet.MOST_OTHERS} of a core before {', '.join(loud)}"
        report.write(out, facts, figures, earlier)  # after each part, lest one that fails loses what was measured
    report.show(console, figures, earlier)
    if out == HERE:
        scaling.write_if_measured(figures, facts)
    console.print(f"Written to {out / 'RESULTS.md'} and results.json.")


if __name__ == "__main__":
    main()
