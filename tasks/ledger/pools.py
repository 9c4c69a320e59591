"""How a pool stands: what waits, what runs, who works. For operators and for whatever scales the pool."""

from pydantic import BaseModel, Field

from tasks.ledger import Ledger, _away, keys

WORKERS_SHOWN = 1000


class PoolWorker(BaseModel):
    """A worker that renewed its leases not long ago."""

    id: str
    host: str | None = None
    queues: list[str]
    slots: int | None = Field(None, description="jobs it runs at one time")
    running: int = Field(ge=0, description="jobs it runs now")
    draining: bool = Field(description="it gets no new jobs")
    seen_s: float = Field(ge=0, description="since it last renewed its leases")


class Pool(BaseModel):
    """One pool now."""

    name: str
    waiting: int = Field(ge=0, description="jobs that could start now")
    running: int = Field(ge=0, description="attempts under way")
    wanted: int = Field(ge=0, description="slots that would leave nothing waiting: waiting + running")
    oldest_wait_s: float | None = Field(ge=0, description="of the job that waits longest; null where none waits")
    swept_s: float | None = Field(ge=0, description="since a keeper last swept; null: never")
    workers: list[PoolWorker]


def read(ledger: Ledger, name: str) -> Pool:
    """The pool's state, read at one moment. Errors: NotReady."""
    with _away():
        with ledger.redis.pipeline(transaction=True) as pipeline:
            pipeline.time().zcard(keys.waiting(name)).zcard(keys.leases(name))
            pipeline.zrange(keys.waiting(name), 0, 0, withscores=True).hget(keys.swept(name), "at")
            pipeline.zrevrange(keys.WORKERS, 0, WORKERS_SHOWN - 1, withscores=True)
            (seconds, micros), waiting, running, oldest, swept, workers = pipeline.execute()
        now = seconds * 1000 + micros / 1000
        alive = [worker for worker, until in workers if until > now]
        with ledger.redis.pipeline(transaction=False) as pipeline:
            for worker in alive:
                pipeline.hgetall(keys.worker(worker)).hvals(keys.slots(worker))
            told = pipeline.execute()
    shown = [_worker(worker, facts, slots, now)
             for worker, facts, slots in zip(alive, told[::2], told[1::2], strict=True)
             if facts.get("pool") == name and "seen_ms" in facts]
    return Pool(name=name, waiting=waiting, running=running, wanted=waiting + running, workers=shown,
                oldest_wait_s=_since(oldest[0][1], now) if oldest else None, swept_s=_since(swept, now))


def _worker(worker: str, facts: dict[str, str], slots: list[str], now: float) -> PoolWorker:
    return PoolWorker(
        id=worker, host=facts.get("host"), queues=facts.get("queues", "").split(","),
        slots=int(facts["slots"]) if facts.get("slots", "").isdecimal() else None,
        draining=facts.get("draining") == "1", running=sum(not held.endswith(" -") for held in slots),
        seen_s=_since(facts["seen_ms"], now))


def _since(ms: str | float | None, now: float) -> float | None:
    return None if ms is None else round(max(0.0, now - float(ms)) / 1000, 3)
