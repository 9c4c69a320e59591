"""Reads of the ledger that change nothing. A part of Ledger, which see."""

import json
from collections.abc import Iterable

from tasks.ledger import keys
from tasks.ledger.connection import Connection
from tasks.ledger.faults import away
from tasks.ledger.pauses import holds, why_they_wait
from tasks.ledger.shapes import Record, Worker


class Looking(Connection):
    """Plain commands; errors as those of verbs."""

    def record(self, job_id: str) -> Record | None:
        """The record as it is."""
        with away():
            return self.redis.hgetall(keys.job(job_id)) or None

    def tenant_of(self, job_id: str) -> str | None:
        """Whose job it is; None where there is none."""
        with away():
            return self.redis.hget(keys.job(job_id), "tenant")

    def waits(self, worker: Worker) -> bool:
        """Whether any job waits in the worker's lines for a slot alone."""
        with away():
            pauses = self.redis.hkeys(keys.PAUSES)
            return any(self.redis.zcard(keys.line(line)) for line in worker.lines if not holds(line, pauses))

    def bells(self, worker: Worker) -> int:
        """Doorbells that lie in the queues of a worker."""
        with away():
            return sum(self.redis.llen(queue) for queue in worker.queues)

    def position(self, record: Record) -> int | None:
        """The exact place in its line, 1 is next; None where it does not wait there."""
        if record["status"] != "queued":
            return None
        with away():
            rank = self.redis.zrank(keys.line(record["line"]), json.loads(record["fixed"])["id"])
        return None if rank is None else rank + 1

    def why_they_wait(self, records: Iterable[Record]) -> list[str]:
        """Of each record a sentence for its caller, if it waits for more than a slot; or ''."""
        with away():
            return why_they_wait(self.redis, records)

    def pools(self, configured: Iterable[str]) -> list[str]:
        """These, and all others that ever held a job."""
        with away():
            return list(dict.fromkeys([*configured, *sorted(self.redis.hkeys(keys.POOLS))]))
