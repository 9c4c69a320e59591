"""Reads the lines of a batch: a job of each, ready to be recorded, or the error for which it is refused.

It records and stores nothing, and knows no line's neighbours.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tasks.errors import BacklotError
from tasks.ids import member_id, now_ms
from tasks.job import Fixed, JobRequest, Status, Upload
from tasks.ledger.connection import BYTES_A_TRIP, Call
from tasks.request import parse
from tasks.service.intake import Intake, Prepared
from tasks.service.jobs import Jobs, fresh

LINES_A_TRIP = 25
"""Lines that are recorded in one trip. Redis serves nobody else meanwhile, for about 2 ms."""


@dataclass(frozen=True)
class Line:
    """A line's number, 1 for the first, and its request; an error where it cannot be read at all."""

    number: int
    content: bytes | BacklotError


@dataclass(frozen=True)
class Refused:
    """The line made no job. An error that is no BacklotError is a defect of the service."""

    line: int
    error: Exception


@dataclass(frozen=True)
class Wanted:
    """A line whose job can be recorded."""

    line: int
    fixed: Fixed
    call: Call
    prepared: Prepared
    status: Status


class Reader:
    """Reads one batch's lines. `batch_id` and `away`, the error of all further lines, may change in between."""

    def __init__(self, jobs: Jobs, tenant: str, allow: Callable[[str], None], batch_id: str) -> None:
        """`allow(kind)` raises where the caller may not submit this kind."""
        self.batch_id = batch_id
        self.away: BacklotError | None = None
        self._jobs, self._tenant, self._allow, self._intake = jobs, tenant, allow, _Intake(jobs.intake)

    def trips(self, lines: Iterable[Line]) -> Iterator[list[Wanted | Refused]]:
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

    def _read(self, lines: Sequence[Line]) -> list[Wanted | Refused]:
        """The jobs of these lines. Each step is done for all of them before the next, which takes two thirds of the
        time: the processor then has the code at hand."""
        drafts = [_Draft(line.number, line.content, self.away) for line in lines]
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
        job_id = member_id(self.batch_id, draft.line)
        draft.fixed, draft.prepared = self._jobs.prepare(self._tenant, draft.request, job_id, {}, self._intake)

    def _show(self, draft: "_Draft") -> None:
        """Makes the job's view before it is recorded: one that cannot be shown would break every list."""
        draft.status = fresh(draft.fixed, now_ms()).status

    def _make_call(self, draft: "_Draft") -> None:
        """Makes the JSON of all that the view shows, too."""
        draft.call = self._jobs.ledger.submit_call(draft.fixed)


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

    def outcome(self) -> Wanted | Refused:
        if self.error is not None:
            return Refused(self.line, self.error)
        return Wanted(self.line, self.fixed, self.call, self.prepared, self.status)


class _Intake(Intake):
    """Looks each upload up once a batch, however many lines name it."""

    def __init__(self, usual: Intake) -> None:
        super().__init__(usual.settings, usual.ledger, usual.storage)
        self._find = functools.cache(usual.find)

    def find(self, tenant: str, upload_id: str) -> Upload | None:
        return self._find(tenant, upload_id)


def _ended_where_stored(lines: list[Wanted | Refused]) -> Iterator[list[Wanted | Refused]]:
    """The lines in one or more trips: none has a line behind one whose inputs have to be stored."""
    start = 0
    for end, one in enumerate(lines, 1):
        if end == len(lines) or isinstance(one, Wanted) and one.prepared.pending:
            yield lines[start:end]
            start = end
