"""Batches over HTTP: submits, lists, reads, cancels and erases them, and tells the outcome of each line.

The whole body is read and checked before the first line makes a job (batch_body.py), so a body that is refused has made
none. All lines are submitted before the answer begins, so a caller that leaves in between has all jobs. Jobs and their
rules are those of POST /v1/jobs.
"""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any, Literal

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from api.answers import PRIVATE, answer, read_query, services, submits_left
from api.auth import Whose, caller, require_kind, tenant, whose
from api.batch_body import JSON_LINES, READ_BYTES, read_batch
from api.dispatch import Answered, asked
from api.problems import described
from api.server.prefix import prefixed
from api.v1.jobs import idempotency_key
from tasks.batch import Batch, LineError
from tasks.errors import InvalidRequest
from tasks.job import Job, Status
from tasks.ledger import Record
from tasks.service.batches import Batches
from tasks.service.lines import Failed, Line, Made
from tasks.service.members import Members, Result
from tasks.service.submission import Submission, Terms

routes = Blueprint("batches", __name__, url_prefix="/v1/batches")
ERRORS_SHOWN = 20
"""Refused lines that the view of a batch names."""


class JobLinks(BaseModel):
    """Path of a job."""

    self: str = Field(description="path to read the job")


class MadeJob(BaseModel):
    """A job that a line made."""

    object: Literal["job"] = "job"
    id: str = Field(description="id of the job; jobs of a batch sort as its lines do")
    status: Status
    links: JobLinks


class BatchLine(BaseModel):
    """The outcome of one line at its submit: it has `job` or `error`."""

    line: int = Field(ge=1, description="number of the line in the body, from 1; empty lines are counted")
    job: MadeJob | None = Field(None, description="job that the line made, now or when the batch was sent before")
    error: LineError | None = Field(None, description="refusal of the line, as POST /v1/jobs would have it")


class BatchResult(BaseModel):
    """A line of a batch as it is now: it has `job` or `error`."""

    line: int = Field(ge=1, description="number of the line in the body")
    custom_id: str | None = Field(None, description="`custom_id` of the line")
    job: Job | None = Field(None, description="job of the line")
    error: LineError | None = Field(None, description="refusal of the line, or the reason why its job is not shown")


class BatchList(BaseModel):
    """A page of batches, newest first."""

    object: Literal["list"] = "list"
    data: list[Batch] = Field(description="batches of this page, without the errors of their lines")
    next_cursor: str | None = Field(None, description="`cursor` of the next page; null on the last one")


class BatchListQuery(Whose):
    """A selection of batches."""

    limit: int = Field(20, ge=1, le=100, description="maximum of batches on one page")
    cursor: str | None = Field(None, max_length=200, description="`next_cursor` of the previous page")


class ResultsQuery(Whose):
    """A part of a batch's lines."""

    after: int = Field(0, ge=0, description="only lines behind this one, to go on where a read has stopped")


@routes.post("")
def submit() -> Response:
    sent = read_batch(tenant())
    webhook = services().jobs.webhooks.check(tenant(), sent.webhook) if sent.webhook else None
    terms = Terms(require_kind, told, idempotency_key(), caller().id, webhook, sent.defaults)
    submission = Submission(services().jobs, tenant(), sent.body, terms)
    if sent.on_error == "reject":
        submission.check(sent.lines())
    known = submission.open()
    asked().made = submission.id
    if any(media_type in asked().headers.get("Accept", "") for media_type in JSON_LINES):
        return _outcomes(submission, known, sent.lines)
    if known is None:
        for _ in submission.submit(sent.lines()):
            pass
        known = submission.seal()
    batch = _view(known)
    headers = _headers(submission, batch.counts.all, batch.refused) | {"Location": batch.links.self, "Retry-After": "1"}
    return answer(batch, 202, headers)


@routes.get("")
def list_batches() -> Response:
    query = read_query(BatchListQuery)
    try:
        found, following = _batches().page(whose(query.tenant), query.limit, query.cursor)
    except ValueError as error:
        raise InvalidRequest([{"pointer": "/cursor", "detail": "not a cursor that a page of batches gave"}]) from error
    return answer(BatchList(data=[Batch.of_record(one) for one in found], next_cursor=following))


@routes.get("/<batch_id>")
def get(batch_id: str) -> Response:
    record = _batches().get(_owner(), batch_id)
    return answer(_view(record).model_copy(update={"eta_s": services().jobs.etas.of_batch(record)}))


@routes.get("/<batch_id>/results")
def results(batch_id: str) -> Response:
    query = read_query(ResultsQuery)
    members = _batches().members(whose(query.tenant), batch_id)
    prefix = asked().root_path
    parts = ("".join(_result(one, prefix) + "\n" for one in page).encode() for page in members.results(query.after))
    return Answered(parts, 200, PRIVATE, mimetype=JSON_LINES[0])


@routes.post("/<batch_id>/cancel")
def cancel(batch_id: str) -> Response:
    return answer(_view(_batches().cancel(_owner(), batch_id)), 202)


@routes.post("/<batch_id>/webhook/replay")
def replay_webhook(batch_id: str) -> Response:
    return answer(_view(_batches().replay_webhook(_owner(), batch_id)), 202)


@routes.delete("/<batch_id>")
def delete(batch_id: str) -> Response:
    _batches().delete(_owner(), batch_id)
    return Response(status=204)


def told(error: Exception) -> dict[str, Any]:
    """The refusal of a line, as a LineError."""
    problem = described(error)
    found = {"code": problem.code, "detail": problem.detail, "retryable": problem.retryable}
    return found | ({"errors": [one.model_dump() for one in problem.errors]} if problem.errors else {})


def _batches() -> Batches:
    return Batches(services().jobs)


def _owner() -> str:
    """The tenant of the query, or the key's own."""
    return whose(read_query(Whose).tenant)


def _view(record: Record) -> Batch:
    errors = (
        services().jobs.ledger.refusals(record["tenant"], record["id"]) if record.get("refused", "0") != "0" else {}
    )
    return Batch.of_record(record, [{"line": line, **errors[line]} for line in sorted(errors)[:ERRORS_SHOWN]])


def _headers(submission: Submission, made: int, refused: int) -> dict[str, str]:
    headers = {"Batch-Accepted": str(made), "Batch-Refused": str(refused)}
    left = None if refused else submission.left  # the seal gives those of refused lines back
    headers |= submits_left(submission.tenant, left, submission.reset_s)
    if submission.replayed:
        headers["Idempotency-Replayed"] = "true"
    return headers


def _outcomes(submission: Submission, known: Record | None, lines: Callable[[], Iterator[Line]]) -> Response:
    """The answer with the outcome of each line. All are submitted before it begins."""
    jobs, counts = services().jobs, {Made: 0, Failed: 0}
    prefix = json.dumps(f"{asked().root_path}/v1/jobs/")[1:-1]
    pages = Members(jobs.ledger, jobs.archive, known).outcomes() if known else submission.submit(lines())
    with contextlib.ExitStack() as stack:
        answers = stack.enter_context(tempfile.TemporaryFile(dir=services().settings.spool_dir))
        for page in pages:
            for one in page:
                counts[type(one)] += 1
                answers.write(_line(one, prefix).encode() + b"\n")
        if known is None and submission.unfinished is None:
            submission.seal()
        stack.pop_all()
    headers = _headers(submission, counts[Made], counts[Failed])
    headers |= {"Content-Length": str(answers.tell()), "Location": f"{asked().root_path}/v1/batches/{submission.id}"}
    return Answered(_parts(answers), 200, {**PRIVATE, **headers}, mimetype=JSON_LINES[0])


def _line(outcome: Made | Failed, jobs: str) -> str:
    """A BatchLine as JSON; `jobs` is the path of jobs. Written by hand where a job was made: its values need no escape,
    and pydantic takes six times as long."""
    if isinstance(outcome, Failed):
        error = LineError.model_validate(outcome.error)
        return BatchLine(line=outcome.line, error=error).model_dump_json(exclude_none=True)
    made = f'"id":"{outcome.job_id}","status":"{outcome.status}","links":{{"self":"{jobs}{outcome.job_id}"}}'
    return f'{{"line":{outcome.line},"job":{{"object":"job",{made}}}}}'


def _result(one: Result, prefix: str) -> str:
    """A BatchResult as JSON."""
    if one.job is None:
        error = dict(one.error or {})
        custom_id = error.pop("custom_id", None)
        refused = BatchResult(line=one.line, custom_id=custom_id, error=LineError.model_validate(error))
        return refused.model_dump_json(exclude_none=True)
    job = prefixed(one.job, prefix) if prefix else one.job
    known = {"line": one.line} | ({"custom_id": one.job.custom_id} if one.job.custom_id else {})
    return f'{json.dumps(known)[:-1]}, "job": {job.model_dump_json()}}}'


def _parts(answers: IO[bytes]) -> Iterator[bytes]:
    with answers:
        answers.seek(0)
        while part := answers.read(READ_BYTES):
            yield part
