"""Submits a batch: many requests, a line each, of which every one is recorded or refused by itself.

The jobs' ids come from the batch and the line, so that a batch with an Idempotency-Key may be sent again. It knows
tenants and the ledger; how lines come and how answers look is the API's.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tasks.errors import BacklotError, Conflict, Gone, InvalidRequest, KeyReused, NotFound, NotReady, OperatorError
from tasks.ids import new_batch_id
from tasks.job import Status
from tasks.ledger import Idempotency, Record, Submitted
from tasks.ledger.bulk import MADE, NOT_MADE, REFUSED
from tasks.request import SHOWN_ERRORS
from tasks.service.jobs import Jobs
from tasks.service.lines import Failed, Line, Made, Reader, Refused, Wanted
from tasks.service.members import Members
from tasks.webhook import WebhookRequest

LINES_A_NOTE = 1000
"""Lines whose outcomes are noted together."""
REFUSALS_NOTED = 1000
"""Refused lines of a batch whose errors are kept."""
DETAIL_NOTED = 500
"""Characters of such an error's detail."""
SENDERS = ThreadPoolExecutor(8, "batch")
"""Threads that record trips, each while the next one is read: Redis and Python then compute at the same time."""


@dataclass(frozen=True)
class Body:
    """The lines of a batch as they came: SHA-256, bytes, lines that are not empty, and the number of the last."""

    sha256: str
    bytes: int
    lines: int
    last: int


@dataclass(frozen=True)
class Terms:
    """The caller's wishes for all lines. `allow(kind)` raises where the caller may not submit this kind; `told(error)`
    gives a refusal as the caller is told of it. `key`: the Idempotency-Key; `api_key`: id of the API key; `webhook`: of
    the batch as a whole."""

    allow: Callable[[str], None]
    told: Callable[[Exception], dict[str, Any]]
    key: str | None = None
    api_key: str | None = None
    webhook: WebhookRequest | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


class Submission:
    """One batch while it is submitted: `open`, `submit`, `seal`.

    `replayed`: its Idempotency-Key came with it before. `left` and `reset_s`: as Accepted has them (jobs.py).
    `unfinished`: the first error for which lines have yet to be sent again.
    """

    def __init__(self, jobs: Jobs, tenant: str, body: Body, terms: Terms) -> None:
        self.jobs, self.ledger, self.tenant, self.body, self.terms = jobs, jobs.ledger, tenant, body, terms
        self.replayed, self.reset_s = False, 0.0
        self.left: int | None = None
        self.unfinished: BacklotError | None = None
        self.id = new_batch_id()
        self._key = Idempotency.of((tenant, "POST", "/v1/batches", terms.key), (body.sha256,)) if terms.key else None
        self._keep_s = jobs.settings.retention_s
        self._marks: str | None = None  # of the lines when the batch was sent before
        self._first, self._notes = 0, list[str]()  # lines without a note yet: the first's number, and the marks
        self._refusals: dict[int, dict[str, Any]] = {}
        self._refusals_noted = 0

    def check(self, lines: Iterable[Line]) -> None:
        """Checks each line and records none. Errors: InvalidRequest, which names the refused lines; those of a line
        that another try may pass."""
        reader, wrong, count = self._reader(), list[dict[str, str]](), 0
        for trip in reader.trips(lines):
            for one in trip:
                if isinstance(one, Refused):
                    if isinstance(one.error, OperatorError) and one.error.retryable:
                        raise one.error
                    count += 1
                    if len(wrong) < SHOWN_ERRORS:
                        wrong += _placed(one.line, self.terms.told(one.error))
        if wrong:
            raise LinesRefused(count, wrong[:SHOWN_ERRORS])

    def open(self) -> Record | None:
        """Takes the quotas of all lines; the batch where it was sealed before. Errors: KeyReused; Conflict where the
        key's batch is erased; RateLimited, QuotaExceeded, TooLarge; Overloaded; NotReady."""
        body = self.body
        self.jobs.budgets.check(self.tenant, self._key)
        webhook = self.terms.webhook.as_field() if self.terms.webhook else ""
        held = self.ledger.open_batch(self.tenant, self.id, body.lines, body.last, body.bytes, self._key, webhook)
        if self._key is None or held.replay_fingerprint is None:
            if self.jobs.settings.submits_per_minute:
                self.left, self.reset_s = held.left, held.reset_s
            return None
        if held.replay_fingerprint != self._key.fingerprint:
            raise KeyReused("this Idempotency-Key was used for another batch; take a new one")
        self.id, self.replayed = held.job_id, True
        known = self.ledger.batch(self.tenant, self.id)
        if known is None or "erased_ms" in known:
            raise Conflict(f"this Idempotency-Key belongs to batch {self.id}, which has been erased")
        self._marks = self.ledger.lines_of(self.tenant, self.id)
        return known if "sealed_ms" in known else None

    def submit(self, lines: Iterable[Line]) -> Iterator[list[Made | Failed]]:
        """The outcome of each line, in their order, a trip's worth at a time.

        Where Redis goes away, all further lines are refused with NotReady, and the batch is not sealed.
        """
        reader = self._reader()
        sent: Future[list[Made | Refused]] | None = None
        for trip in reader.trips(lines):
            if sent:
                yield self._noted(sent.result())
            sent = SENDERS.submit(self._record, trip, reader)
        if sent:
            yield self._noted(sent.result())
        if not self.unfinished:
            self._note()

    def seal(self) -> Record:
        """Seals the batch; what it is now. Errors: `unfinished`; NotFound where it was erased meanwhile; NotReady."""
        if self.unfinished:
            raise self.unfinished
        sealed = self.ledger.note_batch(self.tenant, self.id, "sealed", self._keep_s)
        if sealed is None:
            raise NotFound(f"there is no batch {self.id}")
        if "canceled_ms" in sealed:  # while it was received
            Members(self.ledger, self.jobs.archive, sealed).cancel()
            sealed = self.ledger.batch(self.tenant, self.id) or sealed
        return sealed

    def _reader(self) -> Reader:
        return Reader(self.jobs, self.tenant, self.terms.allow, self.id, self.terms.defaults, self.terms.api_key)

    def _record(self, trip: list[Wanted | Refused], reader: Reader) -> list[Made | Refused]:
        """The outcomes of a trip, of which only the last line's inputs may have to be stored."""
        if reader.away:
            return _refused(trip, reader.away)
        try:
            wanted = [one for one in trip if isinstance(one, Wanted)]
            outcomes = self._known(wanted) if self.replayed else {}
            outcomes |= self._submit([one for one in wanted if one.line not in outcomes], reader)
        except NotReady as error:
            reader.away = error
            return _refused(trip, error)
        return [one if isinstance(one, Refused) else outcomes[one.line] for one in trip]

    def _known(self, wanted: list[Wanted]) -> dict[int, Made | Refused]:
        """The lines that made jobs when the batch was sent before."""
        found: dict[int, Made | Refused] = {}
        statuses = self.ledger.statuses([one.fixed.id for one in wanted])
        for one, status in zip(wanted, statuses, strict=True):
            if status:
                found[one.line] = Made(one.line, one.fixed.id, Status(status))
            elif self._marks and self._marks[one.line : one.line + 1] == MADE:
                found |= self._archived(one)
        return found

    def _archived(self, one: Wanted) -> dict[int, Made | Refused]:
        """The same of one line whose job Redis does not know."""
        try:
            return {one.line: Made(one.line, one.fixed.id, self.jobs.get(self.tenant, one.fixed.id).status)}
        except Gone:
            return {one.line: Refused(one.line, Conflict(f"this line made job {one.fixed.id}, which is erased"))}
        except NotFound:
            return {}
        except BacklotError as error:
            return {one.line: Refused(one.line, error)}

    def _submit(self, wanted: list[Wanted], reader: Reader) -> dict[int, Made | Refused]:
        plain = [one for one in wanted if not one.prepared.pending]
        answers = self.ledger.submit_many([(one.fixed, one.call) for one in plain])
        bells: Counter[str] = Counter()
        outcomes: dict[int, Made | Refused] = {}
        for one, answer in zip(plain, answers, strict=True):
            if isinstance(answer, Submitted):
                now = Status.SUCCEEDED if answer.answered == "succeeded" else one.status
                outcomes[one.line] = Made(one.line, one.fixed.id, now)
                bells[one.fixed.queue] += answer.bell
            else:
                outcomes[one.line] = Refused(one.line, answer, one.fixed.custom_id)
            self._keep_s = max(self._keep_s, one.fixed.retention_s)
        chained = [one for one in plain if one.fixed.waits_for and isinstance(outcomes[one.line], Made)]
        statuses = self.ledger.statuses([one.fixed.id for one in chained]) if chained else []
        for one, status in zip(chained, statuses, strict=True):
            outcomes[one.line] = Made(one.line, one.fixed.id, Status(status or one.status))  # the script has judged it
        for queue, count in bells.items():
            self.jobs.broker.ring(queue, times=min(count, self.jobs.settings.bells))
        return outcomes | {one.line: self._store(one, reader) for one in wanted if one.prepared.pending}

    def _store(self, one: Wanted, reader: Reader) -> Made | Refused:
        """Stores the inputs of a line, then records its job."""
        try:
            self.jobs.store_and_accept(one.fixed, one.prepared, None)
        except NotReady as error:  # the lines before it are recorded
            reader.away = error
            return Refused(one.line, error, one.fixed.custom_id)
        except BacklotError as error:
            return Refused(one.line, error, one.fixed.custom_id)
        return Made(one.line, one.fixed.id, one.status)

    def _noted(self, outcomes: list[Made | Refused]) -> list[Made | Failed]:
        """The outcomes as the caller is told of them, noted, so that a line whose job is erased makes no other."""
        told: list[Made | Failed] = []
        for one in outcomes:
            self._first = self._first or one.line
            self._notes += NOT_MADE * (one.line - self._first - len(self._notes))  # empty lines between
            if isinstance(one, Made):
                self._notes.append(MADE)
                told.append(one)
            else:
                told.append(self._failed(one))
        if len(self._notes) >= LINES_A_NOTE and not self.unfinished:
            self._note()
        return told

    def _failed(self, one: Refused) -> Failed:
        error = self.terms.told(one.error)
        if isinstance(one.error, OperatorError) and one.error.retryable:
            self._notes.append(NOT_MADE)
            self.unfinished = self.unfinished or one.error
            return Failed(one.line, error, one.custom_id)
        self._notes.append(REFUSED)
        if self._refusals_noted < REFUSALS_NOTED:
            kept = {**error, "detail": error["detail"][:DETAIL_NOTED]}
            self._refusals[one.line] = kept | ({"custom_id": one.custom_id} if one.custom_id else {})
            self._refusals_noted += 1
        return Failed(one.line, error, one.custom_id)

    def _note(self) -> None:
        try:
            if self._notes:
                self.ledger.note_lines(self.tenant, self.id, self._first, "".join(self._notes))
            if self._refusals:
                self.ledger.note_refusals(self.tenant, self.id, self._refusals)
        except NotReady as error:
            self.unfinished = error
        self._first, self._notes, self._refusals = 0, [], {}


class LinesRefused(InvalidRequest):
    """Lines of a batch that is taken whole or not at all."""

    def __init__(self, count: int, wrong: list[dict[str, str]]) -> None:
        super().__init__(wrong)
        line, _, place = wrong[0]["pointer"].removeprefix("/").partition("/")
        at = f"line {line}" + (f", /{place}" if place else "")
        self.detail = f"{count:,} lines are refused, so with on_error=reject none is taken; {at}: {wrong[0]['detail']}"


def _placed(line: int, told: dict[str, Any]) -> list[dict[str, str]]:
    """The errors of a line with its number before their places."""
    found = told.get("errors") or [{"pointer": "", "detail": told["detail"]}]
    return [{"pointer": f"/{line}{one['pointer']}", "detail": one["detail"]} for one in found]


def _refused(trip: list[Wanted | Refused], error: BacklotError) -> list[Made | Refused]:
    return [one if isinstance(one, Refused) else Refused(one.line, error) for one in trip]
