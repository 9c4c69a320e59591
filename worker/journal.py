"""The journal: from the stream in Redis to segments in the bucket, and back from segments to the living jobs.

A segment is one object of JSON lines, named by its first and last stream id, an entry a line. Writing one
twice, or two that overlap (two keepers), does no harm: entries are known by job id and type.
"""

import json
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import redis

from tasks.job import Fixed, Job
from tasks.ledger import Idempotency, Record, keys
from tasks.storage import Storage, job_json_key

log = logging.getLogger(__name__)
FOLDER = "journal/"
BATCH, A_FEW = 5000, 20
"""Entries of a segment at most, and those that get their job.json before the time is looked at again."""
Entry = tuple[str, Record]


@dataclass(frozen=True)
class Accepted:
    """All that a submit got: enough to submit it again."""

    fixed: Fixed
    created_ms: float
    idempotency: Idempotency | None


class Journal:
    """Follows the stream with two cursors, kept in Redis: what is in segments, what has its job.json."""

    def __init__(self, client: redis.Redis, storage: Storage) -> None:
        self._redis, self._storage = client, storage

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
        until, upto = time.monotonic() + for_s, _number(self._redis.get(keys.SEGMENTED) or "0-0")
        jobs: list[Job] = []
        while entries := [entry for entry in self._after(keys.WRITTEN, A_FEW) if _number(entry[0]) <= upto]:
            jobs += [self._write(fields) for _, fields in entries if fields["type"] == "ended"]
            self._redis.set(keys.WRITTEN, entries[-1][0])
            self._redis.xtrim(keys.JOURNAL, minid=_next(entries[-1][0]), approximate=True)
            if time.monotonic() > until:
                break
        return jobs

    def lag_s(self) -> float:
        """How old the oldest entry without its job.json is."""
        oldest = self._after(keys.WRITTEN, 1)
        return time.time() - _number(oldest[0][0])[0] / 1000 if oldest else 0

    def _write(self, ended: Record) -> Job:
        tenant, job = Fixed.model_validate_json(ended["fixed"]).tenant, Job.of_record(ended)
        self._storage.put_bytes(job_json_key(tenant, job.id), job.model_dump_json().encode(), "application/json")
        return job

    def _after(self, cursor: str, most: int) -> list[Entry]:
        return self._redis.xrange(keys.JOURNAL, min=f"({self._redis.get(cursor) or '0-0'}", count=most)


def entries(storage: Storage) -> Iterator[Record]:
    """Every entry of every segment, oldest segment first."""
    for name in sorted((found.key for found in storage.list(FOLDER)), key=_first):
        for line in storage.get_bytes(name).decode().splitlines():
            yield json.loads(line)


def living(journal: Iterable[Record]) -> dict[str, Accepted]:
    """The jobs that were accepted and have not ended, by id."""
    alive: dict[str, Accepted] = {}
    ended: set[str] = set()
    for entry in journal:
        if entry["type"] == "ended":
            ended.add(entry["id"])
            alive.pop(entry["id"], None)
        elif entry["id"] not in ended:
            key = entry["key"].rpartition(":")[2]
            alive[entry["id"]] = Accepted(Fixed.model_validate_json(entry["fixed"]), float(entry["created_ms"]),
                                          Idempotency(key, entry["fingerprint"]) if key else None)
    return alive


def _first(key: str) -> tuple[int, int]:
    """The first stream id of journal/<ms>-<part>-<ms>-<part>.jsonl."""
    ms, part, *_ = key.removeprefix(FOLDER).split("-")
    return int(ms), int(part)


def _number(sid: str) -> tuple[int, int]:
    ms, _, part = sid.partition("-")
    return int(ms), int(part or 0)


def _next(sid: str) -> str:
    ms, part = _number(sid)
    return f"{ms}-{part + 1}"
