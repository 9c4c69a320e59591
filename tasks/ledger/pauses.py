"""What is paused, and why a job that could run does not: as operators put it, and as its caller is told.

Pauses are the ledger's (`pause`, `resume`); the keeper keeps a copy in the bucket for a Redis that was lost.
"""

import json
import logging
from collections.abc import Container, Iterable, Mapping
from datetime import datetime

import redis
from pydantic import BaseModel, Field

from tasks.job import moment
from tasks.ledger import keys
from tasks.ledger.shapes import Record

log = logging.getLogger(__name__)
SCOPES = ("pool", "model", "tenant")


class Pause(BaseModel):
    """Jobs of a pool, a model (`<kind>/<name>`) or a tenant start no more; those that run go on."""

    scope: str = Field(description="pool, model or tenant")
    name: str
    reason: str = Field(description="as callers whose jobs wait for it are told")
    since: datetime


def listed(client: redis.Redis) -> list[Pause]:
    """All that are in force. Errors: RedisError."""
    return [
        Pause(scope=scope, name=name, reason=told["reason"], since=moment(told["since_ms"]))
        for scope, name, told in _read(client.hgetall(keys.PAUSES))
    ]


def holds(line: str, pauses: Container[str]) -> bool:
    """Whether one of these (`<scope>/<name>`) keeps jobs of the line <pool>.<kind>:<model>[@v] from starting."""
    pool, model = _names(line)
    return f"pool/{pool}" in pauses or f"model/{model}" in pauses


def why_they_wait(client: redis.Redis, records: Iterable[Record]) -> list[str]:
    """Of each record a sentence for its caller, or ''. Errors: RedisError."""
    records = list(records)
    if not any(record.get("status") == "queued" for record in records):
        return [""] * len(records)
    pauses, orphans = client.hgetall(keys.PAUSES), client.hgetall(keys.ORPHANS)
    return [_why(record, pauses, orphans) if record.get("status") == "queued" else "" for record in records]


def _why(record: Record, pauses: Mapping[str, str], orphans: Mapping[str, str]) -> str:
    line, tenant = record.get("line", ""), record.get("tenant", "")
    pool, model = _names(line)
    for scope, name in (("tenant", tenant), ("pool", pool), ("model", model)):
        if f"{scope}/{name}" in pauses:
            told = [one["reason"] for _, _, one in _read({f"{scope}/{name}": pauses[f"{scope}/{name}"]})]
            return f"waits, as the {scope} {name} is paused" + (f": {told[0]}" if told and told[0] else "")
    if line in orphans:
        return f"waits, as no worker of this deployment serves {model}"
    if "parked" in record:
        return "waits, as its tenant runs as many jobs as it may"
    return ""


def _names(line: str) -> tuple[str, str]:
    """Pool, and kind/model, whatever the form of the records in it."""
    pool, _, of_pool = line.partition("@")[0].partition(".")
    return pool, of_pool.replace(":", "/", 1)


def _read(pauses: Mapping[str, str]) -> list[tuple[str, str, dict]]:
    """scope, name, {reason, since_ms} of each; one that cannot be read is logged and is in force without a reason."""
    read = []
    for full, text in sorted(pauses.items()):
        scope, _, name = full.partition("/")
        try:
            told = json.loads(text)
            told = {"reason": str(told["reason"]), "since_ms": float(told["since_ms"])}
        except (ValueError, TypeError, KeyError):
            log.warning("the reason of the pause %s cannot be read", full[:200])
            told = {"reason": "", "since_ms": 0.0}
        read.append((scope, name, told))
    return read
