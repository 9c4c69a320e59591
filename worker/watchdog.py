"""Watches that Celery takes bells: with a broken broker connection it takes none and logs nothing.

A worker all of whose slots are busy does not ask for bells and is healthy. It knows neither Celery nor Redis.
"""

import time
from collections.abc import Hashable


class Watchdog:
    """Asked once a round. `patience_s`: seconds for which a bell may wait beside a free slot without any activity."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._activity: Hashable = None
        self._since: float | None = None

    def is_stuck(self, bell_waiting: bool, activity: Hashable) -> bool:
        """True where the Celery process must be replaced.

        bell_waiting  a bell waits although a slot is free
        activity      changes whenever a bell is taken or a job claimed
        """
        if not bell_waiting or activity != self._activity:
            self._activity, self._since = activity, None
        if bell_waiting and self._since is None:
            self._since = time.monotonic()
        if self._since is None or time.monotonic() - self._since < self._patience_s:
            return False
        self._since = None
        return True
