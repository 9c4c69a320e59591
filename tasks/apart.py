"""Blocking calls that cannot be interrupted, each on its own thread, so that the caller can abandon one.

An abandoned call runs on until its own timeout. This file knows nothing of jobs or of the functions called.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
CHECK_EVERY_S = 0.1
"""Seconds between two calls of `check` while a caller waits."""


@dataclass
class _Call:
    do: Callable[[], Any]
    done: threading.Event = field(default_factory=threading.Event)
    value: Any = None
    error: BaseException | None = None


class Apart:
    """A bounded set of threads: at most `most` calls run at once, abandoned ones included; further callers wait."""

    def __init__(self, name: str, most: int) -> None:
        self._name, self._free = name, threading.BoundedSemaphore(most)

    def call(self, do: Callable[[], T], check: Callable[[], None]) -> T:
        """Returns or raises what `do` does. Calls `check` while it waits, and raises what that raises."""
        check()
        while not self._free.acquire(timeout=CHECK_EVERY_S):
            check()
        call = _Call(do)
        try:
            threading.Thread(target=self._run, args=(call,), name=self._name, daemon=True).start()
        except RuntimeError:  # no more threads
            self._free.release()
            raise
        while not call.done.wait(CHECK_EVERY_S):
            check()
        if call.error is not None:
            raise call.error
        value: T = call.value
        return value

    def _run(self, call: _Call) -> None:
        try:
            call.value = call.do()
        except BaseException as error:  # re-raised in the caller, if it still waits
            call.error = error
        finally:
            self._free.release()
            call.done.set()


BUCKETS = Apart("bucket", 64)
"""S3 calls, 64 at most: boto3 cannot be stopped before its timeouts and retries end, which may take minutes."""
NAMES = Apart("resolver", 32)
"""DNS look-ups, 32 at most: the system's resolver has its own timeouts, commonly 30 s."""
