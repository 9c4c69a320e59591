"""The verbs of a batch: many submits at once, the batch of an Idempotency-Key, and which of its lines made jobs.

One part of `Ledger` (verbs.py). It knows no line's content.
"""

from collections.abc import Iterator, Sequence

from tasks.errors import BacklotError, NotReady
from tasks.job import Fixed
from tasks.ledger import keys
from tasks.ledger.callers import Callers
from tasks.ledger.connection import BYTES_A_TRIP, CALLS_A_TRIP, Call, Reply
from tasks.ledger.faults import away
from tasks.ledger.idempotency import IDEMPOTENCY_MS, Idempotency
from tasks.ledger.shapes import Submitted

MADE, NOT_MADE = "1", "0"
"""Characters of a line that made a job, and of one that has not."""


class Bulk(Callers):
    """Verbs that the API calls for a batch."""

    def submit_many(self, jobs: Sequence[tuple[Fixed, Call]]) -> list[Submitted | BacklotError]:
        """Records jobs in their order, each by its `submit_call`, as many a trip as one may have. Each is recorded or
        refused by itself, with the errors of `submit`. Errors of the whole: NotReady; some of the jobs may then be
        recorded."""
        trips = _trips([call for _, call in jobs])
        replies = [reply for trip in trips for reply in self._replies(trip, independent=True)]
        return [self._outcome(fixed, reply) for (fixed, _), reply in zip(jobs, replies, strict=True)]

    def _outcome(self, fixed: Fixed, reply: Reply) -> Submitted | BacklotError:
        try:
            return self._submitted(fixed, reply)
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


def _trips(calls: Sequence[Call]) -> Iterator[list[Call]]:
    trip: list[Call] = []
    size = 0
    for call in calls:
        more = sum(len(word) for word in call[2][:2] if isinstance(word, str))  # id and request; the rest is short
        if trip and (len(trip) == CALLS_A_TRIP or size + more > BYTES_A_TRIP):
            yield trip
            trip, size = [], 0
        trip.append(call)
        size += more
    if trip:
        yield trip
