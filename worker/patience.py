"""Retries calls to the bucket while it is away, so that finished work is neither thrown away nor done again.

The backoff has full jitter: a random delay below a bound that doubles with each try. A request to stop ends it. The
job's `message` says meanwhile that it waits for the bucket.
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
FETCH_S = 20.0
"""Seconds of failures of the bucket before a fetch fails: the next attempt can fetch at no loss."""
UPLOAD_S = 300.0
"""Seconds of failures of the bucket before an upload fails: the outputs would have to be made again."""
FIRST_S = 0.5
"""Bound of the first delay."""
LONGEST_S = 15.0
"""Bound of the longest delay."""
CHECK_EVERY_S = 0.1
"""Seconds between two checks for a request to stop."""


def patiently(attempt: Attempt, what: str, most_s: float, ledger: Ledger, ask: Callable[[], T]) -> T:
    """Retry `ask` while the bucket is away. Returns its value.

    Errors: StorageUnavailable once the bucket has been away for `most_s`; the attempt's own once it is asked to stop;
    whatever else `ask` raises.
    """
    try:
        return ask()  # at nearly all times; Retrying costs as much as a small upload
    except StorageUnavailable as error:
        failed = [error]
    since: list[float] = []

    def again() -> T:
        if failed:
            raise failed.pop()
        return ask()

    def over(state: RetryCallState) -> bool:
        since.append(time.monotonic())
        return attempt.stopped() or since[-1] - since[0] >= most_s

    def say(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, StorageUnavailable):
            attempt.waits_for = f"waiting for the bucket to {what}: {error.detail}"

    try:
        return Retrying(
            retry=retry_if_exception_type(StorageUnavailable),
            stop=over,
            before_sleep=say,
            reraise=True,
            wait=wait_random_exponential(multiplier=FIRST_S, max=LONGEST_S),
            sleep=lambda s: _nap(s, attempt),
        )(again)
    finally:
        if attempt.waits_for:
            attempt.waits_for = ""
            attempt.tell(ledger)  # now: the attempt may end before the next round


def _nap(seconds: float, attempt: Attempt) -> None:
    """Sleep. Errors: the attempt's own, once it is asked to stop."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        attempt.check()
        threading.Event().wait(min(left, CHECK_EVERY_S))
