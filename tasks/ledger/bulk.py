"""The verbs of a batch: its record and its steps, many submits at once, and which of its lines made jobs.

One part of `Ledger` (verbs.py). It knows no line's content.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks import errors
from tasks.job import Fixed
from tasks.ledger import keys
from tasks.ledger.callers import Callers
from tasks.ledger.client import Word
from tasks.ledger.connection import BYTES_A_TRIP, CALLS_A_TRIP, Call, Reply, milliseconds
from tasks.ledger.faults import away
from tasks.ledger.idempotency import IDEMPOTENCY_MS, Idempotency
from tasks.ledger.shapes import Record, Step, Submitted

MADE, NOT_MADE, REFUSED = "1", "0", "2"
"""Characters of a line that made a job, of one that has not or is empty, and of one that was refused."""
RECEIVED_WITHIN_S = 3600
"""Seconds after which the keeper cancels a batch that was not sealed."""
CITED_A_TRIP = 20
"""Submits and cites of one trip, where any of its jobs asks for the same work once: 2 ms."""
ENDS_A_TRIP = 12
"""Jobs that one trip cancels or forgets: 1.5 ms."""


class Bulk(Callers):
    """Verbs that the API calls for a batch."""

    def open_batch(
        self,
        tenant: str,
        batch_id: str,
        lines: int,
        last: int,
        size: int,
        idempotency: Idempotency | None,
        webhook: str = "",
    ) -> Submitted:
        """Begins a batch of so many lines and bytes, of which the last has the number `last`; takes the quotas of all
        lines. `job_id` of the answer is the batch, of which the key may know another. `webhook`: as a record has it.
        Errors: those of `submit`."""
        s = self.settings
        if 0 < s.submits_per_minute < lines:
            raise errors.TooLarge(
                f"the batch has {lines:,} lines; a tenant may submit {s.submits_per_minute:,} a minute"
            )
        if 0 < s.max_waiting_jobs < lines:
            raise errors.TooLarge(
                f"the batch has {lines:,} lines; a tenant may have {s.max_waiting_jobs:,} jobs waiting"
            )
        named = [
            keys.batch(tenant, batch_id),
            keys.tenant_batches(tenant),
            keys.BATCHES,
            keys.receiving(tenant),
            keys.idempotency(tenant, idempotency.digest if idempotency else "-"),
            keys.rate(tenant),
        ]
        key: list[Word] = [
            idempotency.fingerprint if idempotency else "",
            IDEMPOTENCY_MS,
            milliseconds(RECEIVED_WITHIN_S),
        ]
        limits: list[Word] = [s.submits_per_minute, s.max_waiting_jobs, s.max_stored_bytes, s.max_record_bytes]
        told: list[Word] = [webhook, s.max_undelivered_webhooks] if webhook else []
        answer = self._run("open_batch", named, [batch_id, tenant, lines, last, size, *key, *limits, *told], list)
        match answer:
            case [1, known, left, reset_ms]:
                return Submitted(known, left=left, reset_s=reset_ms / 1000)
            case [2, known, fingerprint]:
                return Submitted(known, replay_fingerprint=fingerprint)
        raise self._refusal(answer)

    def note_batch(self, tenant: str, batch_id: str, step: Step, keep_s: float = 0) -> Record | None:
        """Notes a step of a batch; the batch, None where the tenant has none of this id. `keep_s`: seconds for which a
        sealed batch is kept behind its end."""
        named = [keys.batch(tenant, batch_id), keys.BATCHES, keys.receiving(tenant), keys.rate(tenant)]
        arguments: list[Word] = [batch_id, tenant, step, milliseconds(keep_s), self.settings.submits_per_minute]
        answer = self._run("note_batch", named, arguments, list)
        return dict(zip(answer[1::2], answer[2::2], strict=True)) if answer[0] else None

    def batch(self, tenant: str, batch_id: str) -> Record | None:
        """The batch as it is now."""
        with away():
            found = self.redis.hgetall(keys.batch(tenant, batch_id))
        return found if "lines" in found else None

    def batches(self, tenant: str, limit: int, after: str | None) -> tuple[list[Record], str | None]:
        """Up to `limit` batches, newest first, behind the batch `after`, and the last where more may follow. Errors:
        ValueError where there is no batch `after`."""
        index = keys.tenant_batches(tenant)
        with away():
            rank = self.redis.zrank(index, after) if after else self.redis.zcard(index)
            if rank is None:
                raise ValueError("there is no such batch")
            ids = self.redis.zrange(index, max(0, rank - limit), rank - 1)[::-1] if rank else []
            with self.redis.pipeline(transaction=False) as together:
                for batch_id in ids:
                    together.hgetall(keys.batch(tenant, batch_id))
                found = [one for one in together.execute() if "lines" in one]
        return found, ids[-1] if len(ids) == limit else None

    def submit_many(self, jobs: Sequence[tuple[Fixed, Call]]) -> list[Submitted | errors.BacklotError]:
        """Records jobs in their order, each by its `submit_call`, as many a trip as one may have. Each is recorded or
        refused by itself, with the errors of `submit`. Errors of the whole: NotReady; some of the jobs may then be
        recorded."""
        cites = {fixed.id: cite for fixed, _ in jobs if (cite := self.cite_call(fixed))}
        most = CITED_A_TRIP if cites else CALLS_A_TRIP
        calls = [each for fixed, call in jobs for each in (call, cites.get(fixed.id)) if each]
        replies = iter([reply for trip in _trips(calls, most) for reply in self._replies(trip, independent=True)])
        return [self._outcome(fixed, next(replies), next(replies) if fixed.id in cites else None) for fixed, _ in jobs]

    def _outcome(self, fixed: Fixed, reply: Reply, cited: Reply | None) -> Submitted | errors.BacklotError:
        try:
            submitted = self._submitted(fixed, reply)
            return self._with_answer(submitted, cited) if cited else submitted
        except errors.NotReady:
            raise
        except errors.BacklotError as error:
            return error

    def cancel_many(self, tenant: str, job_ids: Sequence[str]) -> None:
        """Cancels jobs, ENDS_A_TRIP at most; one that has ended or gone is left as it is. Errors: NotReady."""
        calls: list[Call] = [("cancel", [keys.job(job_id)], [job_id, tenant]) for job_id in job_ids]
        self._each(calls)

    def forget_many(self, jobs: Sequence[Fixed]) -> int:
        """Forgets ended jobs, ENDS_A_TRIP at most; one that has gone is left so. The number of those that stay, as
        they are sources of jobs that have not ended. Errors: NotReady."""
        return self._each([self.forget_call(fixed) for fixed in jobs]).count(3)

    def _each(self, calls: Sequence[Call]) -> list[Any]:
        """The answers, without those of damaged records."""
        answers = []
        for (verb, *_), reply in zip(calls, self._replies(calls, independent=True) if calls else (), strict=True):
            try:
                answers.append(self._answer(verb, reply, type(reply[1])))
            except errors.LedgerFault:  # of a damaged record; the others are done
                continue
        return answers

    def statuses(self, job_ids: Sequence[str]) -> list[str | None]:
        """The status of each job; None where Redis has no such job."""
        with away(), self.redis.pipeline(transaction=False) as together:
            for job_id in job_ids:
                together.hget(keys.job(job_id), "status")
            return together.execute()

    def records(self, job_ids: Sequence[str]) -> list[Record]:
        """The record of each job; empty where Redis has no such job, or it cannot be read."""
        with away(), self.redis.pipeline(transaction=False) as together:
            for job_id in job_ids:
                together.hgetall(keys.job(job_id))
            return [one if isinstance(one, dict) else {} for one in together.execute(raise_on_error=False)]

    def lines_of(self, tenant: str, batch_id: str) -> str:
        """A character for each line of a batch, from line 0 on, which is none."""
        with away():
            return self.redis.get(keys.batch_lines(tenant, batch_id)) or ""

    def note_lines(self, tenant: str, batch_id: str, first: int, marks: str) -> None:
        """Notes what became of the lines `first` and those behind it, a character each."""
        self.write(("SETRANGE", keys.batch_lines(tenant, batch_id), first, marks))

    def refusals(self, tenant: str, batch_id: str) -> dict[int, dict[str, Any]]:
        """The refusal of each refused line that was noted, by its number."""
        with away():
            found = self.redis.hgetall(keys.batch_refusals(tenant, batch_id))
        return {int(line): json.loads(refusal) for line, refusal in found.items()}

    def note_refusals(self, tenant: str, batch_id: str, refusals: Mapping[int, Mapping[str, Any]]) -> None:
        """Notes refused lines by their numbers."""
        words = [word for line, refusal in refusals.items() for word in (str(line), json.dumps(refusal))]
        self.write(("HSET", keys.batch_refusals(tenant, batch_id), *words))

    def remove_batch(self, tenant: str, batch_id: str) -> None:
        """Deletes a batch, and no job of it."""
        self.write(
            ("DEL", *(of(tenant, batch_id) for of in (keys.batch, keys.batch_lines, keys.batch_refusals))),
            ("ZREM", keys.tenant_batches(tenant), batch_id),
            ("ZREM", keys.BATCHES, f"{tenant}/{batch_id}"),
            ("HDEL", keys.receiving(tenant), batch_id),
            ("XADD", keys.JOURNAL, "*", "type", "forgotten", "id", batch_id, "tenant", tenant),
        )


def _trips(calls: Sequence[Call], most: int) -> Iterator[list[Call]]:
    trip: list[Call] = []
    size = 0
    for call in calls:
        more = sum(len(word) for word in call[2][:2] if isinstance(word, str))  # id and request; the rest is short
        if trip and (len(trip) == most or size + more > BYTES_A_TRIP):
            yield trip
            trip, size = [], 0
        trip.append(call)
        size += more
    if trip:
        yield trip
