"""Asking the bucket again while it is away: what a model has made is not thrown away, nor made again, for that.

Waits at random, up to a time that doubles with each try (full jitter), and no longer once the attempt is asked to stop.
Meanwhile the job's `message` says what it waits for.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from tasks.errors import StorageUnavailable
from tasks.ledger import Ledger
from worker.attempt import Attempt

T = TypeVar("T")
FETCH_S, UPLOAD_S = 20.0, 300.0
"""How long the bucket may fail, from its first failure on, before the attempt does: its inputs can be fetched by the
next attempt at no loss, its outputs would have to be made again."""
FIRST_S, LONGEST_S = 0.5, 15.0
LOOK_S = 0.1


def patiently(attempt: Attempt, what: str, most_s: float, ledger: Ledger, ask: Callable[[], T]) -> T:
    """What `ask` gives, asked again while the bucket is away. Errors: StorageUnavailable once it has been for `most_s`;
    the attempt's own once that is asked to stop; whatever else `ask` raises."""
    since: list[float] = []

    def over(state: RetryCallState) -> bool:
        since.append(time.monotonic())
        return attempt.stopped() or since[-1] - since[0] >= most_s

    def say(state: RetryCallState) -> None:
        attempt.waits_for = f"waiting for the bucket to {what}: {state.outcome.exception().detail}"

    try:
        return Retrying(
            retry=retry_if_exception_type(StorageUnavailable),
            stop=over,
            before_sleep=say,
            reraise=True,
            wait=wait_random_exponential(multiplier=FIRST_S, max=LONGEST_S),
            sleep=lambda s: _nap(s, attempt),
        )(ask)
    finally:
        if attempt.waits_for:
            attempt.waits_for = ""
            attempt.tell(ledger)  # now: the attempt may end before the next round


def _nap(seconds: float, attempt: Attempt) -> None:
    """Errors: the attempt's, once it is asked to stop."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        attempt.check()
        threading.Event().wait(min(left, LOOK_S))
