"""An attempt: a claimed job while a slot has it, with phase, progress, timings, and the request to stop.

The parent, which keeps the limits of each phase, reads phases from the slot's board (board.py). People read them from
the ledger, which hears of them in rounds (`tell`, which run.py calls five times a second), so that a job shorter than
a round costs no call.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks import errors, text
from tasks.job import Fixed
from tasks.ledger import Cause, Claimed, Ledger
from tasks.registry import Model
from worker.board import Board
from worker.call_log import CallLog
from worker.so_far import SoFar

METRICS = {
    "fetching": "fetch_s",
    "loading": "load_s",
    "batching": "batch_s",
    "running": "run_s",
    "uploading": "upload_s",
}
"""The metric that holds the seconds of each phase."""
ENDING = "ending"
"""The phase while the end is written: nothing limits it."""
ASKS = {"canceling": "cancel", "lost": "lost"}
"""Answers of `report` that ask an attempt to stop, each with the reason."""
REPORTS_A_TRIP = 20
"""Reports of one call; with messages of MESSAGE_MAX, and pieces of text and log, they fit a trip's bytes."""
MESSAGE_MAX = 1000
"""Characters of a message."""
PIECES = ("text", "text_at", "log", "log_at")
"""Arguments of `report` with a piece of the text or the log so far."""
CLAIMED = {"phase": "running"}
"""The state that `claim` writes: a phase that passes at once is never reported."""


class HandedBack(errors.Stopped):
    """The job is released into its line, by nobody's fault. `cause`: that of `Ledger.release`."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(detail)
        self.cause: Cause = cause


STOPS: dict[str, Callable[[float], errors.BacklotError]] = {
    "cancel": lambda run_s: errors.Canceled("the job was canceled"),
    "lost": lambda run_s: errors.LeaseLost("another worker owns this job now"),
    "deadline": lambda run_s: errors.DeadlineExceeded("deadline_s passed while the job ran"),
    "timeout": lambda run_s: errors.Timeout(f"the attempt ran longer than run_timeout_s = {run_s:g} s"),
}
"""Reasons to stop that hold for every model, each with the error that ends the attempt, by its run_timeout_s."""
PHASE_STOPS: dict[str, Callable[[Model], errors.BacklotError]] = {
    "fetch_timeout": lambda model: errors.InputUnreachable(
        f"the inputs were not here when fetch_timeout_s = {model.fetch_timeout_s:g} s of {model.key} was over",
        retryable=True,
    ),
    "load_timeout": lambda model: errors.Timeout(
        f"loading {model.key} took longer than its limit of {model.load_timeout_s:g} s"
    ),
    "batch_timeout": lambda model: HandedBack(
        "neighbour", f"the turn at {model.key} did not come in batch_timeout_s = {model.batch_timeout_s:g} s"
    ),
    "upload_timeout": lambda model: errors.StorageUnavailable(
        f"the outputs were not in the bucket when upload_timeout_s = {model.upload_timeout_s:g} s of {model.key} was "
        "over"
    ),
}
"""Limits of a phase, each with the error that ends the attempt, by its model."""


def stop_error(why: str, run_timeout_s: float, model: Model | None) -> errors.BacklotError:
    """The error that ends an attempt asked to stop for this reason. Errors: ValueError for a phase without a model."""
    if why in STOPS:
        return STOPS[why](run_timeout_s)
    if model is None:
        raise ValueError(f"{why} of an attempt whose model is not known")
    return PHASE_STOPS[why](model)


@dataclass
class Attempt:
    """One attempt. `stop`: the reason to stop, or None. `waits_for`: a message shown in place of its own, or ''."""

    claimed: Claimed
    model: Model | None = None
    board: Board | None = None
    stop: str | None = None
    waits_for: str = ""
    log: CallLog = field(default_factory=CallLog)
    metrics: dict[str, float] = field(default_factory=lambda: {"load_s": 0.0})
    _phase: str = ""
    _on_board: str = ""
    _since: float = 0
    _hears: Callable[[], None] | None = None
    _now: dict[str, Any] = field(default_factory=lambda: CLAIMED)
    _told: dict[str, Any] = field(default_factory=lambda: CLAIMED)
    _telling: threading.Lock = field(default_factory=threading.Lock)
    _so_far: SoFar = field(default_factory=SoFar)

    @property
    def fixed(self) -> Fixed:
        return self.claimed.fixed

    def ask(self, why: str) -> None:
        """Ask the attempt to stop; any thread may. The first reason holds."""
        self.stop = self.stop or why
        hears = self._hears
        if hears:
            hears()

    def stopped(self) -> bool:
        return self.stop is not None

    def check(self) -> None:
        """Raise the error that ends the attempt, once it was asked to stop."""
        if self.stop:
            raise self.error()

    def error(self) -> errors.BacklotError:
        """The error that ends the attempt. Errors: ValueError where it was not asked to stop."""
        if self.stop is None:
            raise ValueError("the attempt was not asked to stop")
        return stop_error(self.stop, self.fixed.run_timeout_s, self.model)

    @contextlib.contextmanager
    def hearing(self, hears: Callable[[], None]) -> Iterator[None]:
        """Call `hears` at a stop within the block, at once where the stop came before."""
        self._hears = hears
        if self.stop:
            hears()
        try:
            yield
        finally:
            self._hears = None

    def report(self, progress: float, message: str) -> None:
        """Note progress for people; the next round reports the newest."""
        self._now = {**self._now, "progress": min(1.0, max(0.0, progress)), "message": text.line(message, MESSAGE_MAX)}

    def so_far(self, text: str) -> None:
        """Note the text so far, from its beginning; rounds report what is new of it."""
        self._so_far.tell(text)

    def enter(self, phase: str, passes: bool = False) -> None:
        """Begin a phase and end the one before. Errors: the attempt's own, once it was asked to stop."""
        self.begin(phase, passes)
        self.check()

    def begin(self, phase: str, passes: bool = False) -> None:
        """Begin a phase whatever was asked; also from the thread of a batch.

        `passes`: nothing is waited for in it, so that it needs no limit and is not written to the board.
        """
        if phase != self._phase:
            self._go_on_to(phase)
        if self.board and not passes and phase != self._on_board:
            self._on_board = phase
            self.board.say(self.claimed.token, phase)

    def _go_on_to(self, phase: str) -> None:
        now = time.monotonic()
        if self._phase:
            metric = METRICS[self._phase]
            self.metrics[metric] = round(self.metrics.get(metric, 0) + now - self._since, 4)
        self._phase, self._since = phase if phase in METRICS else "", now
        if phase in METRICS:
            self._now = {**self._now, "phase": phase}

    @property
    def last_message(self) -> str | None:
        """The newest message, for the commit, as a round of reports may never come; None where there was none."""
        return self._now.get("message", "" if self.waits_for or "message" in self._told else None)

    def tell(self, ledger: Ledger) -> None:
        """Report phase, progress and message to the ledger now, where they have changed."""
        tell([self], ledger)

    def _news(self) -> dict[str, Any]:
        """Phase, progress and message, where one has changed since they were told; what is new of text and log."""
        now = {**self._now, "message": self.waits_for} if self.waits_for else self._now
        if "message" in self._told and "message" not in now:
            now = {**now, "message": ""}  # what it waited for has come
        piece, at = self._so_far.piece()
        lines, log_at = self.log.piece()
        return (
            ({} if now == self._told else now)
            | ({"text": piece, "text_at": at} if piece else {})
            | ({"log": lines, "log_at": log_at} if lines else {})
        )

    def _heard(self, told: dict[str, Any], answer: str) -> None:
        self._so_far.sent(told.get("text", ""))
        self.log.sent(told.get("log", ""))
        self._told = {name: value for name, value in told.items() if name not in PIECES} or self._told
        if answer in ASKS:
            self.ask(ASKS[answer])


def tell(attempts: Sequence[Attempt], ledger: Ledger) -> None:
    """Report phases, progress and messages that have changed, REPORTS_A_TRIP at most, in one trip to the ledger."""
    with contextlib.ExitStack() as telling:
        news = []
        for attempt in attempts:
            telling.enter_context(attempt._telling)  # one at a time, or an older phase could overtake a newer
            if told := attempt._news():
                news.append((attempt, told))
        if not news:
            return
        reports = [{"job_id": each.fixed.id, "token": each.claimed.token, **told} for each, told in news]
        with contextlib.suppress(errors.NotReady):  # Redis away: people wait, the work goes on
            for (attempt, told), answer in zip(news, ledger.report_all(reports), strict=True):
                attempt._heard(told, answer)
