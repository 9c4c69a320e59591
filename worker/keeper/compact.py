"""Segments of the journal give way: what of them is still needed is little, and in the end nothing.

Needed are the jobs that have not ended, and the Idempotency-Keys of the last day; of an ended job only its key is
kept, so that who puts a lost Redis back need not look for its job.json. A segment is looked at a minute after it came
and then each time its age has doubled, so that each is read a few times in all.
"""

import json
import logging
import time

import redis

from tasks.bucket.storage import Storage
from tasks.errors import NotFound
from tasks.ledger import Ledger, Record, keys
from tasks.ledger.idempotency import IDEMPOTENCY_MS
from worker.keeper import journal
from worker.keeper.skipped import Skipped

log = logging.getLogger(__name__)
FIRST_S, LONGEST_S, A_FEW = 60, 86_400, 5
"""Seconds from one look at a segment to the next, and segments a round."""
LIST_EVERY_S = 60


class Shrinker:
    """One keeper's. Two may do the same at the same time: what they write is alike."""

    def __init__(self, ledger: Ledger, client: redis.Redis, storage: Storage, skipped: Skipped | None = None) -> None:
        self.ledger, self.redis, self.storage = ledger, client, storage
        self.skipped = skipped or Skipped("shrink")
        self._next: dict[str, float] = {}
        self._list_again = 0.0

    def round(self) -> None:
        """Look at the few segments that are due. Errors: NotReady, StorageUnavailable."""
        now = time.time()
        if now >= self._list_again:
            self._list_again = now + LIST_EVERY_S
            names = journal.segments(self.storage, self.skipped)
            self._next = {name: self._next.get(name, now + max(0, FIRST_S - _age_s(name, now))) for name in names}
        due = sorted((at, name) for name, at in self._next.items() if at <= now)
        for _, name in due[:A_FEW]:
            self.skipped.handle(name, lambda name=name: self.shrink(name))
            self._next[name] = now + min(LONGEST_S, max(FIRST_S, _age_s(name, now)))

    def shrink(self, name: str) -> int:
        """Keep what is needed of a segment all of whose ends have led to a job.json; how many entries that is."""
        if journal.span(name)[1] > journal.number(self.redis.get(keys.WRITTEN) or "0-0"):
            return -1
        try:
            lines = list(journal.lines(self.storage, name))
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
        """Under the segment's name, before the segment is written without them. Two keepers, or the same one again
        where it died between the two, write the same."""
        journal.set_aside(self.storage, name.removeprefix(journal.FOLDER), b"\n".join(unreadable))
        self.skipped.add(name, f"{len(unreadable)} lines that cannot be read are set aside")

    def _needed(self, entries: list[Record]) -> list[Record]:
        living = self._living([entry["id"] for entry in entries if entry["type"] == "accepted"])
        recent, needed = time.time() * 1000 - IDEMPOTENCY_MS, []
        for entry in entries:
            if entry["type"] not in journal.NEEDED or entry["id"] in living and entry["type"] == "accepted":
                needed.append(entry)
            elif entry["type"] in ("accepted", "key") and float(entry["created_ms"]) > recent:
                needed += filter(None, [journal.key_of(entry)])
        return needed

    def _living(self, ids: list[str]) -> set[str]:
        """Those that have not ended, or have no job.json yet. Errors: NotReady."""

        def ask(together: redis.client.Pipeline) -> None:
            together.get(keys.WRITTEN).xrevrange(keys.JOURNAL, count=1)
            for job_id in ids:
                together.hmget(keys.job(job_id), "status", "ended_ms")

        written, last, *seen = self.ledger.at_once(ask)
        upto = journal.number(written or "0-0")
        all_written = not last or journal.number(last[0][0]) <= upto
        return {
            job_id
            for job_id, (status, ended) in zip(ids, seen, strict=True)
            if status and not (ended and (all_written or float(ended) < upto[0]))
        }


def _age_s(name: str, now: float) -> float:
    return now - journal.span(name)[1][0] / 1000
