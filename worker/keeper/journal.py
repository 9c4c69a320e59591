"""Writes the journal: from the stream in Redis to segments in the bucket, then job.json of each ended job.

Two cursors in Redis say how far each has come; the stream is trimmed behind the second. It does not read segments.
"""

import json
import logging
import time
from collections.abc import Iterator

from tasks.bucket.layout import job_json_key
from tasks.bucket.storage import ObjectRefused, Storage
from tasks.errors import NotReady, StorageUnavailable
from tasks.job import Fixed, Job
from tasks.ledger import Ledger, Record, keys
from tasks.reduced import reduced
from tasks.service.archive import Ended
from worker.keeper import segments
from worker.keeper.entries import SID, following, number
from worker.keeper.replies import text, text_or
from worker.keeper.skipped import Skipped

log = logging.getLogger(__name__)
SEGMENT_ENTRIES = 5000
"""Most entries of a segment."""
SEGMENT_BYTES = 8 * 1024 * 1024
"""A segment of so many bytes gets no more entries."""
READ_ENTRIES = 20
"""Entries of one read of the stream: one entry may have a MiB."""
NOTE_EVERY_S = 10
"""Seconds between two copies of the cursor of job.json into the bucket."""
UNANSWERED_ROUNDS = 10
"""Rounds without an answer of the bucket at one job.json after which its entry alone is set aside."""
Entry = tuple[str, Record]


class Journal:
    """Follows the stream of one Redis with two cursors: entries in segments, and ended jobs with a job.json."""

    def __init__(self, ledger: Ledger, storage: Storage, skipped: Skipped | None = None) -> None:
        self._ledger, self._redis, self._storage = ledger, ledger.redis, storage
        self.skipped = skipped or Skipped("job_json")
        self._note_again = 0.0
        self._unanswered: tuple[str, int] = ("", 0)  # an entry's stream id, and rounds in a row

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
        size = 0
        for sid, fields in self._read_from(self._cursor(keys.SEGMENTED)):
            sids.append(sid)
            lines.append(json.dumps({"sid": sid, **fields}))
            size += len(lines[-1]) + 1
            if size >= SEGMENT_BYTES or len(lines) >= SEGMENT_ENTRIES:
                break
        if lines:
            name = f"{segments.FOLDER}{sids[0]}-{sids[-1]}.jsonl"
            self._storage.put_bytes(name, "\n".join(lines).encode(), "application/jsonl")
            self._redis.set(keys.SEGMENTED, sids[-1])
        return len(lines), size >= SEGMENT_BYTES or len(lines) >= SEGMENT_ENTRIES

    # -- job.json

    def write_job_json(self, for_s: float) -> list[Job]:
        """Write job.json of ended jobs whose end is in a segment, for `for_s` seconds; trim the stream behind them.

        An end that cannot be shown whole is set aside. Its job.json has what can be shown.
        Errors: NotReady, StorageUnavailable.
        """
        until, upto = time.monotonic() + for_s, number(self._cursor(keys.SEGMENTED))
        jobs: list[Job] = []
        while entries := [
            entry for entry in self._after(self._cursor(keys.WRITTEN), READ_ENTRIES) if number(entry[0]) <= upto
        ]:
            ends = [(sid, fields) for sid, fields in entries if fields.get("type") == "ended"]
            jobs += filter(None, (self.write_or_set_aside(sid, fields) for sid, fields in self._not_erased(ends)))
            self._advance(entries[-1][0])
            if time.monotonic() > until:
                break
        return jobs

    def lag_s(self) -> float:
        """Age of the oldest entry whose job.json is not written yet; 0 where there is none."""
        oldest = self._after(self._cursor(keys.WRITTEN), 1)
        return time.time() - number(oldest[0][0])[0] / 1000 if oldest else 0

    def write(self, ended: Record) -> Job:
        """Write the job.json of an ended job."""
        tenant, job = Fixed.model_validate_json(ended["fixed"]).tenant, Job.of_record(ended)
        self._storage.put_bytes(job_json_key(tenant, job.id), Ended.written(job, ended), "application/json")
        return job

    def write_or_set_aside(self, sid: str, ended: Record) -> Job | None:
        """Write the job.json of an end that may be damaged: then it is set aside and its job.json reduced.

        Returns None where nothing of it can be shown. Errors: NotReady, StorageUnavailable.
        """
        try:
            return self.write(ended)
        except NotReady:
            raise
        except ObjectRefused as error:
            why: Exception = error
        except StorageUnavailable as error:
            if self._count_unanswered(sid) < UNANSWERED_ROUNDS:
                raise
            why = error
        except Exception as error:  # anything may be wrong with it
            why = error
        segments.set_aside(self._storage, f"{sid}.json", json.dumps({"sid": sid, **ended}).encode())
        self.skipped.add(f"{sid} {ended.get('id')}", why)
        return self._write_reduced(sid, ended)

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
        """Rounds in a row, this one included, in which the bucket did not answer at this entry."""
        self._unanswered = (sid, self._unanswered[1] + 1 if self._unanswered[0] == sid else 1)
        return self._unanswered[1]

    def _not_erased(self, ends: list[Entry]) -> list[Entry]:
        """The ends of jobs that still exist: a job.json of an erased job would replace its tombstone.

        Errors: NotReady, also where Redis has lost its memory: a restore then writes what is missing.
        """
        there = self._ledger.snapshot(
            lambda together: [together.exists(keys.job(fields.get("id", ""))) for _, fields in ends]
        )
        return [end for end, exists in zip(ends, there, strict=True) if exists or "id" not in end[1]]

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
        found = self._redis.xrange(keys.JOURNAL, min=f"({sid}", count=most) or ()
        return [(text(at), {text(name): text(value) for name, value in (fields or {}).items()}) for at, fields in found]
