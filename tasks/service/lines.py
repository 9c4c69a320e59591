"""Reads the lines of a batch: a job of each, ready to be recorded, or the error for which it is refused.

It records and stores nothing. Of a line's neighbours it knows their `custom_id` alone.
"""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.errors import BacklotError, InvalidInput, InvalidRequest, MalformedRequest
from tasks.ids import member_id, now_ms
from tasks.job import SCHEMA, Fixed, Status, Upload
from tasks.ledger.connection import BYTES_A_TRIP, Call
from tasks.request import parse_line, read_json
from tasks.request_shapes import JobRequest
from tasks.service.chains import Source
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
    custom_id: str | None = None


@dataclass(frozen=True)
class Made:
    """The line made this job, now or when the batch was sent before."""

    line: int
    job_id: str
    status: Status


@dataclass(frozen=True)
class Failed:
    """The line made no job. `error`: the refusal as callers are told of it."""

    line: int
    error: dict[str, Any]
    custom_id: str | None = None


@dataclass(frozen=True)
class Wanted:
    """A line whose job can be recorded."""

    line: int
    fixed: Fixed
    call: Call
    prepared: Prepared
    status: Status


class Reader:
    """Reads one batch's lines. `away`, the error of all further lines, may come in between."""

    def __init__(
        self,
        jobs: Jobs,
        tenant: str,
        allow: Callable[[str], None],
        batch_id: str,
        defaults: Mapping[str, Any],
        key: str | None = None,
    ) -> None:
        """`allow(kind)` raises where the caller may not submit this kind. `defaults`: fields of a line that has none of
        the name; of objects each name by itself. `key`: id of the caller's API key."""
        self._key = key
        self.batch_id, self._defaults = batch_id, defaults
        self.away: BacklotError | None = None
        self._jobs, self._tenant, self._allow, self._intake = jobs, tenant, allow, _Intake(jobs.intake)
        self._line_of: dict[str, int] = {}  # by custom_id

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
        content = _filled(draft.content, self._defaults) if self._defaults else draft.content
        draft.request = parse_line(content)
        custom_id: str | None = getattr(draft.request, "custom_id", None)
        if custom_id is not None and (known := self._line_of.setdefault(custom_id, draft.line)) != draft.line:
            raise InvalidRequest([{"pointer": "/custom_id", "detail": f"line {known:,} of the batch has the same"}])
        draft.custom_id = custom_id
        self._allow(draft.request.kind)

    def _prepare(self, draft: "_Draft") -> None:
        """A member is a record of the newest form, which no worker runs that counts no members."""
        job_id = member_id(self.batch_id, draft.line)
        fixed, draft.prepared = self._jobs.prepare(
            self._tenant, draft.request, job_id, {}, self._intake, self._key, alone=False
        )
        fixed.batch, fixed.custom_id, fixed.v = self.batch_id, draft.custom_id, SCHEMA
        draft.fixed = fixed
        if draft.custom_id is not None:
            self._intake.earlier[draft.custom_id] = job_id
            self._intake.made[job_id] = Source(fixed.kind, Status.SCHEDULED)

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
    custom_id: str | None = None
    request: JobRequest = field(init=False)
    fixed: Fixed = field(init=False)
    prepared: Prepared = field(init=False)
    status: Status = field(init=False)
    call: Call = field(init=False)

    def outcome(self) -> Wanted | Refused:
        if self.error is not None:
            return Refused(self.line, self.error, self.custom_id)
        return Wanted(self.line, self.fixed, self.call, self.prepared, self.status)


class _Intake(Intake):
    """Looks each upload and each job up once a batch, however many lines name it.

    `earlier`: the jobs of earlier lines by their `custom_id`; `made`: the same jobs as sources.
    """

    def __init__(self, usual: Intake) -> None:
        super().__init__(usual.settings, usual.ledger, usual.storage, usual.chains)
        self._find, self._find_job = functools.cache(usual.find), functools.cache(usual.find_job)
        self.earlier: dict[str, str] = {}
        self.made: dict[str, Source] = {}

    def find(self, tenant: str, upload_id: str) -> Upload | None:
        return self._find(tenant, upload_id)

    def find_job(self, tenant: str, job_id: str) -> Source:
        return self.made.get(job_id) or self._find_job(tenant, job_id)

    def of_line(self, custom_id: str, output: str) -> tuple[str, str]:
        """A custom_id may have slashes."""
        if whole := self.earlier.get(f"{custom_id}/{output}" if output else custom_id):
            return whole, ""
        if output and custom_id in self.earlier:
            return self.earlier[custom_id], output
        raise InvalidInput(f"no earlier line of the batch has the custom_id {custom_id!r}, or that line is refused")


def _filled(content: bytes, defaults: Mapping[str, Any]) -> str:
    """The line with what it lacks. Errors: MalformedRequest."""
    try:
        line = read_json(content)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"the line is not JSON: {error}") from error
    if not isinstance(line, dict):
        return content.decode()
    filled = {**defaults, **line}
    for name, default in defaults.items():
        if isinstance(default, dict) and isinstance(given := line.get(name), dict):
            filled[name] = {**default, **given}
    try:
        return json.dumps(filled)
    except RecursionError as error:
        raise MalformedRequest("the line has too many levels") from error


def _ended_where_stored(lines: list[Wanted | Refused]) -> Iterator[list[Wanted | Refused]]:
    """The lines in one or more trips: none has a line behind one whose inputs have to be stored."""
    start = 0
    for end, one in enumerate(lines, 1):
        if end == len(lines) or isinstance(one, Wanted) and one.prepared.pending:
            yield lines[start:end]
            start = end
