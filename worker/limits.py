"""Limits of attempts: decides the next step with an attempt over a limit, and the end of its job.

It neither kills nor writes. The phase and since when come from the slot's board, deadlines are of Redis'
clock as `renew` gave it.

A shared process (its slots are threads) is ended only for a job that computes in it: a model over its run_timeout_s or
the deadline, one that does not come back from loading, memory. An attempt that waits, fetches or uploads is asked to
stop; where it does not, its job's end is written without it ('leave'), and its thread finds its token gone.
Nobody knows which row of a hung batch is to blame: each runs next with nothing beside it.
"""

import time
from dataclasses import dataclass, field
from typing import Literal

from tasks.errors import BacklotError, OutOfMemory, WorkerLost
from tasks.ledger import Cause, Held
from tasks.registry import Model, Registry
from tasks.settings import Settings
from worker.attempt import ENDING, HandedBack, stop_error
from worker.board import Doing

Step = Literal["nothing", "ask", "leave", "kill"]
COMPUTES = ("loading", "running")
PHASES = {
    "fetching": "fetch_timeout",
    "loading": "load_timeout",
    "batching": "batch_timeout",
    "running": "timeout",
    "uploading": "upload_timeout",
}
"""The reason to stop once a phase has lasted too long."""


@dataclass
class _Ended:
    """A process that this worker ended.

    over_memory  tokens of the jobs that computed in it when it had too much memory
    hung         tokens of a batch, one row of which was over its limit
    """

    cause: Cause
    over_memory: set[str] = field(default_factory=set)
    hung: set[str] = field(default_factory=set)


class Limits:
    """The limits of one worker's attempts.

    shared     the slots are threads of one process; else a process runs one job and may use its model's memory_mb
    budget_mb  MiB that a shared process may use
    """

    def __init__(self, settings: Settings, models: Registry, shared: bool, budget_mb: float = 0) -> None:
        self._settings, self._models, self._shared, self._budget_mb = settings, models, shared, budget_mb
        self._asked: dict[str, tuple[str, float]] = {}
        self._killed: set[str] = set()
        self._ended: dict[str, _Ended] = {}
        self._running: dict[str, tuple[str, str]] = {}  # token -> process and model, as last seen

    def why(self, held: Held) -> str:
        """The reason for which the attempt was asked to stop; '' where it was not."""
        return self._asked.get(held.token, ("", 0))[0]

    def step(self, held: Held, doing: Doing, now_ms: float, memory_mb: float) -> Step:
        """The step to take now with an attempt whose process lives."""
        self._running.pop(held.token, None)
        if doing.phase == "running" and held.state != "lost":
            self._running[held.token] = (_process(held), self._model(held).key)
        reasons = self._reasons(held, doing, now_ms, memory_mb)
        if not reasons:
            return "nothing"
        first, asked_at = self._asked.setdefault(held.token, (reasons[0], time.monotonic()))
        waited = time.monotonic() - asked_at
        if "memory" in reasons:
            self._kill(held).over_memory.add(held.token)
            return "kill"
        if waited < self._patience_s(held, doing, first):
            return "ask"  # in every round: the attempt may not have been there yet
        deadly = {"running": {"timeout", "deadline"}, "loading": {"load_timeout"}}.get(doing.phase, set())
        if not self._shared or deadly.intersection(reasons):
            self._kill(held).hung |= self._batch_of(held)
            return "kill"
        return "ask" if doing.phase in ("running", ENDING) or held.state == "lost" else "leave"

    def verdict(self, held: Held, cause: str = "") -> BacklotError:
        """The error that ends the job of an attempt that was left, or whose process is gone for `cause`.

        HandedBack means that the job is released into its line.
        """
        ended = self._ended.get(_process(held))
        if cause and ended and held.token in ended.hung and self.why(held) in ("", "timeout"):
            return WorkerLost(
                f"its process was ended, as a batch of {len(ended.hung)} jobs did not come to its end in "
                "the run_timeout_s of one; each runs next with nothing beside it"
            )
        if held.token in self._asked and (held.token in self._killed or not cause):
            if self.why(held) == "memory":
                return self._too_much_memory(held, ended)
            return stop_error(self.why(held), held.run_ms / 1000, self._model(held))
        if ended:
            return HandedBack(ended.cause, "its process was ended for another's fault, or for a drain")
        return WorkerLost(f"the process that ran the job is gone: {cause}")

    def is_to_blame(self, held: Held) -> bool:
        """True where a shared process was ended for this attempt alone."""
        if not self._shared or held.token not in self._killed:
            return False
        ended = self._ended[_process(held)]
        return held.token not in ended.hung and not (self.why(held) == "memory" and len(ended.over_memory) > 1)

    def end(self, held: Held, cause: Cause) -> None:
        """Note that the attempt's process is ended for no fault of its own."""
        self._ended.setdefault(_process(held), _Ended(cause))

    def keep(self, held: list[Held]) -> None:
        """Forget all but these attempts and their processes."""
        tokens, processes = {slot.token for slot in held}, {_process(slot) for slot in held}
        self._asked = {token: asked for token, asked in self._asked.items() if token in tokens}
        self._killed &= tokens
        self._running = {token: where for token, where in self._running.items() if token in tokens}
        self._ended = {process: ended for process, ended in self._ended.items() if process in processes}

    def _kill(self, held: Held) -> _Ended:
        self._killed.add(held.token)
        return self._ended.setdefault(_process(held), _Ended("neighbour"))

    def _batch_of(self, held: Held) -> set[str]:
        """The tokens of the attempt's batch; none where it runs by itself."""
        where = self._running.get(held.token)
        batch = {token for token, there in self._running.items() if there == where} if where and self._shared else set()
        return batch if len(batch) > 1 else set()

    def _patience_s(self, held: Held, doing: Doing, first: str) -> float:
        """Seconds from the first request to stop until the next step.

        A caller's own limit ends a shared process only once its model has ignored the request for the grace. The
        operator's limits end it after stop_s.
        """
        if not self._shared:  # boto3 hears of a stop between two tries
            slow = first in ("cancel", "lost") or doing.phase == "uploading"
            return self._settings.grace_s if slow else self._settings.stop_s
        if held.state == "lost":
            return self._settings.grace_s
        model = self._model(held)
        most = {"running": model.run_timeout_s, "loading": model.load_timeout_s}.get(doing.phase)
        return self._settings.stop_s if most is not None and doing.for_s > most else self._settings.grace_s

    def _reasons(self, held: Held, doing: Doing, now_ms: float, memory_mb: float) -> list[str]:
        """The reasons to stop, the weightiest first; none while the attempt may go on."""
        if held.state == "lost":
            return ["lost"]
        model, reasons = self._model(held), []
        if held.state == "canceling":
            reasons.append("cancel")
        if held.deadline_ms is not None and now_ms > held.deadline_ms:
            reasons.append("deadline")
        most = {
            "fetching": model.fetch_timeout_s,
            "loading": model.load_timeout_s,
            "batching": model.batch_timeout_s,
            "running": held.run_ms / 1000,
            "uploading": model.upload_timeout_s,
        }.get(doing.phase)
        if most is not None and doing.for_s > most:
            reasons.append(PHASES[doing.phase])
        if memory_mb > self._most_mb(model) and doing.phase in COMPUTES:
            reasons.append("memory")
        return reasons

    def _most_mb(self, model: Model) -> float:
        return self._budget_mb if self._shared else model.memory_mb

    def _too_much_memory(self, held: Held, ended: _Ended | None) -> BacklotError:
        """The error of a process over its memory. Each of several jobs is a suspect and runs next alone."""
        several, model = len(ended.over_memory) if ended else 1, self._model(held)
        if not self._shared:
            return OutOfMemory(f"the job's process went over the {model.memory_mb} MiB that {model.key} may use")
        over = f"the process went over its {self._budget_mb:.0f} MiB"
        if several == 1:
            return OutOfMemory(f"{over} while the job alone was computed in it")
        return WorkerLost(f"{over} while {several} jobs were computed in it; each runs next with nothing beside it")

    def _model(self, held: Held) -> Model:
        queue, _, name = held.line.partition("@")[0].partition(":")
        return self._models.model(queue.partition(".")[2], name)


def _process(held: Held) -> str:
    return held.slot.rpartition(":")[0]
