"""The reader of the ledger's two streams: one thread a process wakes those who wait for a job, or follow all events.

It runs only while somebody listens. It knows no status: whoever is woken reads the record.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from redis.exceptions import RedisError

from tasks.ledger import connect, keys
from tasks.ledger.client import Client, Entry
from tasks.ledger.faults import away
from tasks.settings import Settings

log = logging.getLogger(__name__)
BLOCK_S = 1
"""The longest wait of one read, in s."""
RETRY_S = 0.25
"""The pause after a read that failed, in s."""
GATHER_S = 0.003
"""Seconds between two reads at least, for each entry of the first: under load a read brings many entries, not one."""
GATHER_MOST_S = 0.012
ENTRIES_A_READ = 1000
CURSOR = re.compile(r"\d{1,15}-\d{1,10}")
"""The id of an entry, as callers may show it."""
START = "0-0"
"""The cursor before the first entry."""

Wake = Callable[[], None]
Hear = Callable[[Sequence[Entry] | None, str], None]


class Events:
    """Calls the waiters of a job at each of its events, and the followers at all events."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(settings, read_timeout_s=BLOCK_S + 1)
        self._waiters: dict[str, list[Wake]] = {}
        self._watchers: dict[str, list[Wake]] = {}
        self._followers: list[Hear] = []
        self._lock = threading.Lock()
        self._reading = False
        self._at = {keys.EVENTS: START, keys.CHANGES: START}

    def join(self, job_id: str, wake: Wake, progress: bool = False) -> None:
        """Calls `wake` whenever the job's status may have changed, from the reader's thread; it must not block.

        `progress`: also whenever its phase, progress, message or text may have. No change after this has returned is
        missed, except that a signal of progress may be. Errors: NotReady.
        """
        with self._lock:
            self._begin()
            if progress and not self._watchers:
                with away():
                    self._at[keys.CHANGES] = _end(self._redis, keys.CHANGES)
            for woken in (self._waiters, self._watchers) if progress else (self._waiters,):
                woken.setdefault(job_id, []).append(wake)

    def leave(self, job_id: str, wake: Wake) -> None:
        """Ends what `join` with the same arguments began."""
        with self._lock:
            for woken in (self._waiters, self._watchers):
                if wake in woken.get(job_id, ()):
                    woken[job_id].remove(wake)
                    if not woken[job_id]:
                        del woken[job_id]

    def follow(self, hear: Hear) -> str:
        """Calls `hear(entries, cursor)` with all that is read behind the cursor that this returns, from the reader's
        thread; it must not block. `entries` None: some may be lost. Errors: NotReady."""
        with self._lock:
            self._begin()
            self._followers.append(hear)
            return self._at[keys.EVENTS]

    def unfollow(self, hear: Hear) -> None:
        """Ends what `follow` began."""
        with self._lock:
            self._followers.remove(hear)

    def _begin(self) -> None:
        """Starts the reader. The stream's end is taken before the caller reads a record: no change falls between."""
        if self._reading:
            return
        with away():
            self._at[keys.EVENTS] = _end(self._redis, keys.EVENTS)
        self._reading = True
        threading.Thread(target=self._read, name="events", daemon=True).start()

    def _read(self) -> None:
        failed = False
        while streams := self._wanted():
            began, count = time.monotonic(), 0
            try:
                if failed:
                    self._look_again()
                    failed = False
                found = self._redis.xread(streams, count=ENTRIES_A_READ, block=BLOCK_S * 1000)
                for stream, entries in found or ():
                    self._tell(stream, entries)
                    count += len(entries)
            except RedisError as error:
                log.warning("the event stream cannot be read (%s); trying again", type(error).__name__)
                failed = True
                threading.Event().wait(RETRY_S)
            except Exception:  # a reader that ended would leave all waiters, now and later, asleep
                log.exception("the reader of the event stream goes on after a defect")
                failed = True
                threading.Event().wait(RETRY_S)
            else:
                gather_s = min(GATHER_MOST_S, GATHER_S * count)
                threading.Event().wait(max(0.0, began + gather_s - time.monotonic()))

    def _wanted(self) -> dict[str, str]:
        """The streams to read and their cursors; none once nobody listens."""
        with self._lock:
            self._reading = bool(self._waiters or self._followers)
            wanted = ([keys.EVENTS] if self._reading else []) + ([keys.CHANGES] if self._watchers else [])
            return {stream: self._at[stream] for stream in wanted}

    def _look_again(self) -> None:
        """Redis was away: every waiter reads its record, and followers learn whether the stream still has all."""
        whole = has_all_since(self._redis, self._at[keys.EVENTS])
        end = self._at[keys.EVENTS] if whole else _end(self._redis, keys.EVENTS)
        changes = _end(self._redis, keys.CHANGES)
        with self._lock:
            self._at = {keys.EVENTS: end, keys.CHANGES: changes}
            if not whole:
                self._call(partial(hear, None, end) for hear in self._followers)
            self._call(wake for waiters in self._waiters.values() for wake in waiters)

    def _tell(self, stream: str, entries: Sequence[Entry]) -> None:
        with self._lock:
            self._at[stream] = end = entries[-1][0]
            woken = self._waiters if stream == keys.EVENTS else self._watchers
            job_ids = dict.fromkeys(fields.get("id", "") for _, fields in entries)
            self._call(wake for job_id in job_ids for wake in woken.get(job_id, ()))
            if stream == keys.EVENTS:
                self._call(partial(hear, entries, end) for hear in self._followers)

    def _call(self, listeners: Iterable[Wake]) -> None:
        for listener in listeners:
            try:
                listener()
            except Exception:  # it is one listener's alone
                log.exception("a listener for events could not be told")


def page(client: Client, after: str, until: str, count: int) -> list[Entry] | None:
    """The next entries behind one cursor up to another; None where some of them are gone. Errors: NotReady."""
    with away():
        entries = client.xrange(keys.EVENTS, f"({after}", until, count)
        return entries if has_all_since(client, after) else None


def has_all_since(client: Client, cursor: str) -> bool:
    """True where the event stream still has every entry behind the cursor. Errors: RedisError."""
    oldest, newest = client.xrange(keys.EVENTS, count=1), client.xrevrange(keys.EVENTS, count=1)
    if not oldest or not newest:
        return cursor == START
    if cursor == START:  # a server before 7.0 does not say how many entries there were
        told = client.xinfo_stream(keys.EVENTS)
        return bool(told["length"] == told.get("entries-added"))
    return place(oldest[0][0]) <= place(cursor) <= place(newest[0][0])


def _end(client: Client, stream: str) -> str:
    newest = client.xrevrange(stream, count=1)
    return newest[0][0] if newest else START


def place(cursor: str) -> tuple[int, int]:
    """The order of a cursor."""
    ms, _, number = cursor.partition("-")
    return int(ms), int(number)
