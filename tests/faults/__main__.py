"""python -m tests.faults: kill, stop, cut and fill what Backlot runs on, and account for every job from outside.

Without arguments all scenarios of docs/faults.md and a soak of 2,000 jobs under 100 faults; names choose some. `soak`
is the soak alone. With --url nothing is started and nothing killed: jobs are submitted to that deployment, the
command given with --strike is run every so often, and the books are closed.
"""

import importlib
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console

from tests.faults import results
from tests.faults.scenario import SCENARIOS, Row, Scenario, play

PARTS = ("kills", "bells", "drains", "redis_away", "bucket", "replies", "jobs_at_fault", "cancels", "versions", "flood")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
OWN = ("4g",)
"""Scenarios that get a deployment of their own: what they leave would slow the others."""
console = Console(highlight=False, soft_wrap=True)
for part in PARTS:
    importlib.import_module(f"tests.faults.{part}")


@click.command(help=__doc__)
@click.argument("names", nargs=-1)
@click.option("--size", default=40, show_default=True, help="jobs a scenario is worth")
@click.option("--seed", type=int, help="of the soak; printed")
@click.option("--jobs", default=2000, show_default=True, help="of the soak")
@click.option("--faults", default=100, show_default=True, help="of the soak")
@click.option("--out", type=click.Path(path_type=Path), default=Path(__file__).parent / "RESULTS.md", show_default=True)
@click.option("--revision", default="", help="that 10f upgrades from; else the one before the scripts last changed")
@click.option("--url", help="a deployment of your own")
@click.option("--key", envvar="BACKLOT_API_KEY", help="an API key of it")
@click.option(
    "--body",
    default='{"kind": "generate", "input": {"prompt": "It was"}, "params": {"max_tokens": 64}}',
    show_default=True,
    help="what is submitted to it",
)
@click.option("--strike", multiple=True, help="a command that strikes at it; drawn by chance where there are several")
@click.option("--every", default=20.0, show_default=True, help="seconds between two strikes")
def main(
    names: tuple[str, ...],
    size: int,
    seed: int | None,
    jobs: int,
    faults: int,
    out: Path,
    revision: str,
    url: str | None,
    key: str | None,
    body: str,
    strike: tuple[str, ...],
    every: float,
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    start = time.monotonic()
    if url:
        from tests.faults import elsewhere

        rows = [elsewhere.run(url, key or "", body, jobs, strike, faults if strike else 0, every, console.print)]
        console.print(results.table(rows), markup=False)
        sys.exit(0 if rows[0].passed else 1)
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    chosen = [one for one in SCENARIOS if not names or {one.number, one.number.rstrip(LETTERS)} & set(names)]
    rows = _scenarios(chosen, size, revision)
    if not names or "soak" in names:
        rows.append(_soak(seed, jobs, faults))
    from tests.faults.place import FAST

    command = " ".join(["python -m tests.faults", *names])
    results.write(out, rows, command, (time.monotonic() - start) / 60, FAST)
    console.print(results.table(rows), markup=False, soft_wrap=True)
    failed = [row.number for row in rows if not row.passed]
    console.print(f"Written to {out}. " + (f"FAILED: {', '.join(failed)}" if failed else "All passed."))
    sys.exit(1 if failed else 0)


def _scenarios(chosen: list[Scenario], size: int, revision: str) -> list[Row]:
    from tests.faults.place import place

    rows = []
    shared, own = ([one for one in chosen if (one.number in OWN) is alone] for alone in (False, True))
    for group in filter(None, (shared, *([one] for one in own))):
        with tempfile.TemporaryDirectory(prefix="backlot-faults-") as folder, place(Path(folder)) as there:
            there.revision = revision
            for one in group:
                rows.append(_said(play(there, one, size)))
    return rows


def _said(row: Row) -> Row:
    account = row.account
    verdict = "ok" if row.passed else "FAILED"
    console.print(
        f"{row.number:>4} {verdict:6} {row.took_s:5.0f} s  {account.jobs:5} jobs, lost {len(account.lost)}, "
        f"twice {len(account.twice)}, extra starts {account.extra_starts}  {row.title}",
        markup=False,
    )
    console.print(f"            {row.failed or row.remark} {results.recovery(account.recoveries)}", markup=False)
    return row


def _soak(seed: int, jobs: int, faults: int) -> Row:
    from tests.faults.place import place
    from tests.faults.soak import Soak

    console.print(f"soak: seed {seed}, {jobs:,} jobs, {faults} faults")
    with tempfile.TemporaryDirectory(prefix="backlot-soak-") as folder, place(Path(folder)) as there:
        row = Soak(there, seed, jobs, faults, console.print).run()
    row.remark = f"seed {seed}; {row.remark}"
    return _said(row)


if __name__ == "__main__":
    main()
