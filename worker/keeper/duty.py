"""One duty of the keeper: done again and again on a thread of its own, so that one that fails or hangs stops no other.

It knows when the duty last succeeded and with what it failed, and nothing of what the duty does.
"""

import logging
import threading
import time
from collections.abc import Callable

import redis
from redis.exceptions import RedisError

from tasks.errors import BacklotError
from tasks.ledger.keepers import Standing
from tasks.reduced import reason
from worker.keeper import metrics
from worker.keeper.skipped import Skipped

log = logging.getLogger(__name__)
LATE_ROUNDS = 30
"""A duty is late once it has not succeeded for so many rounds of the keeper longer than its period."""
TOLD_AGAIN_S = 60
"""The same error is logged again after so long."""
NOT_READY_S = 0.25
"""The gate is tried again after so long, or after a round where that is less."""


class Duty:
    """`gate()` is asked before each round of it, and raises while nothing may be done. Errors of neither come out."""

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        skipped: Skipped,
        *,
        round_s: float,
        period_s: float = 0,
        gate: Callable[[], object] = lambda: None,
    ) -> None:
        self.name, self.work, self.skipped = name, work, skipped
        self._gate, self._round_s = gate, round_s
        self._period_s = max(period_s, round_s)
        self.late_s = self._period_s + LATE_ROUNDS * round_s
        self.errors, self.error = 0, ""
        self._succeeded: float | None = None
        self._counts_from = time.monotonic()
        self._running_since: float | None = None
        self._told = ("", 0.0)
        for shown in (metrics.DUTY_ERRORS, metrics.DUTY_SUCCEEDED, metrics.SKIPPED):
            shown.labels(name)

    def repeat(self, stop: threading.Event) -> None:
        """Until the stop."""
        while not stop.is_set():
            start = time.monotonic()
            pause = self.once()
            stop.wait(max(0.0, pause - (time.monotonic() - start)))

    def once(self) -> float:
        """Do it now; how many seconds after this began it is to be done again."""
        self._running_since = time.monotonic()
        try:
            self._gate()
        except Exception as error:  # the duty whose work opens the gate says why it is closed
            self._failed(error, told=False)
            return min(NOT_READY_S, self._round_s)
        try:
            self.work()
        except Exception as error:
            self._failed(error, told=True)
            return self._round_s
        finally:
            self._running_since = None
        self.error, self._succeeded = "", time.monotonic()
        metrics.DUTY_SUCCEEDED.labels(self.name).set_to_current_time()
        return self._period_s

    def standing(self) -> Standing:
        """How it stands now."""
        age = None if self._succeeded is None else round(time.monotonic() - self._succeeded, 3)
        return Standing(age, self.late_s, self.errors, self.skipped.count, self.trouble)

    @property
    def is_late(self) -> bool:
        """It fails, or hangs, for longer than one may overlook."""
        return time.monotonic() - max(self._succeeded or 0, self._counts_from) > self.late_s

    @property
    def trouble(self) -> str | None:
        """The error with which it fails now, or for how long it has been at it where that is long."""
        since = self._running_since
        if since is not None and time.monotonic() - since > LATE_ROUNDS * self._round_s:
            return f"running for {time.monotonic() - since:.0f} s"
        return self.error or None

    def _failed(self, error: Exception, *, told: bool) -> None:
        self.errors += 1
        metrics.DUTY_ERRORS.labels(self.name).inc()
        self._running_since = None
        self.error = _words(error)
        text, at = self._told
        if told and (self.error != text or time.monotonic() - at > TOLD_AGAIN_S):
            self._told = (self.error, time.monotonic())
            unforeseen = not isinstance(error, BacklotError | RedisError)
            log.error("%s: %s", self.name, self.error, exc_info=unforeseen and error)


def _words(error: Exception) -> str:
    """For people; an address of Redis, which callers of /v1/pools need not know, is left out."""
    if isinstance(error, BacklotError):
        return error.detail
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return f"Redis did not answer ({type(error).__name__})"
    return reason(error)
