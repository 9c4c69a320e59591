"""Calls that are on their way to a model: jobs that wait for a slot which is being woken, jobs being claimed, and jobs
whose inputs are being fetched.

A batcher asks for them before it starts a batch that is not full. It knows slots and models, and no jobs.
"""

import time

UNKNOWN = ""
"""The model of a job that is being claimed."""


class Arrivals:
    """The slots of one process that will soon bring a call. Used by all threads."""

    def __init__(self) -> None:
        self._coming: dict[str, tuple[str, float]] = {}  # slot, or a name for several -> model, and since when

    def expect(self, slot: str, model: str = UNKNOWN) -> None:
        """The slot has begun to claim a job, or to fetch the inputs of one of this model."""
        self._coming[slot] = model, time.monotonic()

    def came(self, slot: str) -> None:
        """The slot's call has joined its line, or there is none."""
        self._coming.pop(slot, None)

    def soon(self, model: str, within_s: float) -> bool:
        """True where a call of this model may come within that time. A slot that has taken longer already is not
        waited for: what has lasted long will last."""
        begun = time.monotonic() - within_s
        return any(since > begun for of, since in list(self._coming.values()) if of in (model, UNKNOWN))
