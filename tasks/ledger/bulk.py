"""The verbs of a batch: many submits at once, the batch of an Idempotency-Key, and which of its lines made jobs.

One part of `Ledger` (verbs.py). It knows no line's content.
"""

from collections.abc import Sequence

from tasks.errors import BacklotError, NotReady
from tasks.job import Fixed
from tasks.ledger import keys
from tasks.ledger.callers import Callers
from tasks.ledger.faults import away
from tasks.ledger.idempotency import IDEMPOTENCY_MS, Idempotency
from tasks.ledger.shapes import Submitted

SUBMITS_A_TRIP = 100
"""Submits that one trip has at most; Redis serves nobody else for about 2 ms meanwhile."""


MADE, NOT_MADE = "1", "0"
"""Characters of a line that made a job, and of one that has not."""


class Bulk(Callers):
    """Verbs that the API calls for a batch."""

    def submit_many(self, jobs: Sequence[tuple[Fixed, Idempotency | None]]) -> list[Submitted | BacklotError]:
        """Records jobs in their order, SUBMITS_A_TRIP at most. Each is recorded or refused by itself, with the errors
        of `submit`. Errors of the whole: NotReady; some of the jobs may then be recorded."""
        return [self._submitted(fixed, idempotency) for fixed, idempotency in jobs]

    def _submitted(self, fixed: Fixed, idempotency: Idempotency | None) -> Submitted | BacklotError:
        try:
            return self.submit(fixed, idempotency)
        except NotReady:
            raise
        except BacklotError as error:
            return error

    def statuses(self, job_ids: Sequence[str]) -> list[str | None]:
        """The status of each job; None where Redis has no such job."""
        with away(), self.redis.pipeline(transaction=False) as together:
            for job_id in job_ids:
                together.hget(keys.job(job_id), "status")
            return together.execute()

    def hold_key(self, tenant: str, idempotency: Idempotency, job_id: str) -> Submitted:
        """Binds an Idempotency-Key to a member of a batch for 24 h, unless it is bound; the member that it names."""
        key = keys.idempotency(tenant, idempotency.digest)
        value = f"{job_id} {idempotency.fingerprint}"
        _, held = self.write(("SET", key, value, "NX", "PX", IDEMPOTENCY_MS), ("GET", key))
        holder, fingerprint = held.split(" ")[:2]
        return Submitted(holder, replay_fingerprint=fingerprint)

    def recorded_lines(self, tenant: str, batch_id: str) -> str | None:
        """A character for each line of a batch, MADE where it made a job; None where Redis has lost them."""
        with away():
            return self.redis.get(keys.batch(tenant, batch_id))

    def note_lines(self, tenant: str, batch_id: str, first: int, made: Sequence[bool]) -> None:
        """Notes which of the lines, `first` and those behind it, made jobs; for 24 h."""
        key, text = keys.batch(tenant, batch_id), "".join(MADE if one else NOT_MADE for one in made)
        self.write(("SETRANGE", key, first, text), ("PEXPIRE", key, IDEMPOTENCY_MS))
