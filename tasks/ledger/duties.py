"""The verbs of the keeper's duties: sweep, due, expire, and what an end leaves behind. A part of Ledger, which see."""

import json
from collections.abc import Iterable

from tasks import errors
from tasks.job import Fixed
from tasks.ledger import keys
from tasks.ledger.connection import Connection, milliseconds
from tasks.ledger.shapes import Record

A_FEW = 100
"""Jobs one call of sweep, due or expire handles at most, so that none blocks Redis for long."""


class Duties(Connection):
    """Verbs that the keeper calls again and again."""

    def sweep(self, pool: str) -> list[str]:
        """Take lapsed attempts back; the queues that want a doorbell."""
        lost = errors.WorkerLost(f"the worker did not renew its lease of {self.settings.lease_s:g} s")
        return self._run(
            "sweep",
            [keys.leases(pool), keys.swept(pool)],
            [
                milliseconds(self.settings.lease_s),
                milliseconds(self.settings.renew_s),
                A_FEW,
                json.dumps(lost.as_dict()),
            ],
        )[1:]

    def due(self) -> list[str]:
        """Start times and retries that have come; the queues that want a doorbell."""
        return self._run("due", [keys.DUE], [A_FEW])[1:]

    def expire(self, error: errors.BacklotError) -> list[str]:
        """End jobs whose clock ran out while they waited; their ids. `error` is for those that ran before."""
        return self._run("expire", [keys.EXPIRIES], [A_FEW, json.dumps(error.as_dict())])[1:]

    def conclude(self, job_id: str, ended: Record, restoring: str = "") -> bool:
        """While restoring: give a job that this Redis takes for living its end; False where there is none such."""
        fields = [part for pair in ended.items() for part in pair]
        return bool(self._run("conclude", [keys.job(job_id)], [job_id, restoring, *fields]))

    def shrink(self, job_id: str, small: Fixed | None, fields: Iterable[str]) -> None:
        """Leave large fields out of an ended job's record, whose job.json is written, and put `small` in place of what
        never changes."""
        self._run(
            "shrink",
            [keys.job(job_id), keys.WHOLE],
            [job_id, small.model_dump_json(exclude_none=True) if small else "", *fields],
        )

    def count(self, tenant: str, name: str, size: int, what: str = keys.STORED) -> int:
        """The bytes of a job or an upload in the bucket, or of a record (keys.HELD), 0 where it is gone; how many the
        tenant has in all."""
        return int(self._run("count", [what], [tenant, name, size]))
