"""The error of `eta_s`: the true start of queued jobs beside what GET /v1/jobs/{id} has said, under four loads.

    steady   24 jobs wait, and jobs come at random at the rate at which the slots do them
    burst    80 jobs at once
    long     one of LONG_S, which nobody announces, before 60 short ones
    none     40 jobs and no worker for WITHOUT_S, in which no estimate may be said; then one starts and loads its model

Durations are random (lognormal, sigma 0.5) and were measured before on LEARNED jobs; half of the jobs are another
tenant's. Each waiting job of ours is asked for once a second. The baseline is a constant guess with hindsight: the
median of the load's true waits, from half of it to twice it.
"""

import json
import math
import random
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tasks.durations import Durations
from tasks.ledger import keys
from tasks.request import parse
from tests.bench.figures import Figure, Target
from tests.bench.plan import Plan
from tests.bench.sides import TENANT, Backlot
from tests.stack import Process, until

SLOTS = 4
RUNS, QUICK_RUNS = 2, 1
MEDIAN_S, QUICK_MEDIAN_S = 0.4, 0.1
SIGMA = 0.5
LEARNED, QUICK_LEARNED = 40, 16
STEADY_S, QUICK_STEADY_S = 15, 2
LONG_S, QUICK_LONG_S = 10.0, 1.5
WITHOUT_S, QUICK_WITHOUT_S = 10, 1
ASK_S, QUICK_ASK_S = 1.0, 0.3
"""Seconds between two questions about one job."""
LEAST_S = 0.1
"""A bound below counts as this in high / low: nobody asks for more."""
SEED = 23
LINE = "cpu.generate:cpu-sleeping"
OTHER = "another"


class Sleeping(Backlot):
    """The side with the model that sleeps."""

    models = Path(__file__).with_name("eta.toml")


@dataclass(frozen=True)
class Case:
    """One answer: what it said, and the seconds until the job did start."""

    low: float
    likely: float
    high: float
    true_s: float

    @property
    def holds(self) -> bool:
        return self.low <= self.true_s <= self.high

    @property
    def width(self) -> float:
        return max(self.high, LEAST_S) / max(self.low, LEAST_S)


Arrival = tuple[float, str, float]
"""Seconds after the load's begin, the tenant, and the seconds that the job sleeps."""


def measure(plan: Plan) -> list[Figure]:
    plan.say(f"eta: {SLOTS} slots, four loads, {plan.size(RUNS, QUICK_RUNS)} runs")
    found: dict[str, list[list[Case]]] = {}
    for run in range(plan.size(RUNS, QUICK_RUNS)):
        with Sleeping() as side:
            for name, cases in _Loads(side, plan, SEED + run).all():
                found.setdefault(name, []).append(cases)
                plan.say(f"  {run + 1} {name:7} {_told(cases)}")
    return [figure for name, runs in found.items() for figure in _figures(name, runs)]


def _figures(name: str, runs: list[list[Case]]) -> Iterator[Figure]:
    constants = [_constant(cases) for cases in runs]
    yield Figure(
        f"eta, {name}: true start from low to high; naive: a constant",
        "share",
        [_share(cases) for cases in runs],
        [_share(cases) for cases in constants],
        Target(0.8, at_least=True, of_ratio=False),
        compared=False,
    )
    yield Figure(
        "- high / low, median",
        "",
        [statistics.median(case.width for case in cases) for cases in runs],
        [statistics.median(case.width for case in cases) for cases in constants],
        Target(4, of_ratio=False),
        compared=False,
    )
    yield Figure("- error of likely, median", "s", [_error(cases) for cases in runs], [_error(c) for c in constants])
    yield Figure("- answers", "", [float(len(cases)) for cases in runs])


def _constant(cases: list[Case]) -> list[Case]:
    """The best constant guess, as if it had been the answer each time."""
    guess = statistics.median(case.true_s for case in cases)
    return [Case(guess / 2, guess, guess * 2, case.true_s) for case in cases]


def _share(cases: list[Case]) -> float:
    return statistics.fmean(case.holds for case in cases)


def _error(cases: list[Case]) -> float:
    return statistics.median(abs(case.likely - case.true_s) for case in cases)


def _told(cases: list[Case]) -> str:
    early = statistics.fmean(case.true_s < case.low for case in cases)
    constant = _constant(cases)
    return (
        f"{len(cases)} answers: {_share(cases):.0%} within ({early:.0%} earlier), high / low "
        f"{statistics.median(case.width for case in cases):.2f}, error {_error(cases):.2f} s; "
        f"a constant: {_share(constant):.0%} within, error {_error(constant):.2f} s"
    )


class _Loads:
    """The four loads on one side, one after the other."""

    def __init__(self, side: Sleeping, plan: Plan, seed: int) -> None:
        self._side, self._plan, self._rng = side, plan, random.Random(seed)
        self._median_s = plan.size(MEDIAN_S, QUICK_MEDIAN_S)
        self._long_s = plan.size(LONG_S, QUICK_LONG_S)
        api = side.start_api()
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{api.port}", headers=side.headers, trust_env=False, timeout=30
        )

    def all(self) -> Iterator[tuple[str, list[Case]]]:
        size, worker = self._plan.size, self._start_worker()
        self._learn(size(LEARNED, QUICK_LEARNED))
        mean_s = self._median_s * math.exp(SIGMA**2 / 2)
        yield "steady", self._run([*self._now(24), *self._poisson(SLOTS / mean_s, size(STEADY_S, QUICK_STEADY_S))])
        yield "burst", self._run(self._now(size(80, 24)))
        yield "long", self._run([(0.0, OTHER, self._long_s), *self._now(size(60, 24))])
        worker.stop()
        yield "none", self._run(self._now(size(40, 16)), size(WITHOUT_S, QUICK_WITHOUT_S))

    def _start_worker(self) -> Process:
        return self._side.run_process(
            "worker-cpu", [sys.executable, "-m", "worker", "cpu"], self._side._env(cpu_slots=SLOTS)
        )

    def _seconds(self) -> float:
        return self._rng.lognormvariate(0, SIGMA) * self._median_s

    def _now(self, count: int) -> list[Arrival]:
        return [(0.0, (TENANT, OTHER)[n % 2], self._seconds()) for n in range(count)]

    def _poisson(self, per_s: float, for_s: float) -> Iterator[Arrival]:
        at = self._rng.expovariate(per_s)
        while at < for_s:
            yield at, self._rng.choice((TENANT, OTHER)), self._seconds()
            at += self._rng.expovariate(per_s)

    def _learn(self, count: int) -> None:
        """Runs jobs until their durations have been measured; one is as long as the long one to come."""
        client = self._side.jobs.ledger.redis
        for seconds in [self._long_s, *(self._seconds() for _ in range(count - 1))]:
            self._submit(TENANT, seconds)
        until(lambda: len(Durations.read(client.hget(keys.DURATIONS, LINE)).run_s) >= count, 120, "all are measured")

    def _submit(self, tenant: str, seconds: float) -> str:
        request = parse(json.dumps({"kind": "generate", "input": {"prompt": f"{seconds:.4f}"}}))
        return self._side.jobs.submit(tenant, request).job.id

    def _run(self, arrivals: list[Arrival], without_s: float = 0) -> list[Case]:
        """Submits and asks until all jobs of ours have started. `without_s`: then the worker is started."""
        begun, worker = time.monotonic(), None
        coming, waiting = sorted(arrivals, key=lambda arrival: arrival[0]), {}
        said: list[tuple[str, float, dict[str, float]]] = []
        while coming or waiting:
            since = time.monotonic() - begun
            if without_s and since >= without_s and worker is None:
                assert not said, f"an estimate without a worker: {said[0]}"
                worker = self._start_worker()
            while coming and coming[0][0] <= since:
                _, tenant, seconds = coming.pop(0)
                job = self._submit(tenant, seconds)
                if tenant == TENANT:
                    waiting[job] = 0.0
            due = [job for job, again in waiting.items() if again <= time.monotonic()]
            if due:
                self._ask(self._rng.choice(due), waiting, said)
            else:
                time.sleep(0.005)
        self._until_ended()
        return [self._case(*one) for one in said]

    def _ask(self, job: str, waiting: dict[str, float], said: list[tuple[str, float, dict[str, float]]]) -> None:
        asked = time.time()
        told = self._http.get(f"/v1/jobs/{job}").json()
        if told["status"] != "queued":
            del waiting[job]
            return
        waiting[job] = time.monotonic() + self._plan.size(ASK_S, QUICK_ASK_S)
        if told["eta_s"]:
            assert told["eta_s"]["until"] == "start"
            said.append((job, (asked + time.time()) / 2, told["eta_s"]))

    def _until_ended(self) -> None:
        client = self._side.jobs.ledger.redis
        until(lambda: client.zcard(keys.leases("cpu")) == client.zcard(keys.line(LINE)) == 0, 120, "all have ended")

    def _case(self, job: str, asked: float, eta: dict[str, float]) -> Case:
        record = self._side.jobs.ledger.record(job)
        assert record["status"] == "succeeded", record.get("error")
        return Case(eta["low"], eta["likely"], eta["high"], float(record["started_ms"]) / 1000 - asked)
