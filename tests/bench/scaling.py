"""python -m tests.bench.scaling results.json: writes the measured parts of docs/scaling.md from a run's scale figures.

`make bench` does it at its end. The page holds a part between `<!-- measured: NAME -->` and `<!-- end -->`; all else in
it is written by hand.
"""

import json
import math
import re
from pathlib import Path

import click

from tests.bench import scale
from tests.bench.figures import Figure

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
PART = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
JOBS_S, WORKERS, API_PROCESSES = 2000, 1000, 8
WAITING, HOUR_S, RETENTION_S = 100_000, 3600, 7 * 86_400
EVENTS_A_JOB = 3
"""queued, running, and its end."""
USABLE = 0.7
"""Of Redis' one core: past it a call waits behind others for longer than it takes."""
FACTS = ("measured at", "cores", "server", "python", "NOT QUIET")
Costs = dict[str, float]


@click.command(help=__doc__)
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(results: Path) -> None:
    told = json.loads(results.read_text())
    write({figure["name"]: figure["backlot"][0] for figure in told["figures"] if figure["backlot"]}, told["machine"])


def write_if_measured(figures: list[Figure], facts: dict[str, str]) -> None:
    """The page, where the run has all that it needs."""
    values = {figure.name: figure.backlot[0] for figure in figures if figure.backlot}
    if all(name in values for name, _ in _rows().values()):
        write(values, facts)


def write(values: dict[str, float], facts: dict[str, str]) -> None:
    """`values` of figures by name. Errors: KeyError, with the name of a figure that the run has not."""
    costs = {key: values[name] for key, (name, _) in _rows().items()}
    parts = {"constants": _constants(costs, facts), "example": example(costs)}
    PAGE.write_text(PART.sub(lambda part: f"{part[1]}\n{parts[part[2]]}\n{part[3]}", PAGE.read_text()))


def example(costs: Costs) -> str:
    """The load of JOBS_S jobs a second on WORKERS workers, and how many Redis carry it."""
    asked = {
        "jobs, their whole way": (JOBS_S, costs["whole_us"]),
        f"renewals, {scale.SLOTS} leases each, one a second a worker": (WORKERS, costs["renew_us"]),
        "blocking reads of idle Celery processes, one a second a worker": (WORKERS, costs["blocked_us"]),
        f"events, {EVENTS_A_JOB} a job, to {API_PROCESSES} API processes": (
            JOBS_S * EVENTS_A_JOB * API_PROCESSES,
            costs["event_us"],
        ),
    }
    cores = {what: count * us / 1e6 for what, (count, us) in asked.items()}
    rows = [(what, f"{count:,}", f"{us:,.0f}", f"{cores[what]:.2f}") for what, (count, us) in asked.items()]
    total = sum(cores.values())
    jobs, *fixed, events = cores.values()
    left = max(0.0, USABLE - sum(fixed)) / (jobs + events) * JOBS_S
    kept = {
        f"{WAITING:,} waiting jobs": WAITING * costs["waiting_bytes"],
        f"{WORKERS * scale.SLOTS:,} running jobs": WORKERS * scale.SLOTS * costs["running_bytes"],
        f"{2 * WORKERS + API_PROCESSES:,} connections": (2 * WORKERS + API_PROCESSES) * costs["connection_bytes"],
        "ended jobs of one hour": JOBS_S * HOUR_S * costs["ended_bytes"],
        "ended jobs of seven days": JOBS_S * RETENTION_S * costs["ended_bytes"],
    }
    network = JOBS_S * costs["network_bytes"] + WORKERS * costs["renew_bytes"]
    log = JOBS_S * costs["log_bytes"]
    does = _table(("What Redis does", "A second", "us each", "Cores"), [*rows, ("sum", "", "", f"{total:.2f}")])
    holds = _table(("What Redis holds", "GB"), [(what, f"{size / 1e9:,.2f}") for what, size in kept.items()])
    return f"""{does}
- Redis needed, at {USABLE:.0%} of a core each: {math.ceil(total / USABLE)}.
- Jobs a second that one Redis carries beside these workers and readers: {left:,.0f}.
- Jobs a second that one Redis carries beside a few workers: {USABLE * 1e6 / costs["whole_us"]:,.0f}.

{holds}
- Network, both directions: {network / 1e6:,.1f} MB/s.
- Append-only file: {log / 1e6:,.1f} MB/s, {log * HOUR_S / 1e9:,.0f} GB an hour where it is not rewritten.
"""


def _constants(costs: Costs, facts: dict[str, str]) -> str:
    rows = [
        (name, f"{costs[key]:,.0f}" if costs[key] >= 10 else f"{costs[key]:.2g}", unit)
        for key, (name, unit) in _rows().items()
    ]
    told = "; ".join(f"{name}: {facts[name]}" for name in FACTS if name in facts)
    return f"{_table(('Figure', 'Value', 'Unit'), rows)}\n{told}.\n"


def _rows() -> dict[str, tuple[str, str]]:
    return scale.rows(scale.WORKERS * scale.SLOTS)


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
