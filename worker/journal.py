"""The journal: from the stream in Redis to segments in the bucket, and back from segments to the living jobs.

A segment is one object of JSON lines, named by its first and last stream id, an entry a line. Writing one
twice, or two that overlap (two keepers), does no harm: entries are known by job id and type.
"""

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tasks.archive import Ended
from tasks.errors import NotFound
from tasks.job import Fixed, Job
from tasks.ledger import Idempotency, Ledger, Record, keys
from tasks.storage import Storage, job_json_key

log = logging.getLogger(__name__)
FOLDER = "journal/"
BATCH, A_FEW = 5000, 20
"""Entries of a segment at most, and those that get their job.json before the time is looked at again."""
NOTE_EVERY_S = 10
WRITTEN = FOLDER + "written.json"
Entry = tuple[str, Record]
Sid = tuple[int, int]


@dataclass(frozen=True)
class Accepted:
    """All that a submit got: enough to submit it again."""

    fixed: Fixed
    created_ms: float
    idempotency: Idempotency | None


@dataclass(frozen=True)
class KeyUse:
    """An Idempotency-Key, and which job it made when."""

    tenant: str
    job_id: str
    created_ms: float
    idempotency: Idempotency


class Journal:
    """Follows the stream with two cursors, kept in Redis: what is in segments, what has its job.json."""

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self._ledger, self._redis, self._storage = ledger, ledger.redis, storage
        self._note_again = 0.0

    def write_segment(self) -> int:
        """What came since the last segment, as one object; how many entries."""
        entries = self._after(keys.SEGMENTED, BATCH)
        if entries:
            first, last = entries[0][0], entries[-1][0]
            lines = (json.dumps({"sid": sid, **fields}) for sid, fields in entries)
            self._storage.put_bytes(f"{FOLDER}{first}-{last}.jsonl", "\n".join(lines).encode(), "application/jsonl")
            self._redis.set(keys.SEGMENTED, last)
        return len(entries)

    def write_job_json(self, for_s: float) -> list[Job]:
        """job.json for jobs that ended and are in a segment, for so many seconds; then the stream is trimmed."""
        until, upto = time.monotonic() + for_s, number(self._redis.get(keys.SEGMENTED) or "0-0")
        jobs: list[Job] = []
        while entries := [entry for entry in self._after(keys.WRITTEN, A_FEW) if number(entry[0]) <= upto]:
            jobs += map(self.write, self._kept([fields for _, fields in entries if fields["type"] == "ended"]))
            self._redis.set(keys.WRITTEN, entries[-1][0])
            self._note_written(entries[-1][0])
            self._redis.xtrim(keys.JOURNAL, minid=_next(entries[-1][0]), approximate=True)
            if time.monotonic() > until:
                break
        return jobs

    def _note_written(self, sid: str) -> None:
        """In the bucket too, now and then: who puts a lost Redis back then knows whose job.json may be missing."""
        if time.monotonic() >= self._note_again:
            self._storage.put_bytes(WRITTEN, json.dumps({"written": sid}).encode(), "application/json")
            self._note_again = time.monotonic() + NOTE_EVERY_S

    def lag_s(self) -> float:
        """How old the oldest entry without its job.json is."""
        oldest = self._after(keys.WRITTEN, 1)
        return time.time() - number(oldest[0][0])[0] / 1000 if oldest else 0

    def write(self, ended: Record) -> Job:
        """The job.json of a job that ended."""
        tenant, job = Fixed.model_validate_json(ended["fixed"]).tenant, Job.of_record(ended)
        self._storage.put_bytes(job_json_key(tenant, job.id), Ended.written(job, ended), "application/json")
        return job

    def _kept(self, ended: list[Record]) -> list[Record]:
        """Of jobs that were not erased meanwhile: their job.json would take the place of a tombstone. Errors: NotReady
        where Redis has lost what it had: that is put back from what was noted of the journal so far."""
        there = self._ledger.at_once(lambda together: [together.exists(keys.job(fields["id"])) for fields in ended])
        return [fields for fields, kept in zip(ended, there, strict=True) if kept]

    def _after(self, cursor: str, most: int) -> list[Entry]:
        return self._redis.xrange(keys.JOURNAL, min=f"({self._redis.get(cursor) or '0-0'}", count=most)


def segments(storage: Storage) -> list[str]:
    """The keys of all segments, oldest first."""
    names = (found.key for found in storage.list(FOLDER) if found.key.endswith(".jsonl"))
    return sorted(names, key=lambda name: span(name)[0])


def span(name: str) -> tuple[Sid, Sid]:
    """The first and the last stream id of the segment journal/<ms>-<part>-<ms>-<part>.jsonl."""
    first_ms, first_part, last_ms, last_part = name.removeprefix(FOLDER).removesuffix(".jsonl").split("-")
    return (int(first_ms), int(first_part)), (int(last_ms), int(last_part))


def read(storage: Storage, name: str) -> list[Record]:
    """The entries of a segment. Errors: NotFound."""
    return [json.loads(line) for line in storage.get_bytes(name).decode().splitlines()]


def written(storage: Storage) -> Sid:
    """Up to here, at least, every ended job has its job.json."""
    try:
        return number(json.loads(storage.get_bytes(WRITTEN))["written"])
    except NotFound:
        return 0, 0


def accepted(entry: Record) -> Accepted:
    """What an entry of that type says."""
    return Accepted(Fixed.model_validate_json(entry["fixed"]), float(entry["created_ms"]), _idempotency(entry))


def key_of(entry: Record) -> Record | None:
    """What is left of an `accepted` entry whose job has ended: an entry of the type `key`, or None without one."""
    if not entry["key"]:
        return None
    kept = {name: entry[name] for name in ("sid", "id", "created_ms", "key", "fingerprint")}
    return {**kept, "type": "key", "tenant": entry.get("tenant") or json.loads(entry["fixed"])["tenant"]}


def key_use(entry: Record) -> KeyUse:
    """What an entry of the type `key` says."""
    return KeyUse(entry["tenant"], entry["id"], float(entry["created_ms"]), _idempotency(entry))


def living(journal: Iterable[Record]) -> dict[str, Accepted]:
    """The jobs that were accepted and have not ended, by id."""
    alive: dict[str, Accepted] = {}
    over: set[str] = set()
    for entry in journal:
        if entry["type"] != "accepted":
            over.add(entry["id"])
            alive.pop(entry["id"], None)
        elif entry["id"] not in over:
            alive[entry["id"]] = accepted(entry)
    return alive


def _idempotency(entry: Record) -> Idempotency | None:
    key = entry["key"].rpartition(":")[2]
    return Idempotency(key, entry["fingerprint"]) if key else None


def number(sid: str) -> Sid:
    """A stream id, to be compared."""
    ms, _, part = sid.partition("-")
    return int(ms), int(part or 0)


def _next(sid: str) -> str:
    ms, part = number(sid)
    return f"{ms}-{part + 1}"
