"""Blocking calls that cannot be interrupted, each on a thread with nothing else to do, so that callers can abandon one.

An abandoned call runs on until its own timeout. A thread waits a while for its next call: to start one costs more than
most calls. This file knows nothing of jobs or of the functions called.
"""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
CHECK_EVERY_S = 0.1
"""Seconds between two calls of `check` while a caller waits."""
IDLE_S = 10.0
"""Seconds after which a thread without a call ends."""


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
        self._idle: deque[queue.SimpleQueue[_Call]] = deque()
        os.register_at_fork(after_in_child=self._idle.clear)  # no thread survives a fork

    def call(self, do: Callable[[], T], check: Callable[[], None]) -> T:
        """Returns or raises what `do` does. Calls `check` while it waits, and raises what that raises."""
        check()
        while not self._free.acquire(timeout=CHECK_EVERY_S):
            check()
        call = _Call(do)
        try:
            self._hand_over(call)
        except RuntimeError:  # no more threads
            self._free.release()
            raise
        while not call.done.wait(CHECK_EVERY_S):
            check()
        if call.error is not None:
            raise call.error
        value: T = call.value
        return value

    def _hand_over(self, call: _Call) -> None:
        try:
            calls = self._idle.pop()
        except IndexError:
            calls = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(calls,), name=self._name, daemon=True).start()
        calls.put(call)

    def _work(self, calls: "queue.SimpleQueue[_Call]") -> None:
        while True:
            try:
                call = calls.get(timeout=IDLE_S)
            except queue.Empty:
                try:
                    self._idle.remove(calls)
                except ValueError:  # a caller has just taken it
                    continue
                return
            self._run(call)
            self._idle.append(calls)
            self._free.release()
            call.done.set()
            del call  # what it holds may be large

    def _run(self, call: _Call) -> None:
        try:
            call.value = call.do()
        except BaseException as error:  # re-raised in the caller, if it still waits
            call.error = error


BUCKETS = Apart("bucket", 64)
"""S3 calls, 64 at most: boto3 cannot be stopped before its timeouts and retries end, which may take minutes."""
NAMES = Apart("resolver", 32)
"""DNS look-ups, 32 at most: the system's resolver has its own timeouts, commonly 30 s."""
