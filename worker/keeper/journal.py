"""The journal: from the stream in Redis to segments in the bucket, and back from segments to the living jobs.

A segment is one object of JSON lines, named by its first and last stream id, an entry a line. Writing one
twice, or two that overlap (two keepers), does no harm: entries are known by job id and type.
"""

import json
import logging
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tasks.bucket.layout import job_json_key
from tasks.bucket.storage import ObjectRefused, Storage
from tasks.errors import NotFound, NotReady, StorageUnavailable
from tasks.job import Fixed, Job
from tasks.ledger import Idempotency, Ledger, Record, keys
from tasks.reduced import reduced
from tasks.service.archive import Ended
from worker.keeper.skipped import Skipped

log = logging.getLogger(__name__)
FOLDER = "journal/"
BATCH, A_FEW = 5000, 20
"""Entries of a segment at most, and those that are asked for at once or get their job.json before the time is looked at
again: an entry may have a MiB."""
SEGMENT_BYTES = 8 * 1024 * 1024
"""A segment that has reached so many bytes gets no more entries."""
NOTE_EVERY_S = 10
TRIES = 10
"""Rounds in which the bucket does not answer at one job.json before that alone is set aside."""
WRITTEN = FOLDER + "written.json"
UNREADABLE = FOLDER + "unreadable/"
"""What could not be read, as it came, until a person has looked at it."""
SEGMENT = re.compile(r"journal/(\d+)-(\d+)-(\d+)-(\d+)\.jsonl")
SID = re.compile(r"\d+(-\d+)?")
NEEDED = {
    "accepted": ("fixed", "created_ms", "key", "fingerprint"),
    "ended": ("tenant", "status"),
    "forgotten": ("tenant",),
    "key": ("tenant", "created_ms", "key", "fingerprint"),
}
"""Fields of an entry by its type, beside `type`, `id` and `sid`. Entries of other types are of a later release."""
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

    def __init__(self, ledger: Ledger, storage: Storage, skipped: Skipped | None = None) -> None:
        self._ledger, self._redis, self._storage = ledger, ledger.redis, storage
        self.skipped = skipped or Skipped("job_json")
        self._note_again = 0.0
        self._at: tuple[str, int] = ("", 0)

    def write_segments(self) -> int:
        """All that came since the last segment; how many objects that is. What comes meanwhile has the next round."""
        written, full = 0, True
        while full:
            entries, full = self._write_segment()
            written += entries > 0
        return written

    def write_segment(self) -> int:
        """What came since the last segment, as one object; how many entries."""
        return self._write_segment()[0]

    def _write_segment(self) -> tuple[int, bool]:
        """How many entries, and whether it was full."""
        sids, lines, size = [], [], 0
        for sid, fields in self._from(self._cursor(keys.SEGMENTED)):
            sids.append(sid)
            lines.append(json.dumps({"sid": sid, **fields}))
            size += len(lines[-1]) + 1
            if size >= SEGMENT_BYTES or len(lines) >= BATCH:
                break
        if lines:
            name = f"{FOLDER}{sids[0]}-{sids[-1]}.jsonl"
            self._storage.put_bytes(name, "\n".join(lines).encode(), "application/jsonl")
            self._redis.set(keys.SEGMENTED, sids[-1])
        return len(lines), size >= SEGMENT_BYTES or len(lines) >= BATCH

    def write_job_json(self, for_s: float) -> list[Job]:
        """job.json for jobs that ended and are in a segment, for so many seconds; then the stream is trimmed. An end
        that cannot be shown whole is set aside, and its job.json tells what can be shown."""
        until, upto = time.monotonic() + for_s, number(self._cursor(keys.SEGMENTED))
        jobs: list[Job] = []
        while entries := [one for one in self._after(self._cursor(keys.WRITTEN), A_FEW) if number(one[0]) <= upto]:
            ends = [(sid, fields) for sid, fields in entries if fields.get("type") == "ended"]
            jobs += filter(None, (self.write_or_set_aside(sid, fields) for sid, fields in self._kept(ends)))
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
        oldest = self._after(self._cursor(keys.WRITTEN), 1)
        return time.time() - number(oldest[0][0])[0] / 1000 if oldest else 0

    def write(self, ended: Record) -> Job:
        """The job.json of a job that ended."""
        tenant, job = Fixed.model_validate_json(ended["fixed"]).tenant, Job.of_record(ended)
        self._storage.put_bytes(job_json_key(tenant, job.id), Ended.written(job, ended), "application/json")
        return job

    def write_or_set_aside(self, sid: str, ended: Record) -> Job | None:
        """The same of one that may be damaged: then it is set aside, and its job.json tells what can be shown; None
        where nothing can. Errors: NotReady, StorageUnavailable."""
        try:
            return self.write(ended)
        except NotReady:
            raise
        except ObjectRefused as error:
            why: Exception = error
        except StorageUnavailable as error:
            if self._unanswered(sid) < TRIES:
                raise
            why = error
        except Exception as error:  # anything may be wrong with it
            why = error
        set_aside(self._storage, f"{sid}.json", json.dumps({"sid": sid, **ended}).encode())
        self.skipped.add(f"{sid} {ended.get('id')}", why)
        try:
            return self._write_reduced(ended)
        except NotReady:
            raise
        except ObjectRefused as error:
            log.warning("%s has no job.json: %s", ended.get("id"), error.detail)
        except StorageUnavailable:
            if self._unanswered(sid) < TRIES:
                raise
        except Exception as error:
            log.warning("nothing of the end of %s can be shown (%s)", ended.get("id"), type(error).__name__)
        return None

    def _write_reduced(self, ended: Record) -> Job:
        job, _ = reduced(ended)
        self._storage.put_bytes(job_json_key(ended["tenant"], job.id), Ended.written(job, ended), "application/json")
        return job

    def _unanswered(self, sid: str) -> int:
        """How often in a row the bucket has not answered to what this entry leads to."""
        self._at = (sid, self._at[1] + 1 if self._at[0] == sid else 1)
        return self._at[1]

    def _kept(self, ended: list[Entry]) -> list[Entry]:
        """Of jobs that were not erased meanwhile: their job.json would take the place of a tombstone. Errors: NotReady
        where Redis has lost what it had: that is put back from what was noted of the journal so far."""
        there = self._ledger.at_once(
            lambda together: [together.exists(keys.job(fields.get("id", ""))) for _, fields in ended]
        )
        return [entry for entry, kept in zip(ended, there, strict=True) if kept or "id" not in entry[1]]

    def _cursor(self, name: str) -> str:
        """Where the cursor stands; at the beginning where it is none, for to write a thing twice does no harm."""
        at = self._redis.get(name) or "0-0"
        return at if SID.fullmatch(at) else "0-0"

    def _from(self, sid: str) -> Iterator[Entry]:
        """What comes after, a few at a time: how large they are is not known before."""
        while entries := self._after(sid, A_FEW):
            yield from entries
            if len(entries) < A_FEW:
                return
            sid = entries[-1][0]

    def _after(self, sid: str, most: int) -> list[Entry]:
        return self._redis.xrange(keys.JOURNAL, min=f"({sid}", count=most)


def segments(storage: Storage, skipped: Skipped | None = None) -> list[str]:
    """The keys of all segments, oldest first. Other objects that lie beside them are skipped."""
    names = []
    for found in storage.list(FOLDER):
        if SEGMENT.fullmatch(found.key):
            names.append(found.key)
        elif skipped and found.key not in (FOLDER, WRITTEN) and not found.key.startswith(UNREADABLE):
            skipped.add(found.key, "no segment's name")
    return sorted(names, key=lambda name: span(name)[0])


def span(name: str) -> tuple[Sid, Sid]:
    """The first and the last stream id of the segment journal/<ms>-<part>-<ms>-<part>.jsonl."""
    first_ms, first_part, last_ms, last_part = map(int, SEGMENT.fullmatch(name).groups())
    return (first_ms, first_part), (last_ms, last_part)


def lines(storage: Storage, name: str) -> Iterator[tuple[bytes, Record | None]]:
    """The lines of a segment as they are, each with its entry; None where it cannot be read. Errors: NotFound."""
    for line in filter(None, storage.get_lines(name)):
        try:
            entry = _entry(line)
        except (ValueError, TypeError, RecursionError):
            entry = None
        yield line, entry


def read(storage: Storage, name: str) -> list[Record]:
    """The entries of a segment that can be read. Errors: NotFound."""
    return [entry for _, entry in lines(storage, name) if entry is not None]


def set_aside(storage: Storage, name: str, data: bytes) -> None:
    """Keep what cannot be read where a person finds it. Errors: StorageUnavailable."""
    storage.put_bytes(UNREADABLE + name, data, "application/json")


def written(storage: Storage) -> Sid:
    """Up to here, at least, every ended job has its job.json; where that is not known, the beginning."""
    try:
        return number(json.loads(storage.get_bytes(WRITTEN))["written"])
    except NotFound:
        return 0, 0
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        log.error("%s cannot be read (%s): each job.json is asked for", WRITTEN, type(error).__name__)
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


def _entry(line: bytes) -> Record:
    """Errors: ValueError where it is no entry."""
    entry = json.loads(line)
    if not isinstance(entry, dict):
        raise ValueError("no object")
    needed = ("type", "id", "sid", *NEEDED.get(entry.get("type"), ()))
    if not all(isinstance(entry.get(name), str) for name in needed) or not SID.fullmatch(entry["sid"]):
        raise ValueError("a field is missing")
    if "created_ms" in needed:
        float(entry["created_ms"])
    return entry


def number(sid: str) -> Sid:
    """A stream id, to be compared."""
    ms, _, part = sid.partition("-")
    return int(ms), int(part or 0)


def _next(sid: str) -> str:
    ms, part = number(sid)
    return f"{ms}-{part + 1}"
