"""Entries that a duty of the keeper cannot read or handle: left out, told once each, counted; the rest goes on.

It tells an entry's own fault from a Redis or a bucket that is away, which is nobody's and ends the round.
"""

import logging
import time
from collections.abc import Callable, Iterable

import redis

from tasks.bucket.storage import ObjectRefused
from tasks.errors import NotReady, StorageUnavailable
from tasks.job import now_ms
from tasks.ledger.faults import away
from tasks.reduced import reason
from worker.keeper import metrics

log = logging.getLogger(__name__)
A_FEW = 200
"""Entries of a list that one look gets."""
IN_A_ROW = 3
"""Entries one after another at which the bucket does not answer: then it is away. As many that it refuses, and none
that it takes: then its rights are wrong."""
A_MINUTE_MS, AN_HOUR_MS, A_DAY_MS = 60_000, 3600 * 1000, 24 * 3600 * 1000
"""When an entry is tried again at which the bucket did not answer, one that it refused, and one that cannot be read."""
REMEMBERED, SHOWN, LINES_A_MINUTE = 10_000, 200, 20
"""Entries that are not told again, characters of one, and those that are logged; the others are counted alone."""


class Skipped:
    """Of one duty, and for its thread alone. `count` says how many entries it has left out since the start."""

    def __init__(self, duty: str) -> None:
        self.duty, self.count = duty, 0
        self._told: set[str] = set()
        self._unanswered = 0
        self._lines = (0.0, 0)
        self._passed_over: dict[str, float] = {}

    def add(self, entry: str, why: Exception | str) -> None:
        """Say once that the entry was left out, and count it."""
        if entry in self._told:
            return
        if len(self._told) >= REMEMBERED:
            self._told.clear()
        self._told.add(entry)
        self.count += 1
        metrics.SKIPPED.labels(self.duty).inc()
        since, lines = self._lines if time.monotonic() < self._lines[0] + 60 else (time.monotonic(), 0)
        self._lines = (since, lines + 1)
        if lines < LINES_A_MINUTE:
            words = why if isinstance(why, str) else reason(why)
            log.error("%s: skipped %r (%s)", self.duty, entry[:SHOWN], words)
        elif lines == LINES_A_MINUTE:
            log.error("%s: more of them this minute are counted alone, %d so far", self.duty, self.count)

    def handle(self, entry: str, work: Callable[[], object]) -> int:
        """Do the work of one entry: 0 where it is done, else in how many ms the entry may be tried again.

        Errors: those of a Redis or a bucket that is away.
        """
        try:
            with away(self.duty):
                work()
        except NotReady:
            raise
        except ObjectRefused as error:
            self.add(entry, error)
            return AN_HOUR_MS
        except StorageUnavailable:
            self._unanswered += 1
            if self._unanswered >= IN_A_ROW:
                self._unanswered = 0
                raise
            return A_MINUTE_MS
        except Exception as error:
            self.add(entry, error)
            return A_DAY_MS
        self._unanswered = 0
        return 0

    def handle_each(self, entries: Iterable[str], work: Callable[[str], object]) -> None:
        """Do the work of each; one that cannot be done is passed over for a minute. Errors: those of `handle`."""
        for entry in entries:
            if self._passed_over.get(entry, 0) < time.monotonic():
                self._passed_over.pop(entry, None)
                if self.handle(entry, lambda entry=entry: work(entry)):
                    self._passed_over[entry] = time.monotonic() + A_MINUTE_MS / 1000

    def handle_due(self, client: redis.Redis, key: str, work: Callable[[str], object]) -> None:
        """Do the work of each member of the list (member by ms) that is due. One that cannot be done is put off, so
        that it stands before no other, and stays in the list. Errors: those of `handle`; the bucket's where it refuses
        all of several."""
        members = client.zrangebyscore(key, "-inf", now_ms(), start=0, num=A_FEW)
        refused = 0
        for member in members:
            again_ms = self.handle(member, lambda member=member: work(member))
            refused += again_ms == AN_HOUR_MS
            if again_ms:
                client.zadd(key, {member: now_ms() + again_ms}, xx=True)
        if refused == len(members) >= IN_A_ROW:
            raise StorageUnavailable(f"the bucket refuses all of {refused} entries; see the log for its words")
