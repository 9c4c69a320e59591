"""Pauses, and the sentence that tells a caller why a queued job does not start.

The verbs `pause` and `resume` (lines.py) write them; the keeper copies them to the bucket, for a Redis that was lost.
"""

import json
import logging
from collections.abc import Container, Iterable, Mapping
from datetime import datetime

from pydantic import BaseModel, Field

from tasks.job import moment
from tasks.ledger import keys
from tasks.ledger.client import Client
from tasks.ledger.shapes import Record

log = logging.getLogger(__name__)
SCOPES = ("pool", "model", "tenant")


class Pause(BaseModel):
    """A pause of a pool, a model (`<kind>/<name>`) or a tenant: its jobs start no more; those that run go on."""

    scope: str = Field(description="pool, model or tenant")
    name: str
    reason: str = Field(description="as callers whose jobs wait for it are told")
    since: datetime


def listed(client: Client) -> list[Pause]:
    """All pauses in force. Errors: RedisError."""
    return _read(client.hgetall(keys.PAUSES))


def holds(line: str, pauses: Container[str]) -> bool:
    """True where a pause in `pauses` (`<scope>/<name>`) holds the line <pool>.<kind>:<model>[@v]."""
    pool, model = _names(line)
    return f"pool/{pool}" in pauses or f"model/{model}" in pauses


def why_they_wait(client: Client, records: Iterable[Record]) -> list[str]:
    """A sentence a record where it waits for more than a slot; else ''. Errors: RedisError."""
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
            (pause,) = _read({f"{scope}/{name}": pauses[f"{scope}/{name}"]})
            return f"waits, as the {scope} {name} is paused" + (f": {pause.reason}" if pause.reason else "")
    if line in orphans:
        return f"waits, as no worker of this deployment serves {model}"
    if "parked" in record:
        return "waits, as its tenant runs as many jobs as it may"
    return ""


def _names(line: str) -> tuple[str, str]:
    """The pool and the kind/model of a line; a form of records (`@v`) is left out."""
    pool, _, of_pool = line.partition("@")[0].partition(".")
    return pool, of_pool.replace(":", "/", 1)


def _read(pauses: Mapping[str, str]) -> list[Pause]:
    """Pauses as Redis has them; one whose JSON cannot be read is logged and is in force without a reason."""
    read = []
    for full, text in sorted(pauses.items()):
        scope, _, name = full.partition("/")
        reason, since_ms = "", 0.0
        try:
            told = json.loads(text)
            reason, since_ms = str(told["reason"]), float(told["since_ms"])
        except (ValueError, TypeError, KeyError):
            log.warning("the reason of the pause %s cannot be read", full[:200])
        read.append(Pause(scope=scope, name=name, reason=reason, since=moment(since_ms)))
    return read
