"""Whether Celery still takes bells: with a broker connection that came back wrong it takes none, and nobody says so.

A worker all of whose slots are busy does not ask for bells and is healthy. It knows neither Celery nor Redis.
"""

import time
from collections.abc import Hashable


class Watchdog:
    """Looks once a round; `patience_s`: how long a bell may lie although a slot is free and nothing moves."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._moved: Hashable = None
        self._since: float | None = None

    def bites(self, bell_lies_before_a_free_slot: bool, moved: Hashable) -> bool:
        """Whether the Celery process is to be replaced. `moved` changes whenever a bell is taken or a job claimed."""
        if not bell_lies_before_a_free_slot or moved != self._moved:
            self._moved, self._since = moved, None
        if bell_lies_before_a_free_slot and self._since is None:
            self._since = time.monotonic()
        if self._since is None or time.monotonic() - self._since < self._patience_s:
            return False
        self._since = None
        return True
