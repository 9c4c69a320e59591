"""Many jobs, one model call: while one batch runs, what arrives becomes the next.

It knows the algorithm and its calls; not whose jobs they are.
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from tasks.algorithm import Algorithm, Call, Result
from tasks.errors import BacklotError, ModelFailed, OutOfMemory

log = logging.getLogger(__name__)
Outcome = Result | BacklotError


@dataclass
class _Waiting:
    call: Call
    key: object
    length: int
    since: float = field(default_factory=time.monotonic)
    outcome: "Future[Outcome]" = field(default_factory=Future)


class Batcher:
    """Runs one algorithm, one batch at a time: on a thread of its own or, with batches of one, on its caller's.

    size     calls in one batch at most
    wait_s   how long a batch that is not full waits for more, from its oldest call on
    """

    def __init__(self, algorithm: Algorithm, size: int = 1, wait_s: float = 0, name: str = "model") -> None:
        self._algorithm, self._size, self._wait_s = algorithm, size, wait_s
        self._line: list[_Waiting] = []
        self._changed = threading.Condition()
        self._closed = False
        self._alone = threading.Lock()
        if size > 1:
            threading.Thread(target=self._work, name=f"batcher {name}", daemon=True).start()

    def run(self, call: Call) -> Result:
        """The call's own result, however many ran beside it. Errors: what the algorithm answered for this call."""
        outcome = self._one(call) if self._size == 1 else self._among_others(call)
        if isinstance(outcome, BacklotError):
            raise outcome
        return outcome

    def close(self) -> None:
        """End the thread once its line is empty."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _one(self, call: Call) -> Outcome:
        with self._alone:
            return outcomes_of(self._algorithm, [call])[0]

    def _among_others(self, call: Call) -> Outcome:
        waiting = _Waiting(call, self._algorithm.batch_key(call), self._algorithm.length(call))
        with self._changed:
            self._line.append(waiting)
            self._changed.notify()
        return waiting.outcome.result()

    def _work(self) -> None:
        while batch := self._next():
            outcomes = outcomes_of(self._algorithm, [waiting.call for waiting in batch])
            for waiting, outcome in zip(batch, outcomes, strict=True):
                waiting.outcome.set_result(outcome)

    def _next(self) -> list[_Waiting]:
        """The next batch: the oldest call and those that may run with it, like lengths first; empty when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._line or self._closed)
            if not self._line:
                return []
            oldest = self._line[0]
            full = self._changed.wait_for(
                lambda: len(self._fitting(oldest)) >= self._size,
                timeout=max(0.0, oldest.since + self._wait_s - time.monotonic()))
            batch = self._fitting(oldest)[: self._size]
            log.debug("batch of %d (%s)", len(batch), "full" if full else "what there is")
            self._line = [waiting for waiting in self._line if waiting not in batch]
            return batch

    def _fitting(self, oldest: _Waiting) -> list[_Waiting]:
        alike = [waiting for waiting in self._line if waiting.key == oldest.key]
        return sorted(alike, key=lambda w: (w is not oldest, abs(w.length - oldest.length)))


def outcomes_of(algorithm: Algorithm, calls: Sequence[Call]) -> list[Outcome]:
    """What the algorithm answers for each call; a batch that raises is split until the bad call stands alone."""
    try:
        outcomes = algorithm.run(calls)
        if len(outcomes) != len(calls):
            raise ModelFailed(f"the model answered {len(outcomes)} results for {len(calls)} calls")
        return outcomes
    except Exception as error:  # whatever a model raises is an answer to its caller, never the end of the worker
        if len(calls) == 1:
            return [as_job_error(error)]
        half = len(calls) // 2
        return outcomes_of(algorithm, calls[:half]) + outcomes_of(algorithm, calls[half:])


def as_job_error(error: Exception) -> BacklotError:
    """The job's error for something that was raised."""
    if isinstance(error, BacklotError):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it
        words = f"the model ran out of memory: {_words(error)}"
        return OutOfMemory(words, retryable=not isinstance(error, MemoryError))
    log.exception("a model failed", exc_info=error)
    return ModelFailed(f"{type(error).__name__}: {_words(error)}"[:500])


def _words(error: Exception) -> str:
    try:
        return str(error)
    except Exception as another:  # a model's own class may fail at its own words
        return f"(no words: {type(another).__name__})"
