"""Reads the slots of a pool that live, what each runs, and the durations of the lines that they serve, for estimates.

A pool is read once for all who ask within KEPT_S, or within KEPT_TIMES as long as reading it took, so that a tenth of
one connection's time goes here at most. It is three trips, with two commands for each of WORKERS_READ workers and one
for each of RUNNING_READ running jobs at most; none scans. It estimates nothing (tasks/eta.py).
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.durations import Durations, plain
from tasks.eta import Slot
from tasks.ledger import Ledger, keys
from tasks.ledger.client import Pipeline
from tasks.ledger.faults import away, readable

WORKERS_READ = 500
"""Workers that are read at most, those with the freshest lease first."""
RUNNING_READ = 256
"""Running jobs of a pool that are read at most. Of more, an even part stands for all."""
KEPT_S = 0.1
"""Seconds for which a pool that was read is used, at least."""
KEPT_TIMES = 10
STALE_S = 5
"""Seconds for which it is used at most, while one thread reads."""
RUNNING = ("line", "token", "attempt_ms", "phase", "phase_ms")
"""Fields of a running job that are read."""
UNKNOWN = "?"
"""Line of a running job whose record is damaged: it has no durations."""
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)
"""Errors of a damaged record."""


@dataclass(frozen=True)
class Server:
    """A live worker that takes jobs: the lines that it serves, and its slots."""

    lines: frozenset[str]
    slots: list[Slot]


@dataclass(frozen=True)
class Pool:
    """A pool at one moment. `read_s`: of the monotonic clock. `now_ms`: of Redis' clock."""

    read_s: float
    took_s: float
    now_ms: float
    servers: list[Server] = field(default_factory=list)
    measured: dict[str, Durations] = field(default_factory=dict)

    @property
    def is_old(self) -> bool:
        return self.age_s > max(KEPT_S, KEPT_TIMES * self.took_s)

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.read_s

    @property
    def clock_ms(self) -> float:
        """The ms of Redis' clock now."""
        return self.now_ms + self.age_s * 1000


class PoolSlots:
    """The pools of a ledger. Errors: NotReady."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._read: dict[str, Pool] = {}
        self._reading = threading.Lock()

    def of(self, name: str) -> Pool:
        """The pool now. While one thread reads it, others get what was read last, or wait where that is stale."""
        known = self._read.get(name)
        if known and (not known.is_old or self._reading.locked() and known.age_s < STALE_S):
            return known
        with self._reading:
            known = self._read.get(name)
            if known is None or known.is_old:
                known = self._read[name] = self._look(name)
            return known

    def _look(self, name: str) -> Pool:
        """Reads the pool. A worker counts from its first claim on: until then its processes start."""
        begun = time.monotonic()
        (seconds, micros), workers = self.ask(
            lambda asking: asking.time().zrevrange(keys.WORKERS, 0, WORKERS_READ - 1, withscores=True)
        )
        now_ms = seconds * 1000 + micros / 1000
        alive = [worker for worker, until in workers if until > now_ms]

        def ask_workers(asking: Pipeline) -> None:
            for worker in alive:
                asking.hmget(keys.worker(worker), "pool", "draining", "lines", "slots").hgetall(keys.slots(worker))

        told = self.ask(ask_workers)
        taking = [
            _Worker(worker, frozenset((facts[2] or "").split(",")), int(facts[3]), claims)
            for worker, facts, claims in zip(alive, told[::2], told[1::2], strict=True)
            if facts and claims and facts[0] == name and facts[1] != "1" and (facts[3] or "").isdecimal()
        ]
        measured, running = self._running(taking)
        is_shared = self._ledger.settings.pools.get(name) == "gpu"
        servers = [Server(one.lines, one.list_slots(running, measured, now_ms, is_shared)) for one in taking]
        return Pool(begun, time.monotonic() - begun, now_ms, servers, measured)

    def _running(self, workers: Sequence["_Worker"]) -> tuple[dict[str, Durations], dict[str, Mapping[str, str]]]:
        """Durations by line, and running jobs by their token."""
        lines = sorted({plain(line) for worker in workers for line in worker.lines if line})
        claims = [claim for worker in workers for claim in worker.claimed()]
        step = -(-len(claims) // RUNNING_READ) or 1

        def ask_jobs(asking: Pipeline) -> None:
            asking.hmget(keys.DURATIONS, lines or [""])
            for _, job_id in claims[::step]:
                asking.hmget(keys.job(job_id), RUNNING)

        durations, *jobs = self.ask(ask_jobs)
        running: dict[str, Mapping[str, str]] = {}
        for i, (token, _) in enumerate(claims):
            job = dict(zip(RUNNING, jobs[i // step] or [None] * len(RUNNING), strict=True))
            if i % step or job["token"] == token:  # another was read for it, or it has not ended meanwhile
                running[token] = job
        return dict(zip(lines, map(Durations.read, durations or ()), strict=False)), running

    def ask(self, ask: Callable[[Pipeline], object]) -> list[Any]:
        """Answers of one trip, which is no transaction; None for a key of another type."""
        with away("estimating"), self._ledger.redis.pipeline(transaction=False) as together:
            ask(together)
            return readable(together.execute(raise_on_error=False), "estimating")


@dataclass(frozen=True)
class _Worker:
    """A worker as Redis has it. `claims`: slot -> '<token> <job id>' of its newest claim."""

    id: str
    lines: frozenset[str]
    count: int
    claims: Mapping[str, str]

    def claimed(self) -> Iterable[tuple[str, str]]:
        """Token and job of each slot that has one."""
        for value in self.claims.values():
            token, _, job_id = value.partition(" ")
            if job_id not in ("", "-"):
                yield token, job_id

    def list_slots(
        self, running: Mapping[str, Mapping[str, str]], measured: Mapping[str, Durations], now_ms: float, shared: bool
    ) -> list[Slot]:
        """Its slots: busy ones, then those that have run a job, then those that never have, whose process is new unless
        all slots are one process."""
        busy, idle = [], []
        for name, value in sorted(self.claims.items(), key=lambda claim: claim[1], reverse=True):
            process, job = name.rpartition(":")[0], running.get(value.partition(" ")[0])
            if job and not value.endswith(" -"):
                try:
                    busy.append(slot_of(job, process, measured, now_ms))
                except UNREADABLE:
                    busy.append(Slot(process, UNKNOWN))
            else:
                idle.append(Slot(process))
        known = [*busy, *idle][: max(self.count, len(busy))]
        process = known[0].process if shared and known else ""
        return known + [Slot(process or f"{self.id}:{n}") for n in range(self.count - len(known))]


def slot_of(job: Mapping[str, str], process: str, measured: Mapping[str, Durations], now_ms: float) -> Slot:
    """The slot of a running job by its record. Errors: ValueError, TypeError, KeyError where the record is damaged.

    A process that had to load the model counts from the end of its loading.
    """
    line, since_ms = plain(job["line"]), float(job["attempt_ms"])
    phase, phase_ms = job.get("phase"), float(job.get("phase_ms") or since_ms)
    was_cold = line in measured and process not in measured[line].processes
    if phase == "loading" or phase == "running" and was_cold:
        since_ms = phase_ms
    return Slot(process, line, max(0.0, now_ms - since_ms) / 1000, phase == "loading")
