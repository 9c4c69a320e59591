"""Who waits for a job: one reader of the event stream for the whole process, however many wait.

It runs only while somebody waits. It tells that something changed, not what: the waiter reads the record.
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
AGAIN_S = 0.25
AT_ONCE = 1000


class Events:
    """Wakes those who wait for a job."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(settings, read_timeout_s=BLOCK_S + 1)
        self._waiters: dict[str, list[Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._reading = False

    def join(self, job_id: str, wake: Callable[[], None]) -> None:
        """From now on `wake` is called, by the reader's thread, whenever the job's status may have changed; it must
        not block. A change after this has returned is not missed. Errors: NotReady."""
        with self._lock:
            if not self._reading:
                # the stream's end is taken here, before the caller reads the record: no change falls between the two
                with away():
                    last = self._end()
                self._reading = True
                threading.Thread(target=self._read, args=(last,), name="events", daemon=True).start()
            self._waiters.setdefault(job_id, []).append(wake)

    def leave(self, job_id: str, wake: Callable[[], None]) -> None:
        """No more of this job for `wake`, which had joined."""
        with self._lock:
            self._waiters[job_id].remove(wake)
            if not self._waiters[job_id]:
                del self._waiters[job_id]

    def _read(self, last: str | None) -> None:
        while self._wanted():
            try:
                if last is None:  # Redis was away and events may be gone: everybody looks for themselves
                    last = self._end()
                    self._wake(self._all())
                for _, entries in self._redis.xread({keys.EVENTS: last}, count=AT_ONCE, block=BLOCK_S * 1000) or ():
                    last = entries[-1][0]
                    self._wake({fields.get("id", "") for _, fields in entries})
            except RedisError as error:
                log.warning("the event stream cannot be read (%s); trying again", type(error).__name__)
                last = None
                threading.Event().wait(AGAIN_S)
            except Exception:  # a reader that ended would leave all waiters, now and later, asleep
                log.exception("the reader of the event stream goes on after a defect")
                last = None
                threading.Event().wait(AGAIN_S)

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
