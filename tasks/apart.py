"""Calls that cannot be interrupted, on threads of their own, so that whoever waits for one may leave it.

A call that is left goes on by itself until its own timeout. It knows neither jobs nor what is called.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
LOOK_S = 0.1
"""Between two looks at whether the answer is still wanted."""


@dataclass
class _Call:
    do: Callable[[], Any]
    done: threading.Event = field(default_factory=threading.Event)
    value: Any = None
    error: BaseException | None = None


class Apart:
    """At most `most` calls at once, those that were left included: who comes then waits, and may leave as well."""

    def __init__(self, name: str, most: int) -> None:
        self._name, self._free = name, threading.BoundedSemaphore(most)

    def call(self, do: Callable[[], T], check: Callable[[], None]) -> T:
        """What `do` gives or raises. Errors: what `check` raises, which is asked all the while."""
        check()
        while not self._free.acquire(timeout=LOOK_S):
            check()
        call = _Call(do)
        try:
            threading.Thread(target=self._run, args=(call,), name=self._name, daemon=True).start()
        except RuntimeError:  # no more threads
            self._free.release()
            raise
        while not call.done.wait(LOOK_S):
            check()
        if call.error is not None:
            raise call.error
        value: T = call.value
        return value

    def _run(self, call: _Call) -> None:
        try:
            call.value = call.do()
        except BaseException as error:  # the caller's, if it still waits
            call.error = error
        finally:
            self._free.release()
            call.done.set()


BUCKETS = Apart("bucket", 64)
"""boto3 hears of nothing until its timeouts and retries are over, which may take minutes."""
NAMES = Apart("resolver", 32)
"""The system's resolver has timeouts of its own, half a minute with most configurations."""
