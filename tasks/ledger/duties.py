"""The verbs of the keeper's duties: sweep, due, expire, and the compaction of ended jobs. One part of `Ledger`
(verbs.py).

It knows no period: the keeper decides when each is called.
"""

import json
from collections.abc import Iterable

from tasks import errors
from tasks.job import Fixed
from tasks.ledger import keys
from tasks.ledger.connection import Connection, milliseconds
from tasks.ledger.shapes import JOBS_A_CALL, Record

CHAINED_A_CALL = 25
"""Jobs that one call of settle_chains tells at most: 2 to 4 ms."""


class Duties(Connection):
    """Verbs that the keeper calls again and again."""

    def sweep(self, pool: str) -> list[str]:
        """Takes back attempts whose lease has lapsed; the queues that want a doorbell."""
        lost = errors.WorkerLost(f"the worker did not renew its lease of {self.settings.lease_s:g} s")
        return self._run(
            "sweep",
            [keys.leases(pool), keys.swept(pool)],
            [
                milliseconds(self.settings.lease_s),
                milliseconds(self.settings.renew_s),
                JOBS_A_CALL,
                json.dumps(lost.as_dict()),
            ],
            list,
        )[1:]

    def due(self) -> list[str]:
        """Enqueues jobs whose start time or retry has come; the queues that want a doorbell."""
        return self._run("due", [keys.DUE], [JOBS_A_CALL], list)[1:]

    def settle_chains(self) -> tuple[bool, list[str]]:
        """Tells jobs that wait for ended ones, CHAINED_A_CALL at most; True where some are left, and the queues that
        want a doorbell."""
        more, *queues = self._run("settle_chains", [keys.SETTLING], [CHAINED_A_CALL], list)
        return bool(more), queues

    def note_ends(self, ends: Iterable[Record]) -> None:
        """Lets dependents be told, and sources go, of ended jobs whose end an older release's script has written."""
        for end in ends:
            member = f"{end['tenant']}/{end['id']}"
            left = [("ZREM", keys.dependents(end["tenant"], one), end["id"]) for one in end.get("sources", "").split()]
            settle = [("ZADD", keys.SETTLING, round(float(end["ended_ms"])), member)] if "needed" in end else []
            self.write(*left, *settle)

    def expire(self, error: errors.BacklotError) -> list[str]:
        """Ends waiting jobs whose clock ran out; their ids. `error` is for those that had run before."""
        return self._run("expire", [keys.EXPIRIES], [JOBS_A_CALL, json.dumps(error.as_dict())], list)[1:]

    def conclude(self, job_id: str, ended: Record, restoring: str = "") -> bool:
        """Ends a job that this Redis, having lost its end, holds as living; False where it holds no such job.

        `ended`: the record as it ended. `restoring`: the token of a restore; '' once the epoch is set.
        """
        fields = [part for pair in ended.items() for part in pair]
        return bool(self._run("conclude", [keys.job(job_id)], [job_id, restoring, *fields], int))

    def shrink(self, job_id: str, small: Fixed | None, fields: Iterable[str]) -> None:
        """Removes large fields from an ended job's record, whose job.json is written. `small` replaces its fixed part
        where that is large too."""
        fixed = small.as_record() if small else ""
        self._run("shrink", [keys.job(job_id), keys.WHOLE], [job_id, fixed, *fields], int)

    def count(self, tenant: str, name: str, size: int, what: str = keys.STORED) -> int:
        """Sets the bytes charged to a tenant for one thing; the bytes charged to it in all.

        `what`: keys.STORED for a job or an upload in the bucket, keys.HELD for a record. `size`: 0 where it is gone.
        """
        return int(self._run("count", [what], [tenant, name, size], str))
