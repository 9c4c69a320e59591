"""Submits a batch: many requests, a line each, of which every one is recorded or refused by itself.

The jobs' ids come from the batch and the line, so that a batch with an Idempotency-Key may be sent again. It knows
tenants and the ledger; how lines come and how answers look is the API's.
"""

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from tasks.errors import BacklotError, Conflict, Gone, KeyReused, NotFound, NotReady, StorageUnavailable
from tasks.job import Fixed, JobRequest, Status, Upload, batch_of, member_id, new_batch_id, now_ms
from tasks.ledger import Idempotency, Submitted
from tasks.ledger.bulk import MADE
from tasks.ledger.connection import BYTES_A_TRIP, Call
from tasks.request import parse
from tasks.service.intake import Intake, Prepared
from tasks.service.jobs import Jobs, fresh

LINES_A_TRIP = 25
"""Lines that are recorded in one trip. Redis serves nobody else meanwhile, for about 2 ms."""
LINES_A_NOTE = 1000
"""Lines whose outcomes are noted together."""
SENDERS = ThreadPoolExecutor(8, "batch")
"""Threads that record trips, each while the next one is read: Redis and Python then compute at the same time."""


@dataclass(frozen=True)
class Line:
    """A line's number, 1 for the first, and its request; an error where it cannot be read at all."""

    number: int
    content: bytes | BacklotError


@dataclass(frozen=True)
class Made:
    """The line made this job, now or when the batch was sent before."""

    line: int
    job_id: str
    status: Status


@dataclass(frozen=True)
class Refused:
    """The line made no job. An error that is no BacklotError is a defect of the service."""

    line: int
    error: Exception


@dataclass(frozen=True)
class _Wanted:
    """A line whose job can be recorded."""

    line: int
    fixed: Fixed
    call: Call
    prepared: Prepared
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
        self.jobs, self.ledger, self.tenant, self._allow = jobs, jobs.ledger, tenant, allow
        self.replayed, self.left, self.reset_s = False, None, 0.0
        self._id, self._intake = new_batch_id(), _Intake(jobs.intake)
        self._key = (
            Idempotency.of((tenant, "POST", "/v1/batches", idempotency_key), (sha256,)) if idempotency_key else None
        )
        self._anchor = ""  # the member that the key names
        self._marks: str | None = ""  # of the lines that made jobs when the batch was sent before
        self._made, self._away = False, None
        self._first, self._notes = 0, []  # lines that have no note yet: the first's number, and which made jobs

    replayed: bool
    left: int | None
    reset_s: float
    _away: NotReady | None
    _notes: list[bool]

    def submit(self, lines: Iterable[Line]) -> Iterator[list[Made | Refused]]:
        """The outcome of each line, in their order, a trip's worth at a time.

        Errors: KeyReused; NotReady where Redis is away and no job has been recorded. Where it goes away later, all
        further lines are refused with NotReady.
        """
        sent: Future[list[Made | Refused]] | None = None
        for trip in self._trips(lines):
            if self._key and not self._anchor:  # the ids of all further lines depend on the outcome
                yield self._record(trip)
                continue
            if sent:
                yield sent.result()
            sent = SENDERS.submit(self._record, trip)
        if sent:
            yield sent.result()
        self._note()

    def _trips(self, lines: Iterable[Line]) -> Iterator[list[_Wanted | Refused]]:
        """The lines by trips. A line whose inputs have to be stored ends its trip."""
        some: list[Line] = []
        size = 0
        for line in lines:
            some.append(line)
            size += len(line.content) if isinstance(line.content, bytes) else 0
            if len(some) == LINES_A_TRIP or size >= BYTES_A_TRIP:
                yield from _ended_where_stored(self._read(some))
                some, size = [], 0
        yield from _ended_where_stored(self._read(some))

    def _read(self, lines: Sequence[Line]) -> list[_Wanted | Refused]:
        """The jobs of these lines. Each step is done for all of them before the next, which takes two thirds of the
        time: the processor then has the code at hand."""
        drafts = [_Draft(line.number, line.content, self._away) for line in lines]
        for step in (self._parse, self._prepare, self._show, self._make_call):
            for draft in drafts:
                if draft.error is None:
                    try:
                        step(draft)
                    except Exception as error:  # a defect that one line meets stops no other
                        draft.error = error
        return [draft.outcome() for draft in drafts]

    def _parse(self, draft: "_Draft") -> None:
        if isinstance(draft.content, BacklotError):
            raise draft.content
        draft.request = parse(draft.content)
        self._allow(draft.request.kind)

    def _prepare(self, draft: "_Draft") -> None:
        job_id = member_id(self._id, draft.line)
        draft.fixed, draft.prepared = self.jobs.prepare(self.tenant, draft.request, job_id, {}, self._intake)

    def _show(self, draft: "_Draft") -> None:
        """Makes the job's view before it is recorded: one that cannot be shown would break every list."""
        draft.status = fresh(draft.fixed, now_ms()).status

    def _make_call(self, draft: "_Draft") -> None:
        """Makes the JSON of all that the view shows, too."""
        draft.call = self.ledger.submit_call(draft.fixed)

    def _record(self, trip: list[_Wanted | Refused]) -> list[Made | Refused]:
        """The outcomes of a trip, of which only the last line's inputs may have to be stored."""
        if self._away:
            return [one if isinstance(one, Refused) else Refused(one.line, self._away) for one in trip]
        try:
            wanted = self._hold_key([one for one in trip if isinstance(one, _Wanted)])
            outcomes = self._known(wanted) if self.replayed else {}
            outcomes |= self._submit([one for one in wanted if one.line not in outcomes])
        except NotReady as error:
            if not self._made:
                raise
            self._away = error
            return [one if isinstance(one, Refused) else Refused(one.line, error) for one in trip]
        self._made = self._made or any(isinstance(one, Made) for one in outcomes.values())
        if self._anchor:
            self._keep_in_mind(trip[0].line, trip[-1].line, outcomes)
        return [one if isinstance(one, Refused) else outcomes[one.line] for one in trip]

    def _hold_key(self, wanted: list[_Wanted]) -> list[_Wanted]:
        """The same lines, as members of the batch to which the Idempotency-Key belongs."""
        if self._key is None or self._anchor or not wanted:
            return wanted
        first = wanted[0].fixed.id
        held = self.ledger.hold_key(self.tenant, self._key, first)
        self._anchor = held.job_id
        if held.replay_fingerprint != self._key.fingerprint:
            raise KeyReused("this Idempotency-Key was used for another batch; take a new one")
        if held.job_id == first:
            self.ledger.note_lines(self.tenant, self._id, 0, [False])
            return wanted
        self._id, self.replayed = batch_of(held.job_id), True
        self._marks = self.ledger.recorded_lines(self.tenant, self._id)
        members = [(one, one.fixed.model_copy(update={"id": member_id(self._id, one.line)})) for one in wanted]
        return [replace(one, fixed=fixed, call=self.ledger.submit_call(fixed)) for one, fixed in members]

    def _known(self, wanted: list[_Wanted]) -> dict[int, Made | Refused]:
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

    def _archived(self, one: _Wanted) -> dict[int, Made | Refused]:
        """The same of one line where Redis has lost its memory: jobs that had ended are in the bucket alone."""
        try:
            return {one.line: Made(one.line, one.fixed.id, self.jobs.get(self.tenant, one.fixed.id).status)}
        except Gone:
            return {one.line: _erased(one)}
        except NotFound:
            return {}
        except StorageUnavailable as error:
            return {one.line: Refused(one.line, error)}

    def _submit(self, wanted: list[_Wanted]) -> dict[int, Made | Refused]:
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

    def _store(self, one: _Wanted) -> Made | Refused:
        """Stores the inputs of a line, then records its job."""
        try:
            accepted = self.jobs.store_and_accept(one.fixed, one.prepared, self._key_of(one))
        except NotReady as error:  # the lines before it are recorded
            self._away = error
            return Refused(one.line, error)
        except BacklotError as error:
            return Refused(one.line, error)
        return self._made_by(one, accepted.left or 0, accepted.reset_s)

    def _made_by(self, one: _Wanted, left: int, reset_s: float) -> Made:
        if self.jobs.settings.submits_per_minute:
            self.left, self.reset_s = left, reset_s
        return Made(one.line, one.fixed.id, one.status)

    def _call_of(self, one: _Wanted) -> Call:
        key = self._key_of(one)
        return self.ledger.submit_call(one.fixed, key) if key else one.call

    def _key_of(self, one: _Wanted) -> Idempotency | None:
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
                self.ledger.note_lines(self.tenant, self._id, self._first, self._notes)
        self._first, self._notes = 0, []


@dataclass(slots=True)
class _Draft:
    """A line on its way to a job; each step adds its part, or an error ends it."""

    line: int
    content: bytes | BacklotError
    error: Exception | None
    request: JobRequest = field(init=False)
    fixed: Fixed = field(init=False)
    prepared: Prepared = field(init=False)
    status: Status = field(init=False)
    call: Call = field(init=False)

    def outcome(self) -> _Wanted | Refused:
        if self.error is not None:
            return Refused(self.line, self.error)
        return _Wanted(self.line, self.fixed, self.call, self.prepared, self.status)


class _Intake(Intake):
    """Looks each upload up once a batch, however many lines name it."""

    def __init__(self, usual: Intake) -> None:
        super().__init__(usual.settings, usual.ledger, usual.storage)
        self._find = functools.cache(usual.find)

    def find(self, tenant: str, upload_id: str) -> Upload | None:
        return self._find(tenant, upload_id)


def _ended_where_stored(lines: list[_Wanted | Refused]) -> Iterator[list[_Wanted | Refused]]:
    """The lines in one or more trips: none has a line behind one whose inputs have to be stored."""
    start = 0
    for end, one in enumerate(lines, 1):
        if end == len(lines) or isinstance(one, _Wanted) and one.prepared.pending:
            yield lines[start:end]
            start = end


class _Erased(Conflict):
    """The line made a job that is erased."""


def _erased(one: _Wanted) -> Refused:
    return Refused(one.line, _Erased(f"this line made job {one.fixed.id} when it was sent before, which is erased"))


def _has_made(outcome: Made | Refused | None) -> bool:
    return isinstance(outcome, Made) or isinstance(outcome, Refused) and isinstance(outcome.error, _Erased)
