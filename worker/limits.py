"""The limits of an attempt as its parent keeps them: what to do next with one that is over, and how its job ends.

Decides only; it neither kills nor writes. Times come from Redis' clock as `renew` gave them.
"""

import time
from typing import Literal

from tasks.errors import (
    BacklotError,
    Canceled,
    DeadlineExceeded,
    OutOfMemory,
    StorageUnavailable,
    Timeout,
    WorkerLost,
)
from tasks.ledger import Held
from tasks.registry import Model, Registry
from tasks.settings import Settings
from worker.attempt import late_upload

Step = Literal["nothing", "ask", "kill"]


class Limits:
    """`shared`: the worker's slots are threads of one process, which a cancel may not end."""

    def __init__(self, settings: Settings, models: Registry, shared: bool) -> None:
        self._settings, self._models, self._shared = settings, models, shared
        self._asked: dict[str, tuple[str, float]] = {}
        self._killed: set[str] = set()
        self._ended: set[str] = set()

    def why(self, held: Held) -> str:
        """Why the attempt was asked to stop; '' where it was not."""
        return self._asked.get(held.token, ("", 0))[0]

    def step(self, held: Held, now_ms: float, memory_mb: float) -> Step:
        """What to do now with an attempt whose process lives."""
        why = self._over(held, now_ms, memory_mb)
        if not why:
            return "nothing"
        asked = self._asked.get(held.token)
        if asked is None:
            self._asked[held.token] = (why, time.monotonic())
        slow = why in ("cancel", "lost") or held.phase == "uploading"  # boto3 hears of a stop between two tries
        patience = self._settings.grace_s if slow else self._settings.stop_s
        waited = time.monotonic() - self._asked[held.token][1]
        if (why == "memory" or waited >= patience) and not (self._shared and why in ("cancel", "lost")):
            self._killed.add(held.token)
            self._ended.add(_process(held))
            return "kill"
        return "ask"  # in every round: the attempt may not have been there yet

    def verdict(self, held: Held, cause: str) -> BacklotError | None:
        """How the job of a process that is gone ends; None: it is innocent and goes back into its line."""
        if held.token not in self._killed:
            if _process(held) in self._ended:
                return None
            return WorkerLost(f"the process that ran the job is gone: {cause}")
        model = self._model(held)
        if self.why(held) == "timeout" and held.phase == "uploading":
            return StorageUnavailable(late_upload(held.run_ms / 1000))
        return {
            "cancel": Canceled("the job was canceled; its process was ended"),
            "lost": None,
            "timeout": Timeout(f"the attempt ran longer than run_timeout_s = {held.run_ms / 1000:g} s"),
            "load_timeout": Timeout(f"loading {model.key} took longer than its limit of {model.load_timeout_s:g} s"),
            "deadline": DeadlineExceeded("deadline_s passed while the job ran"),
            "memory": OutOfMemory(f"the job's process went over the {model.memory_mb} MiB that {model.key} may use"),
        }[self.why(held)]

    def end(self, held: Held) -> None:
        """The grace of a drain is over: the attempt is ended for no fault of its own."""
        self._ended.add(_process(held))

    def forget(self, held: Held) -> None:
        """The attempt's end is written."""
        self._asked.pop(held.token, None)
        self._killed.discard(held.token)

    def _over(self, held: Held, now_ms: float, memory_mb: float) -> str:
        """The limit that the attempt is over, or ''."""
        if held.state == "lost":
            return "lost"
        if held.state == "canceling":
            return "cancel"
        if held.deadline_ms is not None and now_ms > held.deadline_ms:
            return "deadline"
        model = self._model(held)
        in_phase = now_ms - held.phase_ms
        if held.phase == "loading" and in_phase > model.load_timeout_s * 1000:
            return "load_timeout"
        loading = held.loading_ms + (in_phase if held.phase == "loading" else 0)
        if now_ms - held.attempt_ms - loading > held.run_ms:
            return "timeout"
        return "memory" if memory_mb > model.memory_mb and held.phase in ("loading", "running") else ""

    def _model(self, held: Held) -> Model:
        queue, _, name = held.line.partition(":")
        return self._models.model(queue.partition(".")[2], name)


def _process(held: Held) -> str:
    return held.slot.rpartition(":")[0]
