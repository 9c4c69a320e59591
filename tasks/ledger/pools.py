"""The state of a pool: jobs that wait, jobs that run, workers that live. Operators and autoscalers read it.

It knows no metric format and no HTTP.
"""

from collections import Counter
from typing import overload

from pydantic import BaseModel, Field

from tasks.ledger import Ledger, keys
from tasks.ledger.client import Client
from tasks.ledger.faults import away
from tasks.ledger.pauses import holds

WORKERS_SHOWN = 1000
HEADS = 100
"""Jobs of each line among which the one that waits longest is looked for."""


class PoolWorker(BaseModel):
    """A worker that lives: its leases have not lapsed."""

    id: str
    host: str | None = None
    queues: list[str]
    slots: int | None = Field(None, description="jobs it runs at one time")
    running: int = Field(ge=0, description="jobs it runs now")
    draining: bool = Field(description="it gets no new jobs")
    seen_s: float = Field(ge=0, description="since it last renewed its leases")


class Pool(BaseModel):
    """The state of one pool now."""

    name: str
    waiting: int = Field(ge=0, description="jobs that could start now")
    held: int = Field(
        0,
        ge=0,
        description="jobs that wait for more than a slot: for what is paused, for their tenant "
        "to run fewer, for a worker that knows their model",
    )
    running: int = Field(ge=0, description="attempts under way")
    wanted: int = Field(ge=0, description="slots that would leave nothing waiting: waiting + running")
    oldest_wait_s: float | None = Field(
        ge=0, description="of the job that waits longest, among the next 100 of each model; null where none waits"
    )
    swept_s: float | None = Field(ge=0, description="since a keeper last swept; null: never")
    workers: list[PoolWorker]


def read(ledger: Ledger, name: str) -> Pool:
    """The pool's state, read at one moment. Errors: NotReady."""
    with away():
        with ledger.redis.pipeline(transaction=True) as pipeline:
            pipeline.time().zcard(keys.leases(name))
            pipeline.hget(keys.swept(name), "at")
            pipeline.zrevrange(keys.WORKERS, 0, WORKERS_SHOWN - 1, withscores=True)
            (seconds, micros), running, swept, workers = pipeline.execute()
        now = seconds * 1000 + micros / 1000
        alive = [worker for worker, until in workers if until > now]
        with ledger.redis.pipeline(transaction=False) as pipeline:
            for worker in alive:
                pipeline.hgetall(keys.worker(worker)).hvals(keys.slots(worker))
            told = pipeline.execute()
        in_line, could_start, parked = _waiting(ledger, name)
        oldest_ms = oldest(ledger.redis, name)
    shown = [
        _worker(worker, facts, slots, now)
        for worker, facts, slots in zip(alive, told[::2], told[1::2], strict=True)
        if facts.get("pool") == name and "seen_ms" in facts
    ]
    return Pool(
        name=name,
        waiting=could_start,
        held=in_line - could_start + parked,
        running=running,
        wanted=could_start + running,
        workers=shown,
        oldest_wait_s=_since(oldest_ms, now),
        swept_s=_since(swept, now),
    )


def lines_of(client: Client, pool: str) -> list[str]:
    """The waiting lines of the pool, `<queue>:<model>`, empty ones included. Errors: RedisError."""
    return [line for line in client.smembers(keys.LINES) if line.partition(".")[0] == pool]


def in_lines(client: Client, pool: str) -> int:
    """Counts the jobs in the pool's lines. Errors: RedisError."""
    with client.pipeline(transaction=False) as asking:
        for line in lines_of(client, pool):
            asking.zcard(keys.line(line))
        return sum(asking.execute())


def oldest(client: Client, pool: str) -> float | None:
    """The ms since which the job waits that waits longest, among the first HEADS of each line; None where none waits.

    Fair tags bring each tenant's oldest job to the head of its line; only a low priority, or its tenant's jobs for
    other models, may hold an older one back. Errors: RedisError.
    """
    with client.pipeline(transaction=False) as asking:
        for line in lines_of(client, pool):
            asking.zrange(keys.line(line), 0, HEADS - 1)
        ids = [job_id for heads in asking.execute() for job_id in heads]
    with client.pipeline(transaction=False) as asking:
        for job_id in ids:
            asking.hget(keys.job(job_id), "since_ms")
        told = asking.execute(raise_on_error=False)  # a record of another type hides no other
    return min((float(since) for since in told if isinstance(since, str) and since.isdecimal()), default=None)


def _waiting(ledger: Ledger, pool: str) -> tuple[int, int, int]:
    """Jobs in the pool's lines, how many of these could start now, and jobs that are parked.

    The second is exact where only tenants or only lines are held; where both are, it is an upper bound, so that no
    autoscaler overlooks a job.
    """
    client, most = ledger.redis, ledger.settings.max_running_jobs
    lines = lines_of(client, pool)
    with client.pipeline(transaction=False) as asking:
        asking.hkeys(keys.PAUSES).hkeys(keys.ORPHANS).hgetall(keys.fair(pool)).smembers(keys.PARKED)
        for line in lines:
            asking.zcard(keys.line(line))
        pauses, orphans, fair, tenants, *counts = asking.execute()
    of_line = dict(zip(lines, counts, strict=True))
    jobs: Counter[str] = Counter()
    for name, count in fair.items():
        if name.startswith("jobs:"):
            jobs[name.removeprefix("jobs:").removesuffix("#batch")] += int(count)
    with client.pipeline(transaction=False) as asking:
        for tenant in jobs:
            asking.scard(keys.running(tenant))
        for tenant in tenants:
            for line in lines:
                asking.zcard(keys.parked(tenant, line))
        running, parked = (told := asking.execute())[: len(jobs)], told[len(jobs) :]
    by_tenant = sum(
        0 if f"tenant/{tenant}" in pauses else min(count, max(0, most - runs)) if most else count
        for (tenant, count), runs in zip(jobs.items(), running, strict=True)
    )
    by_line = sum(count for line, count in of_line.items() if not holds(line, pauses) and line not in orphans)
    return sum(counts), min(by_tenant, by_line), sum(parked)


class Unserved(BaseModel):
    """Jobs of a model that no worker of this deployment serves."""

    pool: str
    kind: str
    model: str
    waiting: int = Field(ge=0, description="jobs that fail with `unknown_model` if none comes")
    since_s: float = Field(ge=0, description="since this was found")


def unserved(ledger: Ledger) -> list[Unserved]:
    """All lines whose model no worker knows. Errors: NotReady."""
    with away():
        seconds, micros = ledger.redis.time()
        orphans = sorted(ledger.redis.hgetall(keys.ORPHANS).items())
        counts = [ledger.redis.zcard(keys.line(line)) for line, _ in orphans]
    shown = []
    for (line, since), count in zip(orphans, counts, strict=True):
        pool, _, of_pool = line.partition(".")
        kind, _, model = of_pool.partition("@")[0].partition(":")
        shown.append(
            Unserved(
                pool=pool, kind=kind, model=model, waiting=count, since_s=_since(since, seconds * 1000 + micros / 1000)
            )
        )
    return shown


def _worker(worker: str, facts: dict[str, str], slots: list[str], now: float) -> PoolWorker:
    return PoolWorker(
        id=worker,
        host=facts.get("host"),
        queues=facts.get("queues", "").split(","),
        slots=int(facts["slots"]) if facts.get("slots", "").isdecimal() else None,
        draining=facts.get("draining") == "1",
        running=sum(not held.endswith(" -") for held in slots),
        seen_s=_since(facts["seen_ms"], now),
    )


@overload
def _since(ms: str | float, now: float) -> float: ...
@overload
def _since(ms: None, now: float) -> None: ...
def _since(ms: str | float | None, now: float) -> float | None:
    return None if ms is None else round(max(0.0, now - float(ms)) / 1000, 3)
