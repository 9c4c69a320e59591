"""The ledger's reads, which change nothing and need no script. One part of `Ledger` (verbs.py)."""

import json
from collections.abc import Iterable

from tasks.ledger import keys
from tasks.ledger.faults import away
from tasks.ledger.pauses import holds, why_they_wait
from tasks.ledger.same_work import SameWork
from tasks.ledger.shapes import Record, Worker


class Reads(SameWork):
    """Plain commands; errors as those of verbs."""

    def record(self, job_id: str) -> Record | None:
        """The record as it is now."""
        with away():
            return self.redis.hgetall(keys.job(job_id)) or None

    def tenant_of(self, job_id: str) -> str | None:
        """The job's tenant; None where there is no such job."""
        with away():
            return self.redis.hget(keys.job(job_id), "tenant")

    def waits(self, worker: Worker) -> bool:
        """True where a job in the worker's lines waits for a slot and for nothing else."""
        with away():
            pauses = self.redis.hkeys(keys.PAUSES)
            return any(self.redis.zcard(keys.line(line)) for line in worker.lines if not holds(line, pauses))

    def bells(self, worker: Worker) -> int:
        """Doorbells that lie in the worker's queues."""
        with away():
            return sum(self.redis.llen(queue) for queue in worker.queues)

    def position(self, record: Record) -> int | None:
        """The exact place of a job in its line, 1 is next; None where it stands in none."""
        if record["status"] != "queued":
            return None
        with away():
            rank = self.redis.zrank(keys.line(record["line"]), json.loads(record["fixed"])["id"])
        return None if rank is None else rank + 1

    def why_they_wait(self, records: Iterable[Record]) -> list[str]:
        """A sentence a record for its caller where the job waits for more than a slot; else ''."""
        records = list(records)
        leaders = self.leaders(records)
        with away():
            whys = why_they_wait(self.redis, records)
        return [
            f"waits for {leader}, which does the same work" if leader else why
            for why, leader in zip(whys, leaders, strict=True)
        ]

    def pools(self, configured: Iterable[str]) -> list[str]:
        """The configured pools, then all others that ever held a job."""
        with away():
            return list(dict.fromkeys([*configured, *sorted(self.redis.hkeys(keys.POOLS))]))
