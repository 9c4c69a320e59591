"""Batches calls of many jobs into one model call: while a batch runs, the calls that arrive form the next.

It knows the algorithm and its calls, and nothing of jobs.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from tasks.algorithm import Algorithm, Call, Result
from tasks.errors import BacklotError, Canceled, ModelFailed, OutOfMemory
from worker.call_log import working_for

log = logging.getLogger(__name__)
Outcome = Result | BacklotError
PATIENCE = 0.1
"""Part of the time of the batch before, for which a batch that is not full waits for calls that are on their way."""
FIRST_PATIENCE_S = 0.02
"""Seconds for which the first batch waits for them."""
MOST_PATIENCE_S = 0.1
"""Longest such wait, seconds: what takes longer to fetch goes into a later batch."""
LOOK_EVERY_S = 0.002
"""Seconds between two looks whether there are still some."""


class Answer:
    """An outcome to come, set once: the first holds. Two locks are a tenth of the time of a Future."""

    def __init__(self) -> None:
        self._first, self._awaited = threading.Lock(), threading.Lock()
        self._awaited.acquire()
        self._outcome: Outcome | None = None

    def set(self, outcome: Outcome) -> None:
        if self._first.acquire(blocking=False):
            self._outcome = outcome
            self._awaited.release()

    def done(self) -> bool:
        return self._outcome is not None

    def result(self) -> Outcome:
        """Waits for the outcome."""
        with self._awaited:
            assert self._outcome is not None
            return self._outcome


@dataclass(eq=False)
class Turn:
    """A call in a batcher's line, then in its batch.

    Its first answer holds. The algorithm may give it before the batch is done (`Call.answer`).
    """

    call: Call
    key: object
    length: int
    begins: Callable[[], None] = lambda: None
    since: float = field(default_factory=time.monotonic)
    outcome: Answer = field(default_factory=Answer)

    def answer(self, outcome: Outcome) -> None:
        self.outcome.set(outcome)


class Batcher:
    """Runs one algorithm, one batch at a time: on a thread of its own or, with batches of one, on its callers'.

    size     calls in one batch at most
    wait_s   how long a batch that is not full waits for more, from its oldest call on
    soon     soon(seconds) is True where a call is on its way that may come within that time
    """

    def __init__(
        self,
        algorithm: Algorithm,
        size: int = 1,
        wait_s: float = 0,
        name: str = "model",
        soon: Callable[[float], bool] = lambda within_s: False,
    ) -> None:
        self._algorithm, self._size, self._wait_s, self._soon = algorithm, size, wait_s, soon
        self._patience_s = FIRST_PATIENCE_S
        self._line: list[Turn] = []
        self._changed = threading.Condition()
        self._closed = self._busy = False
        if size > 1:
            threading.Thread(target=self._work, name=f"batcher {name}", daemon=True).start()

    def enter(self, call: Call, begins: Callable[[], None] = lambda: None) -> Turn:
        """Join the line. `begins` is called on the thread of the batch when the batch begins.

        Errors: those of the algorithm's batch_key and length.
        """
        turn = Turn(call, self._algorithm.batch_key(call), self._algorithm.length(call), begins)
        turn.call = replace(call, answer=turn.answer)
        with self._changed:
            self._line.append(turn)
            if self._size > 1:
                self._changed.notify_all()
        return turn

    def leave(self, turn: Turn) -> None:
        """Leave the line at once, with the answer Canceled. A running call notices by `canceled`."""
        with self._changed:
            if turn in self._line:
                self._line.remove(turn)
                turn.answer(Canceled("the call left the line of its model"))
                self._changed.notify_all()

    def result(self, turn: Turn) -> Result:
        """The call's own result, however many ran beside it. Errors: the error that the algorithm answered for it."""
        if self._size == 1:
            self._on_this_thread(turn)
        outcome = turn.outcome.result()
        if isinstance(outcome, BacklotError):
            raise outcome
        return outcome

    def run(self, call: Call) -> Result:
        """Join the line and wait for the result."""
        return self.result(self.enter(call))

    def close(self) -> None:
        """End the thread once its line is empty."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _on_this_thread(self, turn: Turn) -> None:
        with self._changed:
            while not turn.outcome.done() and (self._busy or self._line[0] is not turn):
                self._changed.wait()
            if turn.outcome.done():
                return
            self._line.remove(turn)
            self._busy = True
        try:
            answer_all(self._algorithm, [turn])
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _work(self) -> None:
        while True:
            try:
                batch = self._next()
            except Exception as error:  # keys or lengths of the algorithm's own that cannot be compared
                with self._changed:
                    batch, self._line = self._line, []
                for turn in batch:
                    turn.answer(as_job_error(error))
                continue
            if not batch:
                return
            start = time.monotonic()
            answer_all(self._algorithm, batch)
            self._patience_s = min(MOST_PATIENCE_S, PATIENCE * (time.monotonic() - start))

    def _next(self) -> list[Turn]:
        """The next batch: the oldest call and those that may run with it, like lengths first; empty when closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._line or self._closed)
                if not self._line:
                    return []
                oldest = self._line[0]
                full = self._changed.wait_for(
                    partial(self._is_full, oldest), timeout=max(0.0, oldest.since + self._wait_s - time.monotonic())
                ) or self._arrive(oldest)
                if not oldest.outcome.done():
                    break
            batch = self._fitting(oldest)[: self._size]
            log.debug("batch of %d (%s)", len(batch), "full" if full else "what there is")
            self._line = [turn for turn in self._line if turn not in batch]
            return batch

    def _arrive(self, oldest: Turn) -> bool:
        """Wait a little for calls that are on their way. Returns True once the batch is full."""
        end = time.monotonic() + self._patience_s
        while not self._is_full(oldest):
            left = end - time.monotonic()
            if left <= 0 or not self._soon(self._patience_s):
                return False
            self._changed.release()
            time.sleep(min(left, LOOK_EVERY_S))  # wait(timeout) would never end under libfaketime (fault scenario 10a)
            self._changed.acquire()
        return True

    def _is_full(self, oldest: Turn) -> bool:
        return oldest.outcome.done() or len(self._fitting(oldest)) >= self._size

    def _fitting(self, oldest: Turn) -> list[Turn]:
        alike = [turn for turn in self._line if turn.key == oldest.key]
        return sorted(alike, key=lambda turn: (turn is not oldest, abs(turn.length - oldest.length)))


def answer_all(algorithm: Algorithm, turns: Sequence[Turn]) -> None:
    """Run a batch and answer each of its calls; never raises.

    A batch that raises is split until the bad call stands alone. A call that has its answer is not run again.
    """
    if not turns:
        return
    try:
        for turn in turns:
            turn.begins()
        with working_for(turns[0].call.log if len(turns) == 1 else None):
            outcomes = algorithm.run([turn.call for turn in turns])
        if len(outcomes) != len(turns):
            raise ModelFailed(f"the model answered {len(outcomes)} results for {len(turns)} calls")
    except BaseException as error:  # whatever a model raises is an answer to its caller, never the end of the worker
        if isinstance(error, (KeyboardInterrupt, SystemExit)) and threading.current_thread() is threading.main_thread():
            raise
        left = [turn for turn in turns if not turn.outcome.done()]
        if len(turns) == 1:
            if not isinstance(error, BacklotError):
                turns[0].call.log.error("the model failed", exc_info=error)
            turns[0].answer(as_job_error(error))
        elif left:
            half = (len(left) + 1) // 2
            answer_all(algorithm, left[:half])
            answer_all(algorithm, left[half:])
    else:
        for turn, outcome in zip(turns, outcomes, strict=True):
            turn.answer(outcome)


def as_job_error(error: BaseException) -> BacklotError:
    """The job's error for an exception of a model. It does not hold the exception, whose frames hold tensors."""
    if isinstance(error, BacklotError):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it
        words = f"the model ran out of memory: {_words(error)}"
        return OutOfMemory(words, retryable=not isinstance(error, MemoryError))
    log.exception("a model failed", exc_info=error)
    return ModelFailed(f"{type(error).__name__}: {_words(error)}"[:500])


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as another:  # a model's own class may fail at its own words
        return f"(no words: {type(another).__name__})"
