"""python -m tests.bench.servers: submits a second and their p99, by HTTP server, with nobody working.

In turns, each round with fresh servers and data: the naive app and Backlot's Flask app on gunicorn (2 processes of 16
threads), and Backlot as it ships, granian with the bridge (2 processes of 8). Medians, lowest and highest. On a machine
that is not quiet the CPU of the API's processes a POST says most.
"""

import statistics
from collections.abc import Callable

import click
from rich.console import Console
from rich.table import Table

from tests.bench.load import WARM_UP
from tests.bench.sides import Backlot, Naive, Side
from tests.stack import Process

CONNECTIONS = 32
LEAST_SHARE = 0.2
ROWS: list[tuple[str, type[Side], Callable[[Side], Process]]] = [
    ("naive app on gunicorn gthread 16", Naive, Naive.start_api),
    ("Backlot on gunicorn gthread 16", Backlot, Backlot.start_api_on_gunicorn),
    ("Backlot as shipped: granian, bridge", Backlot, Backlot.start_api),
]


@click.command(help=__doc__)
@click.option("--rounds", default=5, show_default=True)
@click.option("--count", default=5000, show_default=True, help="POSTs a run that are counted")
def main(rounds: int, count: int) -> None:
    told: dict[str, list[dict[str, float]]] = {name: [] for name, *_ in ROWS}
    for number in range(1, rounds + 1):
        for name, side_class, start in ROWS:
            with side_class() as side:
                api = start(side)
                spent = side.cpu_s()["api"]
                run = side.load(api, count, CONNECTIONS)
                run["cpu_us"] = (side.cpu_s()["api"] - spent) / (count + WARM_UP * CONNECTIONS) * 1e6
            print(
                f"round {number}, {name}: {run['per_s']:,.0f}/s, p99 {run['p99_ms']:.0f} ms, "
                f"CPU a POST {run['cpu_us']:,.0f} us, share of the idler {run['least_share']:.2f}",
                flush=True,
            )
            if run["least_share"] >= LEAST_SHARE:  # else all connections went to one process
                told[name].append(run)
    table = Table("server", "submits/s", "p50, ms", "p99, ms", "CPU a POST, us", "runs")
    for name, runs in told.items():
        table.add_row(
            name,
            *(_figure([run[key] for run in runs]) for key in ("per_s", "p50_ms", "p99_ms", "cpu_us")),
            str(len(runs)),
        )
    Console(width=150, highlight=False).print(table)


def _figure(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"


if __name__ == "__main__":
    main()
