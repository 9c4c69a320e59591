"""Writes the journal: from the stream in Redis to segments in the bucket, then job.json of each ended job.

Two cursors in Redis say how far each has come; the stream is trimmed behind the second, once its ends are counted
(usage.py). It does not read segments.
"""

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence

from tasks.bucket.layout import job_json_key, job_prefix
from tasks.bucket.storage import NotTried, ObjectRefused, Storage
from tasks.errors import LedgerFault, NotReady, StorageUnavailable
from tasks.ids import now_ms
from tasks.job import Job
from tasks.ledger import Ledger, Record, keys
from tasks.ledger.owed import OF_A_JOB
from tasks.reduced import reduced
from tasks.service.archive import Ended
from worker.keeper import segments
from worker.keeper.durations import Measuring
from worker.keeper.entries import SID, following, number
from worker.keeper.replies import text_or
from worker.keeper.skipped import Skipped
from worker.keeper.usage import Usage

log = logging.getLogger(__name__)
SEGMENT_ENTRIES = 5000
"""Most entries of a segment."""
SEGMENT_BYTES = 8 * 1024 * 1024
"""A segment of so many bytes gets no more entries."""
READ_ENTRIES = 100
"""Entries of one read of the stream: most have a KiB, the largest some hundred."""
WRITE_S = 0.001
"""CPU seconds for one entry's job.json, roughly: a short time is given to few entries."""
LEAST_ENTRIES = 10
"""Entries of a batch, at least."""
NOTE_EVERY_S = 10
"""Seconds between two copies of the cursor of job.json into the bucket."""
UNANSWERED_ROUNDS = 10
"""Rounds without an answer of the bucket at one job.json after which its entry alone is set aside."""
Entry = tuple[str, Record]
Made = tuple[Entry, Job, bytes]
"""An end, its job, and the content of its job.json."""


class Journal:
    """Follows the stream of one Redis with two cursors: entries in segments, and ended jobs with a job.json."""

    def __init__(
        self, ledger: Ledger, storage: Storage, skipped: Skipped | None = None, usage: Usage | None = None
    ) -> None:
        self._ledger, self._redis, self._storage = ledger, ledger.redis, storage
        self.skipped = skipped or Skipped("job_json")
        self._usage = usage or Usage(ledger, storage, Skipped("usage"))
        self._note_again = 0.0
        self._unanswered: dict[str, int] = {}  # by stream id: rounds without an answer of the bucket

    # -- segments

    def write_segments(self) -> int:
        """Write all that came since the last segment. Returns the number of segments. Errors: StorageUnavailable."""
        written, full = 0, True
        while full:
            entries, full = self._write_segment()
            written += entries > 0
        return written

    def write_segment(self) -> int:
        """Write one segment of what came since the last. Returns the number of its entries."""
        return self._write_segment()[0]

    def _write_segment(self) -> tuple[int, bool]:
        """Returns the number of entries, and True where the segment is full."""
        sids: list[str] = []
        lines: list[str] = []
        size, measuring = 0, Measuring()
        for sid, fields in self._read_from(self._cursor(keys.SEGMENTED)):
            sids.append(sid)
            lines.append(json.dumps({"sid": sid, **fields}))
            measuring.see(fields)
            size += len(lines[-1]) + 1
            if size >= SEGMENT_BYTES or len(lines) >= SEGMENT_ENTRIES:
                break
        if lines:
            name = f"{segments.FOLDER}{sids[0]}-{sids[-1]}.jsonl"
            self._storage.put_bytes(name, "\n".join(lines).encode(), "application/jsonl")
            self._redis.set(keys.SEGMENTED, sids[-1])
            measuring.note(self._redis)
        return len(lines), size >= SEGMENT_BYTES or len(lines) >= SEGMENT_ENTRIES

    # -- job.json

    def write_job_json(self, for_s: float, cpu_s: float = math.inf) -> list[Job]:
        """Write job.json of ended jobs whose end is in a segment; trim the stream behind them.

        For `for_s` seconds, or until this process has used `cpu_s` seconds of CPU; one batch is always written. An end
        that cannot be shown whole is set aside. Its job.json has what can be shown. Errors: NotReady,
        StorageUnavailable.
        """
        until, cpu_until = time.monotonic() + for_s, time.process_time() + cpu_s
        most = max(LEAST_ENTRIES, int(min(READ_ENTRIES, cpu_s / WRITE_S)))
        upto = number(self._cursor(keys.SEGMENTED))
        jobs: list[Job] = []
        while entries := [entry for entry in self._after(self._cursor(keys.WRITTEN), most) if number(entry[0]) <= upto]:
            ends = [(sid, fields) for sid, fields in entries if fields.get("type") == "ended"]
            self._settle([fields for _, fields in ends])
            self._note_chains([fields for _, fields in ends if "needed" in fields or "sources" in fields])
            ends = self._not_erased(ends)
            jobs += self.write_all(ends)
            self._trash_erased(ends)
            self._unanswered.clear()
            self._usage.count(entries)
            self._advance(entries[-1][0])
            if time.monotonic() > until or time.process_time() > cpu_until:
                break
        return jobs

    def _settle(self, ends: list[Record]) -> None:
        """Owe webhooks and deliveries that a script of an older release has not owed at the end."""
        for what in OF_A_JOB:
            try:
                self._ledger.settle(what, [fields for fields in ends if what in fields])
            except (KeyError, LedgerFault) as error:
                self.skipped.add(f"a {what} of an end", error)

    def _note_chains(self, ends: list[Record]) -> None:
        """Let dependents be told of ends that a script of an older release has written."""
        try:
            self._ledger.note_ends(ends)
        except (KeyError, ValueError, LedgerFault) as error:
            self.skipped.add("an end in a chain", error)

    def lag_s(self) -> float:
        """Age of the oldest entry whose job.json is not written yet; 0 where there is none."""
        oldest = self._after(self._cursor(keys.WRITTEN), 1)
        return time.time() - number(oldest[0][0])[0] / 1000 if oldest else 0

    def write_all(self, ends: Sequence[Entry]) -> list[Job]:
        """Write the job.json of each end, several at once. Returns the jobs that can be shown.

        A damaged end is set aside and its job.json reduced. Errors: NotReady, StorageUnavailable.
        """
        jobs: list[Job] = []
        made: dict[str, Made] = {}  # by key: of two ends of one job the later counts
        for sid, ended in ends:
            try:
                job = Job.of_record(ended)
                made[job_json_key(job.tenant, job.id)] = ((sid, ended), job, Ended.written(job, ended))
            except Exception as error:  # anything may be wrong with it
                jobs += self._set_aside(sid, ended, error)
        while made:
            answers = self._storage.put_many([(key, one[2], "application/json") for key, one in made.items()])
            untried: dict[str, Made] = {}
            for (key, one), refused in zip(made.items(), answers, strict=True):
                (sid, ended), job, _ = one
                if refused is None:
                    jobs.append(job)
                elif isinstance(refused, NotTried):
                    untried[key] = one
                elif isinstance(refused, ObjectRefused) or self._count_unanswered(sid) >= UNANSWERED_ROUNDS:
                    jobs += self._set_aside(sid, ended, refused)
                else:
                    raise refused
            made = untried
        return jobs

    def _set_aside(self, sid: str, ended: Record, why: Exception) -> list[Job]:
        """Set the end aside and write a reduced job.json. Returns the job, where it can be shown."""
        segments.set_aside(self._storage, f"{sid}.json", json.dumps({"sid": sid, **ended}).encode())
        self.skipped.add(f"{sid} {ended.get('id')}", why)
        job = self._write_reduced(sid, ended)
        return [job] if job else []

    def _write_reduced(self, sid: str, ended: Record) -> Job | None:
        """Write a job.json of what can be shown; None where there is nothing, or the bucket does not take it."""
        try:
            job, _ = reduced(ended)
            self._storage.put_bytes(
                job_json_key(ended["tenant"], job.id), Ended.written(job, ended), "application/json"
            )
            return job
        except NotReady:
            raise
        except ObjectRefused as error:
            log.warning("%s has no job.json: %s", ended.get("id"), error.detail)
        except StorageUnavailable:
            if self._count_unanswered(sid) < UNANSWERED_ROUNDS:
                raise
        except Exception as error:
            log.warning("nothing of the end of %s can be shown (%s)", ended.get("id"), type(error).__name__)
        return None

    def _count_unanswered(self, sid: str) -> int:
        """Rounds, this one included, in which the bucket did not answer at this entry."""
        self._unanswered[sid] = self._unanswered.get(sid, 0) + 1
        return self._unanswered[sid]

    def _not_erased(self, ends: list[Entry]) -> list[Entry]:
        """The ends of jobs that still exist: a job.json of an erased job would replace its tombstone.

        Errors: NotReady, also where Redis has lost its memory: a restore then writes what is missing.
        """
        there = self._ledger.snapshot(
            lambda together: [together.exists(keys.job(fields.get("id", ""))) for _, fields in ends]
        )
        return [end for end, exists in zip(ends, there, strict=True) if exists or "id" not in end[1]]

    def _trash_erased(self, ends: list[Entry]) -> None:
        """Trash again what was erased while its job.json was written, which may have come after the tombstone."""
        there = {sid for sid, _ in self._not_erased(ends)}
        for _, ended in (end for end in ends if end[0] not in there):
            self._ledger.write(("ZADD", keys.TRASH, now_ms(), job_prefix(ended["tenant"], ended["id"])))

    def _advance(self, sid: str) -> None:
        """Move the cursor of job.json, copy it to the bucket now and then, and trim the stream.

        A restore reads the copy to know whose job.json may be missing.
        """
        self._redis.set(keys.WRITTEN, sid)
        if time.monotonic() >= self._note_again:
            self._storage.put_bytes(segments.WRITTEN, json.dumps({"written": sid}).encode(), "application/json")
            self._note_again = time.monotonic() + NOTE_EVERY_S
        self._redis.xtrim(keys.JOURNAL, minid=following(sid), approximate=True)

    # -- the stream

    def _cursor(self, name: str) -> str:
        """The stream id of a cursor; the beginning where it has none: writing twice does no harm."""
        sid = text_or(self._redis.get(name), "0-0")
        return sid if SID.fullmatch(sid) else "0-0"

    def _read_from(self, sid: str) -> Iterator[Entry]:
        """The entries after a stream id, READ_ENTRIES at a time."""
        while entries := self._after(sid, READ_ENTRIES):
            yield from entries
            if len(entries) < READ_ENTRIES:
                return
            sid = entries[-1][0]

    def _after(self, sid: str, most: int) -> list[Entry]:
        return self._redis.xrange(keys.JOURNAL, min=f"({sid}", count=most)
