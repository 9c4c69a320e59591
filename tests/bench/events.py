"""Event streams of one API process: their memory, the time from a job's end to its listener, and submits beside them.

2,000 listeners, each on a job of its own, a quarter of which read nothing; 33 of the jobs a second are claimed and
committed (each changes once a minute), and 100 changes of other jobs' status a second come beside.
"""

import json
import statistics
import subprocess
import sys
import threading
import time

import httpx

from tasks.ids import new_id
from tasks.ledger import Ledger, Worker
from tests.bench.figures import Figure, Target
from tests.bench.plan import Plan
from tests.bench.sides import TENANT, Backlot, serving
from tests.bench.work import PATIENT_S, fixed
from tests.stack import ROOT, Process, free_port

LISTENERS, QUICK_LISTENERS = 2000, 60
SLOW_SHARE = 0.25
A_MINUTE = 1
"""Changes of each job."""
BESIDE_PER_S = 100
"""Changes of other jobs' status."""
SECONDS, QUICK_SECONDS = 20, 3
SUBMITS, QUICK_SUBMITS = 5000, 100
CONNECTIONS = 32
WORKER = Worker("bench", "gpu", ["gpu.generate"], ["gpu.generate:gpu-noop"])
RESULT = {"text": "x", "finish_reason": "stop", "usage": {"prompt_tokens": 0, "completion_tokens": 0}}


def measure(plan: Plan) -> list[Figure]:
    count, seconds = plan.size(LISTENERS, QUICK_LISTENERS), plan.size(SECONDS, QUICK_SECONDS)
    submits = plan.size(SUBMITS, QUICK_SUBMITS)
    plan.say(f"events: {count:,} listeners on one process, {SLOW_SHARE:.0%} of them slow, {seconds} s")
    runs = []
    for pair in range(plan.pairs):
        with Backlot() as side:
            runs.append(_run(side, count, seconds, submits))
        plan.say(f"  {pair + 1}/{plan.pairs} " + ", ".join(f"{name} {value:,.3g}" for name, value in runs[-1].items()))

    def figure(name: str, unit: str, key: str, target: Target | None = None, beside: str = "") -> Figure:
        return Figure(name, unit, [run[key] for run in runs], [run[beside] for run in runs if beside], target)

    return [
        figure(f"events, {count:,} listeners, commit to client, p50", "ms", "p50_ms", Target(20, of_ratio=False)),
        figure("- p99", "ms", "p99_ms", Target(100, of_ratio=False)),
        figure("- rss of the API's process", "MB", "rss_mb", Target(200, of_ratio=False)),
        figure("- its CPU a change, streams and reader", "us", "cpu_us"),
        figure("- submits beside them, and without", "1/s", "beside_per_s", Target(0.9, at_least=True), "alone_per_s"),
    ]


def _run(side: Backlot, count: int, seconds: float, submits: int) -> dict[str, float]:
    api = _one_process(side, count)
    worker, told = serving(api)[0], {}
    side.load(api, submits, CONNECTIONS)  # builds validators, connects to Redis
    told["alone_per_s"] = side.load(api, submits, CONNECTIONS)["per_s"]
    ledger = Ledger(side.settings, read_timeout_s=PATIENT_S)
    jobs = [fixed(0, "gpu").model_copy(update={"id": new_id("job"), "tenant": TENANT}) for _ in range(count)]
    for job in jobs:
        ledger.submit(job)
    with _listening(side, api, [job.id for job in jobs]) as listening:
        told["rss_mb"] = worker.memory_info().rss / 1e6
        with _Changes(side, count):
            told["beside_per_s"] = side.load(api, submits, CONNECTIONS)["per_s"]
        before = sum(worker.cpu_times()[:2])
        with _Changes(side, count) as changes:
            time.sleep(seconds)
        time.sleep(1)  # for the last event to arrive
        told["cpu_us"] = (sum(worker.cpu_times()[:2]) - before) / changes.count * 1e6
        told["rss_mb"] = max(told["rss_mb"], worker.memory_info().rss / 1e6)
        heard = listening.end()
    ms = sorted((heard[job] - at) / 1e6 for job, at in changes.committed.items() if job in heard)
    heard_share = len(ms) / len(changes.committed)
    assert abs(heard_share - (1 - SLOW_SHARE)) < 0.2, f"{heard_share:.0%} of the ends were heard"
    return {"p50_ms": statistics.median(ms), "p99_ms": ms[int(len(ms) * 0.99)], **told}


def _one_process(side: Backlot, count: int) -> Process:
    port = free_port()
    env = side._env(http_streams=count, http_streams_per_tenant=count, http_connections=count + 500)
    argv = [sys.executable, "-m", "api", "--port", str(port), "--processes", "1"]
    api = side.run_process("api", argv, env)
    api.port = port
    api.until_up(lambda: httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200, 60)
    return api


class _listening:
    """The listeners, ready; a slow one is first in each four, since jobs are claimed in their order."""

    def __init__(self, side: Backlot, api: Process, jobs: list[str]) -> None:
        every = round(1 / SLOW_SHARE)
        slow = jobs[::every]
        asked = {
            "host": "127.0.0.1",
            "port": api.port,
            "headers": side.headers,
            "jobs": slow + [job for job in jobs if job not in set(slow)],
            "slow": len(slow),
        }
        argv = [sys.executable, "-m", "tests.bench.listeners"]
        self._process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._say(json.dumps(asked))
        assert self._process.stdout.readline() == "ready\n", "the listeners have no streams"

    def __enter__(self) -> "_listening":
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.wait()

    def _say(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, int]:
        self._say("end")
        return json.loads(self._process.stdout.readline())


class _Changes:
    """Ends of the listened jobs, and changes of others, at a steady rate while the block runs.

    committed  job -> time just before its commit was sent, ns
    count      changes of status in all
    """

    tokens = 0

    def __init__(self, side: Backlot, listeners: int) -> None:
        self.committed: dict[str, int] = {}
        self.count = 0
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(side, listeners * A_MINUTE / 60, self._end)),
            threading.Thread(target=self._repeat, args=(side, BESIDE_PER_S / 2, self._beside)),
        ]

    def __enter__(self) -> "_Changes":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, side: Backlot, per_s: float, change) -> None:
        ledger, start, done = Ledger(side.settings, read_timeout_s=PATIENT_S), time.monotonic(), 0
        while not self._over.wait(max(0.0, start + done / per_s - time.monotonic())):
            change(ledger)
            done += 1
            self.count += 2

    def _end(self, ledger: Ledger) -> None:
        _Changes.tokens += 1
        claimed = ledger.claim(WORKER, "bench:0", f"{_Changes.tokens:032d}")
        if claimed is None:
            return  # all have ended
        self.committed[claimed.fixed.id] = time.time_ns()
        assert ledger.commit(claimed.fixed.id, claimed.token, RESULT, [], {}) == "succeeded"

    def _beside(self, ledger: Ledger) -> None:
        job = fixed(1)
        ledger.submit(job)
        ledger.cancel(job.tenant, job.id)
