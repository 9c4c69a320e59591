"""Repeats one duty of the keeper on a thread of its own, so that one that fails or hangs stops no other.

It knows when the duty last succeeded and with what it failed, and nothing of the work itself.
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
"""Rounds of the keeper beyond the duty's period after which it is late without a success."""
LOGGED_AGAIN_S = 60
"""Seconds until the same error is logged again."""
GATE_RETRY_S = 0.25
"""Seconds until a closed gate is tried again, or a round where that is shorter."""


class Duty:
    """`work` is done once a period. `gate` is asked before each round and raises while no work may be done.

    Errors of either are noted and never leave the duty.
    """

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
        self._succeeded_at: float | None = None
        self._started_at = time.monotonic()
        self._running_since: float | None = None
        self._logged = ("", 0.0)  # an error, and when
        for shown in (metrics.DUTY_ERRORS, metrics.DUTY_SUCCEEDED, metrics.DUTY_CPU, metrics.SKIPPED):
            shown.labels(name)

    def repeat(self, stop: threading.Event) -> None:
        """Do rounds until the stop."""
        while not stop.is_set():
            start = time.monotonic()
            pause_s = self.once()
            stop.wait(max(0.0, pause_s - (time.monotonic() - start)))

    def once(self) -> float:
        """Do one round now. Returns the seconds from its beginning to the next."""
        cpu_s = time.thread_time()
        try:
            return self._once()
        finally:
            metrics.DUTY_CPU.labels(self.name).inc(time.thread_time() - cpu_s)

    def _once(self) -> float:
        self._running_since = time.monotonic()
        try:
            self._gate()
        except Exception as error:  # the duty whose work opens the gate logs why it is closed
            self._fail(error, logged=False)
            return min(GATE_RETRY_S, self._round_s)
        try:
            self.work()
        except Exception as error:
            self._fail(error, logged=True)
            return self._round_s
        finally:
            self._running_since = None
        self.error, self._succeeded_at = "", time.monotonic()
        metrics.DUTY_SUCCEEDED.labels(self.name).set_to_current_time()
        return self._period_s

    def standing(self) -> Standing:
        """The duty's state now."""
        age_s = None if self._succeeded_at is None else round(time.monotonic() - self._succeeded_at, 3)
        return Standing(age_s, self.late_s, self.errors, self.skipped.count, self.trouble)

    @property
    def is_late(self) -> bool:
        """True where no round has succeeded for `late_s`."""
        return time.monotonic() - max(self._succeeded_at or 0, self._started_at) > self.late_s

    @property
    def trouble(self) -> str | None:
        """The current error, or the time for which a round has been running where that is long."""
        since = self._running_since
        if since is not None and time.monotonic() - since > LATE_ROUNDS * self._round_s:
            return f"running for {time.monotonic() - since:.0f} s"
        return self.error or None

    def _fail(self, error: Exception, *, logged: bool) -> None:
        self.errors += 1
        metrics.DUTY_ERRORS.labels(self.name).inc()
        self._running_since = None
        self.error = _words(error)
        before, at = self._logged
        if logged and (self.error != before or time.monotonic() - at > LOGGED_AGAIN_S):
            self._logged = (self.error, time.monotonic())
            unforeseen = not isinstance(error, BacklotError | RedisError)
            log.error("%s: %s", self.name, self.error, exc_info=error if unforeseen else None)


def _words(error: Exception) -> str:
    """The error for people. Redis' address is left out: callers of /v1/pools need not know it."""
    if isinstance(error, BacklotError):
        return error.detail
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return f"Redis did not answer ({type(error).__name__})"
    return reason(error)
