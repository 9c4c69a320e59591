"""The event stream's reader: one thread a process wakes all who wait for a job.

It runs only while somebody waits. It knows no status: a waiter that is woken reads the record.
"""

import logging
import threading
from collections.abc import Callable

from redis.exceptions import RedisError

from tasks.ledger import connect, keys
from tasks.ledger.faults import away
from tasks.settings import Settings

log = logging.getLogger(__name__)
BLOCK_S = 1
"""The longest wait of one read, in s."""
RETRY_S = 0.25
"""The pause after a read that failed, in s."""
EVENTS_A_READ = 1000


class Events:
    """Calls the waiters of a job at each of its events."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(settings, read_timeout_s=BLOCK_S + 1)
        self._waiters: dict[str, list[Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._reading = False

    def join(self, job_id: str, wake: Callable[[], None]) -> None:
        """Calls `wake` whenever the job's status may have changed, from the reader's thread; it must not block.

        No change after this has returned is missed. Errors: NotReady.
        """
        with self._lock:
            if not self._reading:
                # the stream's end is taken here, before the caller reads the record: no change falls between the two
                with away():
                    last = self._end()
                self._reading = True
                threading.Thread(target=self._read, args=(last,), name="events", daemon=True).start()
            self._waiters.setdefault(job_id, []).append(wake)

    def leave(self, job_id: str, wake: Callable[[], None]) -> None:
        """Ends what `join` with the same arguments began."""
        with self._lock:
            self._waiters[job_id].remove(wake)
            if not self._waiters[job_id]:
                del self._waiters[job_id]

    def _read(self, last: str | None) -> None:
        while self._wanted():
            try:
                if last is None:  # Redis was away and events may be lost: every waiter reads its record
                    last = self._end()
                    self._wake(self._all())
                for _, entries in (
                    self._redis.xread({keys.EVENTS: last}, count=EVENTS_A_READ, block=BLOCK_S * 1000) or ()
                ):
                    last = entries[-1][0]
                    self._wake({fields.get("id", "") for _, fields in entries})
            except RedisError as error:
                log.warning("the event stream cannot be read (%s); trying again", type(error).__name__)
                last = None
                threading.Event().wait(RETRY_S)
            except Exception:  # a reader that ended would leave all waiters, now and later, asleep
                log.exception("the reader of the event stream goes on after a defect")
                last = None
                threading.Event().wait(RETRY_S)

    def _wanted(self) -> bool:
        with self._lock:
            self._reading = bool(self._waiters)
            return self._reading

    def _all(self) -> set[str]:
        with self._lock:
            return set(self._waiters)

    def _wake(self, job_ids: set[str]) -> None:
        with self._lock:
            for wake in (wake for job_id in job_ids for wake in self._waiters.get(job_id, ())):
                try:
                    wake()
                except Exception:  # it is one waiter's alone
                    log.exception("a waiter for an event could not be woken")

    def _end(self) -> str:
        newest = self._redis.xrevrange(keys.EVENTS, count=1)
        return newest[0][0] if newest else "0-0"
