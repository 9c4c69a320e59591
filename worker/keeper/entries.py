"""Journal entries: their fields by type, and the jobs and Idempotency-Keys that they record.

It knows neither Redis nor the bucket. Entries are identified by job id and type; reading one twice does no harm.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tasks.job import Fixed
from tasks.ledger import Idempotency, Record

SID = re.compile(r"\d+(-\d+)?")
"""A stream id of Redis: ms and, after the hyphen, a sequence number."""
NEEDED = {
    "accepted": ("fixed", "created_ms", "key", "fingerprint"),
    "amended": ("tenant", "fixed", "change", "at_ms"),
    "ended": ("tenant", "status"),
    "schedule": ("tenant", "change", "content", "created_ms", "next_ms"),
    "told": ("tenant",),
    "delivered": ("tenant",),
    "forgotten": ("tenant",),
    "batch": ("tenant", "created_ms", "key", "fingerprint", "lines", "last"),
    "members": ("tenant", "ended_ms", "lines"),
    "key": ("tenant", "created_ms", "key", "fingerprint"),
}
"""Required fields by entry type, beside `type`, `id` and `sid`. An entry of another type is of a later release."""
Sid = tuple[int, int]


@dataclass(frozen=True)
class Accepted:
    """All that a submit got: enough to submit the job again."""

    fixed: Fixed
    created_ms: float
    idempotency: Idempotency | None


@dataclass(frozen=True)
class KeyUse:
    """An Idempotency-Key, the job or the batch that it made, and when."""

    tenant: str
    job_id: str
    created_ms: float
    idempotency: Idempotency


def number(sid: str) -> Sid:
    """A stream id as numbers, to be compared."""
    ms, _, part = sid.partition("-")
    return int(ms), int(part or 0)


def following(sid: str) -> str:
    """The lowest stream id after this one."""
    ms, part = number(sid)
    return f"{ms}-{part + 1}"


def parse(line: bytes) -> Record:
    """The entry of a line. Errors: ValueError, TypeError, RecursionError where it is none."""
    entry = json.loads(line)
    if not isinstance(entry, dict):
        raise ValueError("no object")
    needed = ("type", "id", "sid", *NEEDED.get(entry.get("type", ""), ()))
    if not all(isinstance(entry.get(name), str) for name in needed) or not SID.fullmatch(entry["sid"]):
        raise ValueError("a field is missing")
    for name in {"created_ms", "at_ms"} & set(needed):
        float(entry[name])
    return entry


def accepted(entry: Record) -> Accepted:
    """The submit that an `accepted` entry records. Errors: ValueError where it cannot be read."""
    return Accepted(Fixed.model_validate_json(entry["fixed"]), float(entry["created_ms"]), _idempotency(entry))


def key_of(entry: Record) -> Record | None:
    """The `key` entry that remains of an `accepted`, `batch` or `key` entry whose job or batch is over; None where it
    has no key."""
    if not entry["key"]:
        return None
    kept = {name: entry[name] for name in ("sid", "id", "created_ms", "key", "fingerprint")}
    return {**kept, "type": "key", "tenant": entry.get("tenant") or json.loads(entry["fixed"])["tenant"]}


def key_use(entry: Record) -> KeyUse:
    """The use of a key that a `key` entry records. Errors: ValueError where it names no key."""
    idempotency = _idempotency(entry)
    if idempotency is None:
        raise ValueError("an entry of type key without a key")
    return KeyUse(entry["tenant"], entry["id"], float(entry["created_ms"]), idempotency)


def living(journal: Iterable[Record]) -> dict[str, Accepted]:
    """The jobs that were accepted and have not ended, by id."""
    alive: dict[str, Accepted] = {}
    over: set[str] = set()
    for entry in journal:
        if entry["type"] == "amended":
            if before := alive.get(entry["id"]):
                alive[entry["id"]] = replace(before, fixed=Fixed.model_validate_json(entry["fixed"]))
        elif entry["type"] != "accepted":
            over.add(entry["id"])
            alive.pop(entry["id"], None)
        elif entry["id"] not in over:
            alive[entry["id"]] = accepted(entry)
    return alive


def _idempotency(entry: Record) -> Idempotency | None:
    key = entry["key"].rpartition(":")[2]
    return Idempotency(key, entry["fingerprint"]) if key else None
