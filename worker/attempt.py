"""A claimed job while it is a slot's: its phase and progress as people see them, its timings, what is asked of it.

The ledger hears of phases in rounds (`tell`, which run.py calls five times a second), so that a job shorter
than a round costs no call. Loading is told at once where a model must really be loaded, because its time is no
part of run_timeout_s; and so is the running after it, because a model that holds the GIL lets nobody tell later.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tasks import errors, text
from tasks.job import Fixed
from tasks.ledger import Claimed, Ledger

STOPS: dict[str, Callable[[Fixed], errors.BacklotError]] = {
    "cancel": lambda fixed: errors.Canceled("the job was canceled"),
    "timeout": lambda fixed: errors.Timeout(f"the attempt ran longer than run_timeout_s = {fixed.run_timeout_s:g} s"),
    "load_timeout": lambda fixed: errors.Timeout(f"the model {fixed.model} took longer to load than it may"),
    "deadline": lambda fixed: errors.DeadlineExceeded(f"deadline_s = {fixed.deadline_s:g} s passed"),
    "lost": lambda fixed: errors.LeaseLost("another worker owns this job now"),
}
"""Why an attempt is asked to stop, and the error it then ends with."""

MESSAGE_MAX = 1000
CLAIMED = {"phase": "running"}
"""What `claim` writes: a phase that passes at once is never told."""


@dataclass
class Attempt:
    """`stop`: why it should stop, a key of STOPS; None while it should not. `waits_for`: its message for now; or ''."""

    claimed: Claimed
    stop: str | None = None
    waits_for: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    _now: dict = field(default_factory=lambda: CLAIMED)
    _told: dict = field(default_factory=lambda: CLAIMED)
    _telling: threading.Lock = field(default_factory=threading.Lock)

    @property
    def fixed(self) -> Fixed:
        return self.claimed.fixed

    def stopped(self) -> bool:
        return self.stop is not None

    def error(self) -> errors.BacklotError:
        """What it ends with, having been asked to stop."""
        if self.stop == "timeout" and self._now["phase"] == "uploading":
            return errors.StorageUnavailable(late_upload(self.fixed.run_timeout_s))
        return STOPS[self.stop](self.fixed)

    def report(self, progress: float, message: str) -> None:
        """Progress for people; costs nothing here, the next round takes the newest."""
        self._now = {**self._now, "progress": min(1.0, max(0.0, progress)), "message": text.line(message, MESSAGE_MAX)}

    @contextlib.contextmanager
    def phase(self, name: str, metric: str, at_once: Ledger | None = None) -> Iterator[None]:
        """A step of the attempt, timed; a stop that came meanwhile ends it. `at_once`: tell this ledger now."""
        self._now = {**self._now, "phase": name}
        if at_once:
            self.tell(at_once)
        start = time.monotonic()
        yield
        self.metrics[metric] = round(time.monotonic() - start, 4)
        if self.stop:
            raise self.error()

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
                self.stop = self.stop or {"canceling": "cancel", "lost": "lost"}[answer]


def late_upload(run_timeout_s: float) -> str:
    """The model was done in time and the bucket was not: that is no fault of the job's, which may be tried again."""
    return f"the outputs were not in the bucket when run_timeout_s = {run_timeout_s:g} s was over"
