"""Reads the moving part of many jobs in one trip: status, phase, progress, message.

It knows no listener: whoever asks compares the look with what was told before.
"""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tasks.errors import NotReady
from tasks.job import Job, Status
from tasks.ledger import Ledger, Record, keys
from tasks.ledger.client import Pipeline
from tasks.ledger.faults import away, ours
from tasks.reduced import view

FIELDS = ("status", "starts", "phase", "batching", "progress", "message", "retry_ms")
"""Fields of the record that a look reads."""


@dataclass(frozen=True)
class Look:
    """A job as it is. `record`: the fields that move, without absent ones; empty where there is no such job. `job`: its
    view, once it is done."""

    record: Record
    job: Job | None = None

    @property
    def done(self) -> bool:
        with contextlib.suppress(ValueError, KeyError):
            return Status(self.record["status"]).final
        return False


class Looks:
    """Looks at jobs. Errors of every method: NotReady, LedgerFault."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def at(self, job_ids: Iterable[str]) -> dict[str, Look]:
        """A look at each of these jobs, in one trip, and in a second one the views of those that are done. Jobs whose
        records cannot be read are left out."""
        rows = self._read(lambda pipeline, key: pipeline.hmget(key, FIELDS), job_ids)
        looks = {
            job_id: Look({name: value for name, value in zip(FIELDS, row, strict=True) if value is not None})
            for job_id, row in rows.items()
        }
        if not all(look.record for look in looks.values()):
            self.ledger.ready()  # a Redis that has lost records would show jobs as erased
        done = [job_id for job_id, look in looks.items() if look.done]
        records = self._read(lambda pipeline, key: pipeline.hgetall(key), done)
        for job_id, record in zip(records, self.ledger.with_webhooks(list(records.values())), strict=True):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                looks[job_id] = Look(looks[job_id].record, view(record))
        return looks

    def _read(self, ask: Callable[[Pipeline, str], object], job_ids: Iterable[str]) -> dict[str, Any]:
        """The answer of each job's record; without records that are of another type."""
        names = list(dict.fromkeys(job_ids))
        if not names:
            return {}
        with away("looking at jobs"), self.ledger.redis.pipeline(transaction=False) as pipeline:
            for job_id in names:
                ask(pipeline, keys.job(job_id))
            answers = pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception) and isinstance(fault := ours(answer, "looking at jobs"), NotReady):
                raise fault
        return {
            job_id: answer for job_id, answer in zip(names, answers, strict=True) if not isinstance(answer, Exception)
        }
