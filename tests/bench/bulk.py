"""Jobs a second by one request of many lines, beside the naive app's one by one; and what another caller feels of it.

The other caller is another tenant with 100 submits a second, alone and beside one batch after the other.
"""

import json
import statistics
import subprocess
import sys
import threading
import time

import httpx

from tests.bench.figures import Figure, Target, cpu_figures, cpu_us, figure, in_turns
from tests.bench.plan import Plan
from tests.bench.sides import Backlot, Side
from tests.bench.submits import CONNECTIONS
from tests.bench.work import BODY
from tests.stack import Process

LINES, QUICK_LINES = 10_000, 500
BATCHES = 3
ONE_BY_ONE, QUICK_ONE_BY_ONE = 3000, 300
RATE = 100
SECONDS, QUICK_SECONDS = 15, 2
OTHER_KEY, OTHER_TENANT = "bl_another-key-for-the-benchmark", "other"


def measure(plan: Plan) -> list[Figure]:
    """Pools stopped throughout."""
    lines = plan.size(LINES, QUICK_LINES)
    plan.say(f"bulk: {BATCHES} batches of {lines:,} lines, and another caller with {RATE} submits a second")
    runs = in_turns(plan.pairs, lambda side: _run(side, plan, lines), plan.say)
    ours = runs["backlot"]
    beside, alone = ([run[f"{name}_p99_ms"] for run in ours] for name in ("beside", "alone"))
    name = f"another caller's submit at {RATE}/s, beside bulk (beside: alone)"
    return [
        figure(
            f"bulk, {lines:,} jobs in one request (naive: one by one)",
            "1/s",
            runs,
            "per_s",
            Target(8, at_least=True),
            Target(10_000, at_least=True, of_ratio=False),
        ),
        *cpu_figures(runs, {"api": "API", "redis": "Redis"}),
        Figure(f"{name}, p99", "ms", beside, alone, Target(1.5)),
        Figure("- p50", "ms", *([run[f"{which}_p50_ms"] for run in ours] for which in ("beside", "alone"))),
        figure("- jobs of bulk meanwhile", "1/s", runs, "meanwhile_per_s"),
    ]


def _run(side: Side, plan: Plan, lines: int) -> dict[str, float]:
    if not isinstance(side, Backlot):
        count = plan.size(ONE_BY_ONE, QUICK_ONE_BY_ONE)
        api = side.start_api()
        return {"per_s": side.load(api, count, CONNECTIONS)["per_s"]}
    side.add_tenant(OTHER_KEY, OTHER_TENANT)
    api = side.start_api()
    with _client(api, side) as client:
        _send(client, QUICK_LINES)  # the first loads the script
        spent = side.cpu_s()
        took = [_send(client, lines) for _ in range(BATCHES)]
        told = {"per_s": lines / statistics.median(took)} | cpu_us(spent, side.cpu_s(), lines * BATCHES)
    told |= {f"alone_{name}": value for name, value in _other_caller(api, plan).items()}
    with _Bulk(api, side, lines) as bulk:
        told |= {f"beside_{name}": value for name, value in _other_caller(api, plan).items()}
    return told | {"meanwhile_per_s": bulk.per_s}


def _client(api: Process, side: Backlot) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{api.port}",
        headers={**side.headers, "Content-Type": "application/jsonl"},
        timeout=120,
        trust_env=False,
    )


def _send(client: httpx.Client, lines: int) -> float:
    """The seconds of one batch, from its first byte to the end of the answer; every line must have made a job."""
    body = f"{BODY}\n".encode() * lines
    start = time.perf_counter()
    answer = client.post("/v1/batches", content=body)
    took = time.perf_counter() - start
    assert answer.headers.get("Batch-Accepted") == str(lines), answer.text[:1000]
    return took


def _other_caller(api: Process, plan: Plan) -> dict[str, float]:
    asked = {
        "host": "127.0.0.1",
        "port": api.port,
        "path": "/v1/jobs",
        "headers": {"Authorization": f"Bearer {OTHER_KEY}"},
        "body": BODY,
    }
    told = subprocess.run(
        [sys.executable, "-m", "tests.bench.paced", str(RATE), str(plan.size(SECONDS, QUICK_SECONDS))],
        check=False,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
    )
    if told.returncode:
        raise RuntimeError(f"the other caller failed:\n{told.stderr[-2000:]}\n{api.log()[-2000:]}")
    return json.loads(told.stdout)


class _Bulk:
    """Batches, one after the other, while the block runs; `per_s` has the jobs that they made a second."""

    def __init__(self, api: Process, side: Backlot, lines: int) -> None:
        self._client, self._lines = _client(api, side), lines
        self._over, self._took = threading.Event(), []
        self._thread = threading.Thread(target=self._go)

    def __enter__(self) -> "_Bulk":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()
        self.per_s = self._lines / statistics.mean(self._took)

    def _go(self) -> None:
        while not self._over.is_set() or not self._took:
            self._took.append(_send(self._client, self._lines))
