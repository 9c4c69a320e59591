"""Facts about one job for `explain`: read from Redis and the bucket, a bounded number of commands, nothing changed.

It reads a record as it is, damaged or not, and a Redis that no keeper has reconciled with. It makes no sentences.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tasks.errors import Gone, NotFound, StorageUnavailable
from tasks.ids import JOB_ID
from tasks.job import Job
from tasks.ledger import Ledger, Record, keepers, keys
from tasks.ledger.client import Pipeline
from tasks.ledger.faults import away, readable
from tasks.ledger.keepers import Keepers
from tasks.registry import Registry
from tasks.service.archive import Archive

WORKERS_READ = 1000
"""Workers that one explanation reads at most, those with the freshest lease first."""
LINE = re.compile(r"(([^.:@]+)\.([^.:@]+)):([^@]+)(@\d+)?")
NUMBERS = ("priority", "created_ms", "start_by_ms", "run_ms", "keep_ms", "max")
"""Fields of a living record that the ledger's scripts demand as numbers (_reading.lua)."""


@dataclass(frozen=True)
class Server:
    """A live worker of the job's pool. `serves`: it claims from the job's line. Times in s."""

    id: str
    serves: bool
    slots: int | None
    busy: int
    draining: bool
    seen_s: float


@dataclass(frozen=True)
class Facts:
    """A job as Redis and the bucket show it at one moment. Times in ms of Redis' clock; None: it is in no such index.

    `record` is {} where Redis has none. `damaged`: what of it cannot be read. `pauses`: scope and name -> reason.
    """

    job_id: str
    now_ms: float
    reconciled: bool = True
    tenant: str | None = None
    record: Record = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    rank: int | None = None
    length: int = 0
    due_ms: float | None = None
    lease_ms: float | None = None
    parked: bool = False
    bells: int = 0
    pauses: dict[str, str] = field(default_factory=dict)
    orphan_ms: float | None = None
    is_model_known: bool = True
    running: int = 0
    most_running: int = 0
    alone_until_ms: float | None = None
    holds_slot: bool = False
    workers: list[Server] = field(default_factory=list)
    is_dead_letter: bool = False
    keepers: Keepers = field(default_factory=lambda: Keepers(alive=0, duties=[]))
    archived: Job | None = None
    erased: str = ""
    bucket_away: str = ""

    def number(self, name: str) -> float | None:
        """A field of the record; None where it is missing or no number."""
        return _number(self.record.get(name))

    def attempts(self) -> list[dict[str, Any]]:
        """The attempts that can be read, oldest first; the ledger keeps the last fifty."""
        return [one for one in (_attempt(self.record, n) for n in self._kept()) if one]

    def _kept(self) -> range:
        starts = int(self.number("starts") or 0)
        return range(max(1, starts - 49), starts + 1)


def read(ledger: Ledger, archive: Archive, registry: Registry, job_id: str, named: str | None, own: str) -> Facts:
    """Facts about a job. `named`: the tenant that was asked for; else the record's, or for a job that only the bucket
    may know `own`. Errors: NotFound for what is no job's id, or a job of another tenant than `named`; NotReady."""
    if not JOB_ID.fullmatch(job_id):
        raise NotFound(f"there is no job {job_id[:64]}")

    def look(together: Pipeline) -> None:
        together.time()
        together.info("server")
        together.info("replication")
        together.mget(keys.EPOCH, keys.EPOCH_REPLID)
        together.hgetall(keys.job(job_id))

    time, server, replication, epoch, record = _ask(ledger, look)
    seen: dict[str, Any] = {
        "job_id": job_id,
        "now_ms": time[0] * 1000 + time[1] / 1000,
        "reconciled": _is_reconciled(epoch, server, replication),
        "keepers": keepers.read(ledger),
    }
    if record is None:
        return Facts(**seen, tenant=named, damaged=["its key is of another type"])
    if not record:
        tenant = named or own
        return Facts(**seen, tenant=tenant, **(_in_bucket(archive, tenant, job_id) if seen["reconciled"] else {}))
    tenant = record.get("tenant")
    if named and tenant and named != tenant:
        raise NotFound(f"there is no job {job_id}")
    return Facts(
        **seen,
        tenant=tenant or named,
        record=record,
        damaged=_damaged(record),
        **_around(ledger, registry, job_id, record, seen["now_ms"]),
    )


def _around(ledger: Ledger, registry: Registry, job_id: str, record: Record, now_ms: float) -> dict[str, Any]:
    """The indexes that lead to the job, its pool and the pool's workers."""
    tenant, line, worker = record.get("tenant", ""), record.get("line", ""), record.get("worker", "")
    place = LINE.fullmatch(line)
    queue, pool, kind, model = place.groups()[:4] if place else ("", "", "", "")
    scopes = [f"tenant/{tenant}", f"pool/{pool}", f"model/{kind}/{model}"]

    def look(together: Pipeline) -> None:
        together.zrank(keys.line(line), job_id)
        together.zcard(keys.line(line))
        together.zscore(keys.DUE, job_id)
        together.zscore(keys.leases(pool), job_id)
        together.zscore(keys.parked(tenant, line or "-"), job_id)
        together.llen(queue or "bl:none")
        together.hmget(keys.PAUSES, scopes)
        together.hget(keys.ORPHANS, line)
        together.scard(keys.running(tenant))
        together.get(keys.alone(pool, tenant))
        together.hget(keys.slots(worker), record.get("slot", ""))
        together.zscore(keys.dead(tenant), job_id)
        together.zrevrangebyscore(keys.WORKERS, "+inf", f"({now_ms}", start=0, num=WORKERS_READ)

    rank, length, due, lease, parked, bells, pauses, orphan, running, alone, held, dead, alive = _ask(ledger, look)
    return {
        "rank": None if rank is None else rank + 1,
        "length": length or 0,
        "due_ms": due,
        "lease_ms": lease,
        "parked": parked is not None,
        "bells": bells or 0,
        "pauses": {scope: _reason(why) for scope, why in zip(scopes, pauses or (), strict=False) if why is not None},
        "orphan_ms": _number(orphan),
        "is_model_known": f"{kind}/{model}" in registry.by_key,
        "running": running or 0,
        "most_running": ledger.settings.max_running_jobs,
        "alone_until_ms": _number(alone),
        "holds_slot": held == f"{record.get('token')} {job_id}",
        "is_dead_letter": dead is not None,
        "workers": _workers(ledger, alive or [], pool, line, now_ms),
    }


def _workers(ledger: Ledger, alive: list[str], pool: str, line: str, now_ms: float) -> list[Server]:
    def ask(together: Pipeline) -> None:
        for worker in alive:
            together.hgetall(keys.worker(worker))
            together.hvals(keys.slots(worker))

    told = _ask(ledger, ask) if alive else []
    servers = []
    for worker, facts, slots in zip(alive, told[::2], told[1::2], strict=True):
        if not facts or facts.get("pool") != pool:
            continue
        # a worker of a release that told no lines serves all of its queues
        serves = (
            line in facts["lines"].split(",")
            if "lines" in facts
            else (line.partition(":")[0] in facts.get("queues", "").split(","))
        )
        servers.append(
            Server(
                worker,
                serves,
                int(facts["slots"]) if facts.get("slots", "").isdecimal() else None,
                sum(not held.endswith(" -") for held in slots or ()),
                facts.get("draining") == "1",
                max(0.0, now_ms - (_number(facts.get("seen_ms")) or 0)) / 1000,
            )
        )
    return servers


def _in_bucket(archive: Archive, tenant: str, job_id: str) -> dict[str, Any]:
    """The facts of a job that has no record: those that the bucket keeps."""
    try:
        return {"archived": archive.get(tenant, job_id)}
    except Gone as error:
        return {"erased": error.detail}
    except NotFound:
        return {}
    except StorageUnavailable as error:
        return {"bucket_away": error.detail}


def _ask(ledger: Ledger, ask: Callable[[Pipeline], object]) -> list[Any]:
    """Answers of one moment; None for a key of another type. Errors: NotReady."""
    with away(), ledger.unchecked().redis.pipeline(transaction=True) as together:
        ask(together)
        return readable(together.execute(raise_on_error=False), "explaining")


def _is_reconciled(epoch: list[str | None], server: Record, replication: Record) -> bool:
    run_id, replid = server["run_id"], f"{server['run_id']} {replication['master_replid']}"
    return epoch[0] == run_id and (epoch[1] == replid or not (epoch[1] or "").startswith(run_id))


def _damaged(record: Record) -> list[str]:
    """Why the ledger's scripts would set the job aside; as `read` in _reading.lua."""
    wrong = [f"it has no {name}" for name in ("status", "tenant", "fixed") if not record.get(name)]
    if not LINE.fullmatch(record.get("line", "")):
        wrong.append("it has no line")
    if "ended_ms" not in record:
        wrong += [f"{name} is no number" for name in NUMBERS if _number(record.get(name)) is None]
        if record.get("token") and not all(record.get(name) for name in ("starts", "slot", "worker")):
            wrong.append("it runs nowhere")
    return wrong


def _attempt(record: Record, number: int) -> dict[str, Any] | None:
    try:
        one = json.loads(record[f"attempt:{number}"])
        error = one.get("error") or {}
        return {
            "number": number,
            "worker": str(one["worker"]),
            "started_ms": float(one["started_ms"]),
            "ended_ms": float(one["ended_ms"]) if one.get("ended_ms") is not None else None,
            "outcome": one.get("outcome"),
            "code": error.get("code"),
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _reason(why: str) -> str:
    try:
        return str(json.loads(why)["reason"])
    except (ValueError, TypeError, KeyError):
        return ""


def _number(text: object) -> float | None:
    try:
        number = float(text)  # type: ignore[arg-type]  # what is no number raises, and is None
    except (ValueError, TypeError):
        return None
    return number if math.isfinite(number) else None
