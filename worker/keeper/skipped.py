"""Skips entries that a duty cannot read or handle: each is logged once and counted, and the duty goes on.

It tells an entry's own fault from a Redis or a bucket that is away. The latter is no entry's fault and ends the round.
It knows nothing of what an entry is.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial

from tasks.bucket.storage import ObjectRefused
from tasks.errors import NotReady, StorageUnavailable
from tasks.ids import now_ms
from tasks.ledger.client import Client
from tasks.ledger.faults import away
from tasks.reduced import reason
from worker.keeper import metrics
from worker.keeper.replies import texts

log = logging.getLogger(__name__)
PAGE_ENTRIES = 200
"""Entries of a list that are read at once."""
DUE_S = 0.5
"""Seconds of a round after which no further page of due members is read."""
AT_ONCE = 16
"""Members of a list that are handled at once where the bucket is asked for each."""
FAILURES_IN_A_ROW = 3
"""Entries in a row without an answer of the bucket after which it counts as away. A page of at least so many entries,
all refused, means that the bucket's rights are wrong."""
UNANSWERED_RETRY_MS = 60_000
"""Delay until an entry is tried again at which the bucket did not answer."""
REFUSED_RETRY_MS = 3600 * 1000
"""Delay until an entry is tried again that the bucket refused."""
UNREADABLE_RETRY_MS = 24 * 3600 * 1000
"""Delay until an entry is tried again that cannot be read."""
PASSED_OVER_S = 60.0
"""Seconds until an entry of `handle_each` is tried again, whatever was wrong with it."""
REMEMBERED_ENTRIES = 10_000
"""Entries that are remembered, so that they are logged once."""
SHOWN_CHARACTERS = 200
"""Characters of an entry in the log."""
LINES_A_MINUTE = 20
"""Log lines a minute; further entries are only counted."""


class Skipped:
    """The skipped entries of one duty, used by its threads. `count`: entries skipped since the start."""

    def __init__(self, duty: str) -> None:
        self.duty, self.count = duty, 0
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._unanswered = 0
        self._lines = (0.0, 0)
        self._passed_over: dict[str, float] = {}

    def add(self, entry: str, why: Exception | str) -> None:
        """Count a skipped entry and log it, once."""
        with self._lock:
            self._add(entry, why)

    def _add(self, entry: str, why: Exception | str) -> None:
        if entry in self._told:
            return
        if len(self._told) >= REMEMBERED_ENTRIES:
            self._told.clear()
        self._told.add(entry)
        self.count += 1
        metrics.SKIPPED.labels(self.duty).inc()
        since, lines = self._lines if time.monotonic() < self._lines[0] + 60 else (time.monotonic(), 0)
        self._lines = (since, lines + 1)
        if lines < LINES_A_MINUTE:
            words = why if isinstance(why, str) else reason(why)
            log.error("%s: skipped %r (%s)", self.duty, entry[:SHOWN_CHARACTERS], words)
        elif lines == LINES_A_MINUTE:
            log.error("%s: more of them this minute are counted alone, %d so far", self.duty, self.count)

    def handle(self, entry: str, work: Callable[[], object]) -> int:
        """Do the work of one entry. Returns 0 where it is done, else the ms until the entry may be tried again.

        Errors: NotReady, StorageUnavailable where Redis or the bucket is away.
        """
        try:
            with away(self.duty):
                work()
        except NotReady:
            raise
        except ObjectRefused as error:
            self.add(entry, error)
            return REFUSED_RETRY_MS
        except StorageUnavailable:
            self._unanswered += 1
            if self._unanswered >= FAILURES_IN_A_ROW:
                self._unanswered = 0
                raise
            return UNANSWERED_RETRY_MS
        except Exception as error:
            self.add(entry, error)
            return UNREADABLE_RETRY_MS
        self._unanswered = 0
        return 0

    def handle_each(self, entries: Iterable[str], work: Callable[[str], object]) -> None:
        """Do the work of each entry. A failed entry is passed over for PASSED_OVER_S. Errors: those of `handle`."""
        for entry in entries:
            if self._passed_over.get(entry, 0) < time.monotonic():
                self._passed_over.pop(entry, None)
                if self.handle(entry, partial(work, entry)):
                    self._passed_over[entry] = time.monotonic() + PASSED_OVER_S

    def handle_due(self, client: Client, key: str, work: Callable[[str], object], at_once: int = 1) -> None:
        """Do the work of each due member of a sorted set (member by ms), of `at_once` at the same time.

        A failed member stays in the set with a later time, so that it blocks no other. Further pages follow for
        DUE_S. Errors: those of `handle`; StorageUnavailable where the bucket refuses a whole page.
        """
        until, is_full = time.monotonic() + DUE_S, True
        with ThreadPoolExecutor(at_once, self.duty) as pool:
            while is_full and time.monotonic() < until:
                members = texts(client.zrangebyscore(key, "-inf", now_ms(), start=0, num=PAGE_ENTRIES))
                self._handle_page(client, key, members, work, pool)
                is_full = len(members) == PAGE_ENTRIES

    def _handle_page(
        self, client: Client, key: str, members: list[str], work: Callable[[str], object], pool: Executor
    ) -> None:
        is_away = threading.Event()

        def handle(member: str) -> int:
            if is_away.is_set():
                return 0
            try:
                retry_ms = self.handle(member, partial(work, member))
            except Exception:
                is_away.set()
                raise
            if retry_ms:
                client.zadd(key, {member: now_ms() + retry_ms}, xx=True)
            return retry_ms

        refused = sum(retry_ms == REFUSED_RETRY_MS for retry_ms in pool.map(handle, members))
        if refused == len(members) >= FAILURES_IN_A_ROW:
            raise StorageUnavailable(f"the bucket refuses all of {refused} entries; see the log for its words")
