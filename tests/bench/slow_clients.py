"""python -m tests.bench.slow_clients: what others see of /healthz and of a poll beside clients that finish no request.

Two processes of the API with their shipped settings, a thousand clients of each sort, with a key and without, for some
seconds each; then a server full of silent connections, and how long it takes until somebody is served again.
"""

import re
import statistics
import tempfile
import threading
import time
from pathlib import Path

import click
import httpx
from rich.console import Console
from rich.table import Table

from api import keyfile
from tasks.ledger import Ledger
from tests.stack import Process, RedisServer, S3Server, Stack, make_settings, make_storage
from tests.strangers.slow import SORTS, Slow, looks

WITHOUT_KEY = ("silent", "half heads", "HTTP/2 prefaces")
FULL_IDLE_S, FULL_CONNECTIONS = 5, 500
console = Console(highlight=False, width=150)


@click.command(help=__doc__)
@click.option("--clients", default=1000, show_default=True)
@click.option("--seconds", default=5.0, show_default=True, help="for each row")
def main(clients: int, seconds: float) -> None:
    table = Table("beside", "healthz p50, ms", "p99", "max", "poll p50, ms", "p99", "max", "looks")
    with tempfile.TemporaryDirectory(prefix="backlot-bench-") as name:
        folder = Path(name)
        redis, s3 = RedisServer(folder), S3Server(folder)
        try:
            settings = make_settings(redis.url(), s3, "slow", folder, http_grace_s=10)
            make_storage(settings)
            Ledger(settings).set_epoch()
            key, slow_key = (keyfile.add(settings.keys_file, tenant) for tenant in ("else", "slow"))
            stack = Stack(settings, folder)
            with stack.api(processes=2) as api:
                table.add_row("nobody", *_row(_seen(api, key, seconds)))
                for sort in SORTS:
                    for its_key in ("",) if sort in WITHOUT_KEY else ("", slow_key):
                        with Slow(api.url, sort, clients, its_key):
                            row = _row(_seen(api, key, seconds))
                        table.add_row(f"{clients:,} {sort}" + (", with a key" if its_key else ""), *row)
            console.print(table)
            with stack.api(http_connections=FULL_CONNECTIONS, http_idle_s=FULL_IDLE_S) as api:
                _full(api)
        finally:
            redis.stop()
            s3.stop()


def _seen(api: Process, key: str, seconds: float) -> dict[str, list[float]]:
    over, seen = threading.Event(), {"healthz": [], "poll": []}
    threading.Timer(seconds, over.set).start()
    for name, ms in looks(api.url, key, over):
        seen[name].append(ms)
    return seen


def _row(seen: dict[str, list[float]]) -> list[str]:
    cells = []
    for values in seen.values():
        hundredths = statistics.quantiles(values, n=100, method="inclusive")
        cells += [f"{hundredths[49]:.1f}", f"{hundredths[98]:.1f}", f"{max(values):.1f}"]
    return [*cells, str(len(seen["poll"]))]


def _full(api: Process) -> None:
    """As many silent connections as the process holds, and one."""
    with Slow(api.url, "silent", FULL_CONNECTIONS + 1):
        start = time.monotonic()
        time.sleep(1.5)  # granian's own figures are a second old
        page = httpx.get(re.search(r"metrics at (http://\S+)", api.log())[1], trust_env=False).text
        httpx.get(f"{api.url}/healthz", timeout=60, trust_env=False).raise_for_status()
        served = time.monotonic() - start
    shown = re.findall(r"^((?:granian_connections_active|backlot_http_connections_\w+)\S* \S+)$", page, re.MULTILINE)
    console.print(
        f"{FULL_CONNECTIONS} held at most, {FULL_CONNECTIONS + 1} silent, {FULL_IDLE_S} s for a head: served "
        f"again after {served:.1f} s; /metrics meanwhile: {', '.join(shown)}"
    )


if __name__ == "__main__":
    main()
