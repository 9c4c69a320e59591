"""Puts logs into the bucket on a thread of its own, so that nobody waits longer than they want. Knows no attempt.

A log that cannot be put in a few tries is lost, with a line in the worker's log: it never costs a job.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable

from tasks.bucket.storage import Storage
from tasks.errors import StorageUnavailable

log = logging.getLogger(__name__)
TRIES = 4
PAUSE_S = 5
"""Seconds between two tries, each of which has the retries of Storage."""
MOST = 200
"""Logs that wait at once, at most: 50 MiB."""
MEDIA_TYPE = "text/plain; charset=utf-8"


class Keeping:
    """`storage` makes the bucket's client at the first log. The thread begins then too."""

    def __init__(self, storage: Callable[[], Storage]) -> None:
        self._storage = storage
        self._waiting: queue.Queue[tuple[str, str, threading.Event]] = queue.Queue(MOST)
        self._starting, self._started = threading.Lock(), False

    def keep(self, key: str, text: str) -> threading.Event:
        """Puts a log under its key, soon. The event is set once it is there, or given up."""
        done = threading.Event()
        with self._starting:
            if not self._started:
                threading.Thread(target=self._work, name="logs", daemon=True).start()
                self._started = True
        try:
            self._waiting.put_nowait((key, text, done))
        except queue.Full:
            log.warning("the log %s is lost: %d others wait for the bucket", key, MOST)
            done.set()
        return done

    def finish(self, within_s: float) -> None:
        """Waits until no log waits, for so many seconds at most."""
        end = time.monotonic() + within_s
        while self._waiting.unfinished_tasks and time.monotonic() < end:
            threading.Event().wait(0.02)

    def _work(self) -> None:
        storage: Storage | None = None
        while True:
            key, text, done = self._waiting.get()
            try:
                storage = storage or self._storage()
                _put(storage, key, text)
            except Exception:  # a defect with one log is not that of the next
                log.exception("the log %s is lost", key)
            finally:
                done.set()
                self._waiting.task_done()


def _put(storage: Storage, key: str, text: str) -> None:
    for left in reversed(range(TRIES)):
        try:
            return storage.put_bytes(key, text.encode(), MEDIA_TYPE)
        except StorageUnavailable as error:
            log.warning("the log %s %s: %s", key, "waits" if left else "is lost", error.detail)
        if left:
            threading.Event().wait(PAUSE_S)
