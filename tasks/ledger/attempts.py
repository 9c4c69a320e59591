"""The verbs of workers: claim, renew, report, and the ends of an attempt. A part of Ledger, which see."""

import json
from collections.abc import Sequence

from tasks import errors
from tasks.job import Fixed
from tasks.ledger import keys
from tasks.ledger.connection import Connection, milliseconds
from tasks.ledger.shapes import AGAIN, Cause, Claimed, Held, Record, Worker


class Attempts(Connection):
    """Verbs that a worker calls; the attempt's token decides."""

    def claim(self, worker: Worker, slot: str, token: str, linger_s: float = 0) -> Claimed | None:
        """The next job of this worker's lines. Tokens of one slot must ascend. With `linger_s` the slot is noted as
        one to wake where there is nothing: read keys.wake(slot) for so long."""
        named = [
            keys.slots(worker.id),
            keys.worker(worker.id),
            keys.leases(worker.pool),
            *map(keys.line, worker.lines),
            *map(keys.idle, worker.queues),
        ]
        asked = [
            worker.id,
            slot,
            token,
            milliseconds(self.settings.lease_s),
            milliseconds(linger_s),
            len(worker.lines),
            self.settings.max_running_jobs,
            int(worker.shared),
            worker.v,
            *(worker.most or [0] * len(worker.lines)),
        ]
        while (answer := self._run("claim", named, asked))[0] == AGAIN:
            pass  # so many jobs of tenants that may not run stood before all others
        return _claimed(token, answer)

    def commit_and_claim(
        self,
        job_id: str,
        token: str,
        result: dict,
        outputs: Sequence[dict],
        metrics: dict,
        number: int,
        worker: Worker,
        slot: str,
        next_token: str,
    ) -> tuple[str, Claimed | None]:
        """`commit`, then `claim`. Not in one pipeline: where Redis lacks commit's script alone, the claim would be
        first, and a slot's claim hands its old job back."""
        committed = self.commit(job_id, token, result, outputs, metrics, number)
        return committed, self.claim(worker, slot, next_token)

    def renew(self, worker: Worker, draining: bool = False, about: Record | None = None) -> tuple[float, list[Held]]:
        """Extend all leases of the worker; Redis' time in ms, and its slots. `about` is shown in /v1/pools."""
        told = {
            "pool": worker.pool,
            "queues": ",".join(worker.queues),
            "lines": ",".join(worker.lines),
            **(about or {}),
        }
        now, *rows = self._run(
            "renew",
            [keys.slots(worker.id), keys.worker(worker.id), keys.leases(worker.pool), keys.WORKERS],
            [
                worker.id,
                milliseconds(self.settings.lease_s),
                int(draining),
                *(part for pair in told.items() for part in pair),
            ],
        )
        return float(now), [_held(row) for row in rows]

    def forget_slot(self, worker: Worker, slot: str) -> None:
        """The slot's process is gone and all it held is ended."""
        self.write(("HDEL", keys.slots(worker.id), slot))

    def report(
        self,
        job_id: str,
        token: str,
        phase: str = "",
        progress: float | None = None,
        message: str | None = None,
        checkpoint: str = "",
    ) -> str:
        """Tell people, and where the attempt's newest checkpoint lies; 'noted', 'canceling' or 'lost'. An empty
        message takes the last one away."""
        answer = self._run(
            "report",
            [keys.job(job_id)],
            [
                job_id,
                token,
                phase,
                "" if progress is None else f"{progress:.4f}",
                "" if message is None else f"={message}",
                checkpoint,
            ],
        )
        return {0: "lost", 1: "noted", 2: "canceling"}[answer]

    def commit(
        self, job_id: str, token: str, result: dict, outputs: Sequence[dict], metrics: dict, number: int = 0
    ) -> str:
        """'succeeded', or how this token's attempt had ended before. `number`: its own, so that what a lost one has
        uploaded goes."""
        return self._run(
            "commit",
            [keys.job(job_id)],
            [
                job_id,
                token,
                json.dumps(result),
                json.dumps(list(outputs)),
                json.dumps(metrics),
                sum(output["bytes"] for output in outputs),
                number,
            ],
        )

    def fail(
        self,
        job_id: str,
        token: str,
        error: errors.BacklotError,
        delay_s: float = 0,
        metrics: dict | None = None,
        number: int = 0,
        killed: bool = False,
    ) -> str:
        """'queued' for a retry after the delay, 'failed', 'canceled', or as `commit` says. `killed`: the process was
        ended for this attempt, which its tenant is charged with."""
        return self._run(
            "fail",
            [keys.job(job_id)],
            [
                job_id,
                token,
                json.dumps(error.as_dict()),
                int(error.retryable),
                milliseconds(delay_s),
                json.dumps(metrics) if metrics else "",
                number,
                int(killed),
            ],
        )

    def release(self, job_id: str, token: str, cause: Cause = "own") -> str:
        """'released', 'canceled' where it was canceling, or how this token's attempt had ended before. After ten for
        the job's own cause 'queued' or 'failed'; a drain or a neighbour's fault never counts."""
        return self._run("release", [keys.job(job_id)], [job_id, token, cause])


def _claimed(token: str, answer: list) -> Claimed | None:
    if answer[0] == 0:
        return None
    record = dict(zip(answer[2::2], answer[3::2], strict=True))
    return Claimed(Fixed.model_validate_json(record["fixed"]), token, int(record["starts"]), record)


def _held(row: list) -> Held:
    if len(row) == 4:
        return Held(*row)
    slot, token, job_id, state, phase, *numbers, deadline, line = row
    return Held(slot, token, job_id, state, phase, *map(float, numbers), float(deadline) if deadline else None, line)
