"""python -m tests.bench: measure Backlot beside a naive Flask + Celery + Redis app, on this machine, now.

--quick runs every measurement and profile with small numbers: it proves that the bench runs and judges nothing.
--profile submit|drain says where the time goes instead.
"""

import os
import signal
import sys
import time
from pathlib import Path

import click
from rich.console import Console

PARTS = ("submits", "drain", "pickup", "growth", "memory")
FULL = {
    "pairs": 3,
    "submits": 5000,
    "drain": 10_000,
    "pickup": 300,
    "rested": 8,
    "waiting": 1_000_000,
    "memory": 10_000,
}
QUICK = {"pairs": 1, "submits": 300, "drain": 300, "pickup": 20, "rested": 1, "waiting": 1000, "memory": 500}
ROOT = Path(__file__).parents[2]
console = Console(highlight=False, soft_wrap=True)


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="all of it and the profiles, with small numbers; nothing to quote")
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="only this measurement (may be repeated)")
@click.option("--pairs", type=click.IntRange(1), help="runs of each side")
@click.option("--waiting", type=click.IntRange(1000), help="jobs waiting at most, for growth")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="where results.json and RESULTS.md go: tests/bench unless told; with --quick .backlot/bench",
)
@click.option("--profile", type=click.Choice(["submit", "drain"]), help="say where the time goes, and no more")
def main(
    quick: bool, only: tuple[str, ...], pairs: int | None, waiting: int | None, out: Path | None, profile: str | None
) -> None:
    for name in [name for name in os.environ if name.startswith("BACKLOT_")]:
        del os.environ[name]  # a stack that is up has nothing to do with this
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end with us
    from tests.bench import profiles

    shown = {"submit": profiles.submit, "drain": profiles.drain}
    if profile:
        return shown[profile](profiles.FEW_JOBS if quick else profiles.JOBS)
    asked = {"pairs": pairs, "waiting": waiting}
    sizes = {**(QUICK if quick else FULL), **{name: value for name, value in asked.items() if value}}
    out = out or (ROOT / ".backlot" / "bench" if quick else Path(__file__).parent)
    out.mkdir(parents=True, exist_ok=True)
    _measure(only or PARTS, sizes, out)
    if quick and not only:
        for show in shown.values():
            show(profiles.FEW_JOBS)


def _measure(parts: tuple[str, ...], sizes: dict[str, int], out: Path) -> None:
    from tests.bench import drain, growth, machine, memory, pickup, report, submits

    start, facts = time.monotonic(), machine.facts()
    measurements = {
        "submits": lambda: submits.measure(sizes["pairs"], sizes["submits"], console.print),
        "drain": lambda: drain.measure(sizes["pairs"], sizes["drain"], console.print),
        "pickup": lambda: pickup.measure(sizes["pairs"], sizes["pickup"], sizes["rested"], console.print),
        "growth": lambda: growth.measure(sizes["waiting"], console.print),
        "memory": lambda: memory.measure(sizes["memory"], console.print),
    }
    figures = [figure for part in parts for figure in measurements[part]()]
    facts["took"] = f"{time.monotonic() - start:.0f} s, {sizes['pairs']} pair(s) of runs"
    report.show(console, figures)
    report.write(out, facts, figures)
    console.print(f"Written to {out / 'RESULTS.md'} and results.json.")


if __name__ == "__main__":
    main()
