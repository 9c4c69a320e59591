"""Compacts journal segments: rewrites each without the entries that a restore no longer needs; deletes empty ones.

A restore needs the jobs that have not ended, the ends whose webhook or delivery is not told, and the
Idempotency-Keys of the last day. Of any other ended job only its key stays, so that a restore need not look for its
job.json. A segment is compacted a minute after it was written, then each time its age has doubled; so each is read a
few times in all.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from functools import partial

from tasks.bucket.storage import Storage
from tasks.errors import NotFound
from tasks.ledger import Ledger, Record, keys
from tasks.ledger.client import Client, Pipeline
from tasks.ledger.idempotency import IDEMPOTENCY_MS
from tasks.ledger.owed import OF_A_JOB
from worker.keeper import members, schedules, segments
from worker.keeper.entries import NEEDED, Sid, key_of, number
from worker.keeper.replies import text_or
from worker.keeper.skipped import Skipped

log = logging.getLogger(__name__)
FIRST_S = 60
"""Age of a segment when it is first compacted."""
LONGEST_S = 86_400
"""Longest time until a segment is compacted again."""
SEGMENTS_A_ROUND = 5
LIST_EVERY_S = 60
"""Seconds between two listings of the bucket's segments."""
LAST: Sid = (sys.maxsize, 0)
"""A stream id behind all others."""


class Compactor:
    """Compacts the segments of one keeper. Two keepers may compact the same segment: both write the same."""

    def __init__(
        self,
        ledger: Ledger,
        client: Client,
        storage: Storage,
        skipped: Skipped | None = None,
        copied: Callable[[], Sid] = lambda: LAST,
    ) -> None:
        """`copied`: the stream id up to which the usage of all ends is in the bucket."""
        self.ledger, self.redis, self.storage = ledger, client, storage
        self.skipped = skipped or Skipped("compact")
        self._copied = copied
        self._due: dict[str, float] = {}  # segment -> Unix time, s
        self._list_again = 0.0

    def round(self) -> None:
        """Compact the oldest due segments, SEGMENTS_A_ROUND at most. Errors: NotReady, StorageUnavailable."""
        now = time.time()
        if now >= self._list_again:
            self._list_again = now + LIST_EVERY_S
            names = segments.names(self.storage, self.skipped)
            self._due = {name: self._due.get(name, now + max(0, FIRST_S - _age_s(name, now))) for name in names}
        due = sorted((at, name) for name, at in self._due.items() if at <= now)
        for _, name in due[:SEGMENTS_A_ROUND]:
            self.skipped.handle(name, partial(self.compact, name))
            self._due[name] = now + min(LONGEST_S, max(FIRST_S, _age_s(name, now)))

    def compact(self, name: str) -> int:
        """Rewrite a segment with its needed entries. Returns their number; -1 where a job.json, or the usage of an end,
        is not in the bucket yet."""
        if segments.span(name)[1] > min(number(text_or(self.redis.get(keys.WRITTEN), "0-0")), self._copied()):
            return -1
        try:
            lines = list(segments.lines(self.storage, name))
        except NotFound:
            return 0  # another keeper was first
        entries = [entry for _, entry in lines if entry is not None]
        unreadable = [line for line, entry in lines if entry is None]
        if unreadable:
            self._set_aside(name, unreadable)
        needed = self._needed(entries)
        if not needed:
            self.storage.delete(name)
        elif unreadable or needed != entries:
            text = "\n".join(json.dumps(entry) for entry in needed)
            self.storage.put_bytes(name, text.encode(), "application/jsonl")
        return len(needed)

    def _set_aside(self, name: str, unreadable: list[bytes]) -> None:
        """Copy unreadable lines to an object of the segment's name, before the segment is rewritten without them.

        A second keeper, or the same one after a crash in between, writes the same object.
        """
        segments.set_aside(self.storage, name.removeprefix(segments.FOLDER), b"\n".join(unreadable))
        self.skipped.add(name, f"{len(unreadable)} lines that cannot be read are set aside")

    def _needed(self, entries: list[Record]) -> list[Record]:
        living = self._living(list({entry["id"] for entry in entries if entry["type"] in ("accepted", "amended")}))
        last = {entry["id"]: entry["change"] for entry in entries if entry["type"] == "amended"}
        kept = {
            "accepted": living,
            "amended": living,
            "ended": self._untold([entry for entry in entries if entry["type"] == "ended"]),
        }
        batches = self._batches({batch for entry in entries if (batch := members.batch_of(entry))})
        needed: list[Record] = []
        oldest_key_ms = time.time() * 1000 - IDEMPOTENCY_MS
        for entry in entries:
            if entry["type"] == "schedule":
                continue
            if entry["type"] == "amended" and entry["change"] != last[entry["id"]]:
                continue
            if entry["type"] not in NEEDED or entry["id"] in kept.get(entry["type"], ()):
                needed.append(entry)
            elif members.batch_of(entry) in batches:
                continue
            elif entry["type"] in ("accepted", "batch", "key") and float(entry["created_ms"]) > oldest_key_ms:
                needed += filter(None, [key_of(entry)])
        return needed + members.needed(entries, batches) + schedules.needed(entries, self.ledger)

    def _batches(self, named: set[members.Batch]) -> set[members.Batch]:
        """The batches among these that Redis knows. Errors: NotReady."""
        order = list(named)
        there = self.ledger.snapshot(
            lambda together: [together.hexists(keys.batch(*batch), "lines") for batch in order]
        )
        return {batch for batch, exists in zip(order, there, strict=True) if exists}

    def _living(self, ids: list[str]) -> set[str]:
        """The jobs that have not ended, or whose job.json is not written yet. Errors: NotReady."""

        def ask(together: Pipeline) -> None:
            together.get(keys.WRITTEN)
            together.xrevrange(keys.JOURNAL, count=1)
            for job_id in ids:
                together.hmget(keys.job(job_id), "status", "ended_ms")

        written, last, *seen = self.ledger.snapshot(ask)
        upto = number(written or "0-0")
        all_written = not last or number(last[0][0]) <= upto
        return {
            job_id
            for job_id, (status, ended) in zip(ids, seen, strict=True)
            if status and not (ended and (all_written or float(ended) < upto[0]))
        }

    def _untold(self, ends: list[Record]) -> set[str]:
        """The jobs among these whose webhook or delivery is still to be told. Errors: NotReady."""
        owed = [
            (end["id"], keys.owed(what, end["tenant"], end["id"])) for end in ends for what in OF_A_JOB if what in end
        ]
        if not owed:
            return set()

        def ask(together: Pipeline) -> None:
            for _, key in owed:
                together.hget(key, "status")

        states = self.ledger.snapshot(ask)
        return {job_id for (job_id, _), status in zip(owed, states, strict=True) if status == "pending"}


def _age_s(name: str, now: float) -> float:
    return now - segments.span(name)[1][0] / 1000
