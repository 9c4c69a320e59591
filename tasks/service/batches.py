"""Submits a batch: many requests, a line each, of which every one is recorded or refused by itself.

The jobs' ids come from the batch and the line, so that a batch with an Idempotency-Key may be sent again. It knows
tenants and the ledger; how lines come and how answers look is the API's.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from tasks.errors import BacklotError, Conflict, Gone, KeyReused, NotFound, NotReady, StorageUnavailable
from tasks.ids import batch_of, member_id, new_batch_id
from tasks.job import Status
from tasks.ledger import Idempotency, Submitted
from tasks.ledger.bulk import MADE
from tasks.ledger.connection import Call
from tasks.service.jobs import Jobs
from tasks.service.lines import Line, Reader, Refused, Wanted

LINES_A_NOTE = 1000
"""Lines whose outcomes are noted together."""
SENDERS = ThreadPoolExecutor(8, "batch")
"""Threads that record trips, each while the next one is read: Redis and Python then compute at the same time."""


@dataclass(frozen=True)
class Made:
    """The line made this job, now or when the batch was sent before."""

    line: int
    job_id: str
    status: Status


class Batch:
    """One batch while it is submitted.

    `replayed`: its Idempotency-Key came with it before. `left` and `reset_s`: as Accepted has them (jobs.py), of the
    last job that was recorded.
    """

    def __init__(
        self, jobs: Jobs, tenant: str, allow: Callable[[str], None], idempotency_key: str | None, sha256: str
    ) -> None:
        """`allow(kind)` raises where the caller may not submit this kind. `sha256`: of the whole body."""
        self.jobs, self.ledger, self.tenant = jobs, jobs.ledger, tenant
        self.replayed = False
        self.left: int | None = None
        self.reset_s = 0.0
        self._reader = Reader(jobs, tenant, allow, new_batch_id())
        self._key = (
            Idempotency.of((tenant, "POST", "/v1/batches", idempotency_key), (sha256,)) if idempotency_key else None
        )
        self._anchor = ""  # the member that the key names
        self._marks: str | None = ""  # of the lines that made jobs when the batch was sent before
        self._made = False
        self._first, self._notes = 0, list[bool]()  # lines without a note yet: the first's number, and which made jobs

    def submit(self, lines: Iterable[Line]) -> Iterator[list[Made | Refused]]:
        """The outcome of each line, in their order, a trip's worth at a time.

        Errors: KeyReused; NotReady where Redis is away and no job has been recorded. Where it goes away later, all
        further lines are refused with NotReady.
        """
        sent: Future[list[Made | Refused]] | None = None
        for trip in self._reader.trips(lines):
            if self._key and not self._anchor:  # the ids of all further lines depend on the outcome
                yield self._record(trip)
                continue
            if sent:
                yield sent.result()
            sent = SENDERS.submit(self._record, trip)
        if sent:
            yield sent.result()
        self._note()

    def _record(self, trip: list[Wanted | Refused]) -> list[Made | Refused]:
        """The outcomes of a trip, of which only the last line's inputs may have to be stored."""
        if self._reader.away:
            return _refused(trip, self._reader.away)
        try:
            wanted = self._hold_key([one for one in trip if isinstance(one, Wanted)])
            outcomes = self._known(wanted) if self.replayed else {}
            outcomes |= self._submit([one for one in wanted if one.line not in outcomes])
        except NotReady as error:
            if not self._made:
                raise
            self._reader.away = error
            return _refused(trip, error)
        self._made = self._made or any(isinstance(one, Made) for one in outcomes.values())
        if self._anchor:
            self._keep_in_mind(trip[0].line, trip[-1].line, outcomes)
        return [one if isinstance(one, Refused) else outcomes[one.line] for one in trip]

    def _hold_key(self, wanted: list[Wanted]) -> list[Wanted]:
        """The same lines, as members of the batch to which the Idempotency-Key belongs."""
        if self._key and wanted and not self._anchor:
            first = wanted[0].fixed.id
            held = self.ledger.hold_key(self.tenant, self._key, first)
            if held.replay_fingerprint != self._key.fingerprint:
                raise KeyReused("this Idempotency-Key was used for another batch; take a new one")
            self._anchor, self.replayed = held.job_id, held.job_id != first
            if self.replayed:
                self._reader.batch_id = batch_of(held.job_id)
                self._marks = self.ledger.recorded_lines(self.tenant, self._reader.batch_id)
            else:
                self.ledger.note_lines(self.tenant, self._reader.batch_id, 0, [False])
        return [self._member(one) for one in wanted] if self.replayed else wanted

    def _member(self, one: Wanted) -> Wanted:
        """The line as a member of this batch, which was unknown when the first lines were read."""
        job_id = member_id(self._reader.batch_id, one.line)
        if one.fixed.id == job_id:
            return one
        fixed = one.fixed.model_copy(update={"id": job_id})
        return replace(one, fixed=fixed, call=self.ledger.submit_call(fixed))

    def _known(self, wanted: list[Wanted]) -> dict[int, Made | Refused]:
        """The lines that made jobs when the batch was sent before."""
        found: dict[int, Made | Refused] = {}
        statuses = self.ledger.statuses([one.fixed.id for one in wanted])
        for one, status in zip(wanted, statuses, strict=True):
            if status:
                found[one.line] = Made(one.line, one.fixed.id, Status(status))
            elif self._marks is None:
                found |= self._archived(one)
            elif self._marks[one.line : one.line + 1] == MADE:
                found[one.line] = _erased(one)
        return found

    def _archived(self, one: Wanted) -> dict[int, Made | Refused]:
        """The same of one line where Redis has lost its memory: jobs that had ended are in the bucket alone."""
        try:
            return {one.line: Made(one.line, one.fixed.id, self.jobs.get(self.tenant, one.fixed.id).status)}
        except Gone:
            return {one.line: _erased(one)}
        except NotFound:
            return {}
        except StorageUnavailable as error:
            return {one.line: Refused(one.line, error)}

    def _submit(self, wanted: list[Wanted]) -> dict[int, Made | Refused]:
        plain = [one for one in wanted if not one.prepared.pending]
        answers = self.ledger.submit_many([(one.fixed, self._call_of(one)) for one in plain])
        bells: Counter[str] = Counter()
        outcomes: dict[int, Made | Refused] = {}
        for one, answer in zip(plain, answers, strict=True):
            if isinstance(answer, Submitted):
                outcomes[one.line] = self._made_by(one, answer.left, answer.reset_s)
                bells[one.fixed.queue] += answer.bell
            else:
                outcomes[one.line] = Refused(one.line, answer)
        for queue, count in bells.items():
            self.jobs.broker.ring(queue, times=min(count, self.jobs.settings.bells))
        return outcomes | {one.line: self._store(one) for one in wanted if one.prepared.pending}

    def _store(self, one: Wanted) -> Made | Refused:
        """Stores the inputs of a line, then records its job."""
        try:
            accepted = self.jobs.store_and_accept(one.fixed, one.prepared, self._key_of(one))
        except NotReady as error:  # the lines before it are recorded
            self._reader.away = error
            return Refused(one.line, error)
        except BacklotError as error:
            return Refused(one.line, error)
        return self._made_by(one, accepted.left or 0, accepted.reset_s)

    def _made_by(self, one: Wanted, left: int, reset_s: float) -> Made:
        if self.jobs.settings.submits_per_minute:
            self.left, self.reset_s = left, reset_s
        return Made(one.line, one.fixed.id, one.status)

    def _call_of(self, one: Wanted) -> Call:
        key = self._key_of(one)
        return self.ledger.submit_call(one.fixed, key) if key else one.call

    def _key_of(self, one: Wanted) -> Idempotency | None:
        """The journal has the batch's key with the job of one member, so that the key survives a restore."""
        return self._key if one.fixed.id == self._anchor else None

    def _keep_in_mind(self, first: int, last: int, outcomes: dict[int, Made | Refused]) -> None:
        self._first = self._first or first
        self._notes += [False] * (first - self._first - len(self._notes))  # empty lines between two trips
        self._notes += [_has_made(outcomes.get(line)) for line in range(first, last + 1)]
        if len(self._notes) >= LINES_A_NOTE:
            self._note()

    def _note(self) -> None:
        """Notes which lines have made jobs, so that one whose job is erased makes no other."""
        if self._notes:
            with contextlib.suppress(NotReady):
                self.ledger.note_lines(self.tenant, self._reader.batch_id, self._first, self._notes)
        self._first, self._notes = 0, []


def _refused(trip: list[Wanted | Refused], error: BacklotError) -> list[Made | Refused]:
    return [one if isinstance(one, Refused) else Refused(one.line, error) for one in trip]


class _Erased(Conflict):
    """The line made a job that is erased."""


def _erased(one: Wanted) -> Refused:
    return Refused(one.line, _Erased(f"this line made job {one.fixed.id} when it was sent before, which is erased"))


def _has_made(outcome: Made | Refused | None) -> bool:
    return isinstance(outcome, Made) or isinstance(outcome, Refused) and isinstance(outcome.error, _Erased)
