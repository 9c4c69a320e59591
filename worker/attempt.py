"""A claimed job while it is a slot's: its phase and progress, its timings, what is asked of it.

The parent, which keeps the limits of each phase, reads phases from the slot's board (board.py). People read them from
the ledger, which hears of them in rounds (`tell`, which run.py calls five times a second), so that a job shorter than
a round costs no call.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tasks import errors, text
from tasks.job import Fixed
from tasks.ledger import Claimed, Ledger
from tasks.registry import Model
from worker.board import Board

METRICS = {
    "fetching": "fetch_s",
    "loading": "load_s",
    "batching": "batch_s",
    "running": "run_s",
    "uploading": "upload_s",
}
"""Of each phase, the metric that holds its seconds."""
ENDING = "ending"
"""After the last phase, while the end is written: nothing limits it."""
MESSAGE_MAX = 1000
CLAIMED = {"phase": "running"}
"""What `claim` writes: a phase that passes at once is never told."""


class HandedBack(errors.Stopped):
    """Nobody's error: the job goes back into its line. `cause`: of `Ledger.release`, 'drain' or 'neighbour'."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


STOPS: dict[str, Callable[[float, Model], errors.BacklotError]] = {
    "cancel": lambda run_s, model: errors.Canceled("the job was canceled"),
    "lost": lambda run_s, model: errors.LeaseLost("another worker owns this job now"),
    "deadline": lambda run_s, model: errors.DeadlineExceeded("deadline_s passed while the job ran"),
    "timeout": lambda run_s, model: errors.Timeout(f"the attempt ran longer than run_timeout_s = {run_s:g} s"),
    "fetch_timeout": lambda run_s, model: errors.InputUnreachable(
        f"the inputs were not here when fetch_timeout_s = {model.fetch_timeout_s:g} s of {model.key} was over",
        retryable=True,
    ),
    "load_timeout": lambda run_s, model: errors.Timeout(
        f"loading {model.key} took longer than its limit of {model.load_timeout_s:g} s"
    ),
    "batch_timeout": lambda run_s, model: HandedBack(
        "neighbour", f"the turn at {model.key} did not come in batch_timeout_s = {model.batch_timeout_s:g} s"
    ),
    "upload_timeout": lambda run_s, model: errors.StorageUnavailable(
        f"the outputs were not in the bucket when upload_timeout_s = {model.upload_timeout_s:g} s of {model.key} was "
        "over"
    ),
}
"""Why an attempt is asked to stop, and the error it then ends with, by its run_timeout_s and its model."""


@dataclass
class Attempt:
    """`stop`: why it should stop, a key of STOPS; None while it should not. `waits_for`: its message for now; or ''."""

    claimed: Claimed
    model: Model | None = None
    board: Board | None = None
    stop: str | None = None
    waits_for: str = ""
    metrics: dict[str, float] = field(default_factory=lambda: {"load_s": 0.0})
    _phase: str = ""
    _since: float = 0
    _hears: Callable[[], None] | None = None
    _now: dict = field(default_factory=lambda: CLAIMED)
    _told: dict = field(default_factory=lambda: CLAIMED)
    _telling: threading.Lock = field(default_factory=threading.Lock)

    @property
    def fixed(self) -> Fixed:
        return self.claimed.fixed

    def ask(self, why: str) -> None:
        """To stop. Any thread may; the first reason holds."""
        self.stop = self.stop or why
        hears = self._hears
        if hears:
            hears()

    def stopped(self) -> bool:
        return self.stop is not None

    def check(self) -> None:
        """Errors: what the attempt ends with, once it was asked to stop."""
        if self.stop:
            raise self.error()

    def error(self) -> errors.BacklotError:
        """What it ends with, having been asked to stop."""
        return STOPS[self.stop](self.fixed.run_timeout_s, self.model)

    @contextlib.contextmanager
    def hearing(self, hears: Callable[[], None]) -> Iterator[None]:
        """Within, a stop calls `hears`, at once where it came before."""
        self._hears = hears
        if self.stop:
            hears()
        try:
            yield
        finally:
            self._hears = None

    def report(self, progress: float, message: str) -> None:
        """Progress for people; costs nothing here, the next round takes the newest."""
        self._now = {**self._now, "progress": min(1.0, max(0.0, progress)), "message": text.line(message, MESSAGE_MAX)}

    def enter(self, phase: str) -> None:
        """A phase begins, and the one before it ends. Errors: the attempt's, where a stop came meanwhile."""
        self.begin(phase)
        self.check()

    def begin(self, phase: str) -> None:
        """The same whatever was asked; also from the thread of a batch."""
        if phase == self._phase:
            return
        now = time.monotonic()
        if self._phase:
            metric = METRICS[self._phase]
            self.metrics[metric] = round(self.metrics.get(metric, 0) + now - self._since, 4)
        self._phase, self._since = phase if phase in METRICS else "", now
        if self.board:
            self.board.say(self.claimed.token, phase)
        if phase in METRICS:
            self._now = {**self._now, "phase": phase}

    def tell(self, ledger: Ledger) -> None:
        """Bring the ledger up to date, if there is news."""
        # one at a time, or an older phase could overtake a newer; Redis away: people wait, the work goes on
        with self._telling, contextlib.suppress(errors.NotReady, errors.LedgerFault):
            now = {**self._now, "message": self.waits_for} if self.waits_for else self._now
            if "message" in self._told and "message" not in now:
                now = {**now, "message": ""}  # what it waited for has come
            if now == self._told:
                return
            answer = ledger.report(self.fixed.id, self.claimed.token, **now)
            self._told = now
            if answer != "noted":
                self.ask({"canceling": "cancel", "lost": "lost"}[answer])
