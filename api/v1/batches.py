"""Batches over HTTP: many jobs in one request, as JSON lines. The answer has a line for each line, in the same order.

The whole body is read and checked before the first line makes a job, so a body that is refused has made none. All lines
are submitted before the answer begins, so a caller that leaves in between has all jobs. Jobs and their rules are those
of POST /v1/jobs (tasks/service/batches.py).
"""

import codecs
import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator
from typing import IO, Literal

from flask import Blueprint, Response
from pydantic import BaseModel, Field
from werkzeug.exceptions import RequestEntityTooLarge

from api.answers import PRIVATE, services, submits_left
from api.auth import require_kind, tenant
from api.dispatch import Answered, asked
from api.problems import Problem, described
from api.v1.jobs import idempotency_key
from tasks.errors import MalformedRequest, TooLarge, UnsupportedMedia
from tasks.job import Status
from tasks.service.batches import Batch, Made
from tasks.service.lines import Line, Refused

routes = Blueprint("batches", __name__, url_prefix="/v1/batches")
JSON_LINES = ("application/jsonl", "application/x-ndjson")
"""Media types of a body; the first is that of every answer."""
LINES_MAX = 10_000
"""Lines of a body at most, empty ones counted."""
READ_BYTES = 64 * 1024
"""Bytes of one read."""


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
    """The outcome of one line of a batch: it has `job` or `problem`."""

    line: int = Field(ge=1, description="number of the line in the body, from 1; empty lines are counted")
    job: MadeJob | None = Field(None, description="job that the line made, now or when the batch was sent before")
    problem: Problem | None = Field(None, description="refusal, as POST /v1/jobs would answer it")


@routes.post("")
def submit() -> Response:
    request = asked()
    if request.mimetype not in JSON_LINES:
        raise UnsupportedMedia(
            f"the content type is {request.mimetype or 'not given'}; a batch comes as {' or '.join(JSON_LINES)}"
        )
    key = idempotency_key()
    body: IO[bytes] = request.environ["wsgi.input"]  # the bridge leaves the whole body there, as a file
    batch = Batch(request.services.jobs, tenant(), require_kind, key, _checked(body))
    answers, made, refused = _submitted(batch, body)
    headers = {"Batch-Accepted": str(made), "Batch-Refused": str(refused), "Content-Length": str(answers.tell())}
    headers |= submits_left(batch.tenant, batch.left, batch.reset_s)
    if batch.replayed:
        headers["Idempotency-Replayed"] = "true"
    return Answered(_parts(answers), 200, {**PRIVATE, **headers}, mimetype=JSON_LINES[0])


def _submitted(batch: Batch, body: IO[bytes]) -> tuple[IO[bytes], int, int]:
    """The lines of the answer, and the numbers of lines that made jobs and that were refused."""
    settings, counts = services().settings, {Made: 0, Refused: 0}
    jobs = json.dumps(f"{asked().root_path}/v1/jobs/")[1:-1]
    with contextlib.ExitStack() as stack:
        answers = stack.enter_context(tempfile.TemporaryFile(dir=settings.spool_dir))
        for outcomes in batch.submit(_lines(body, settings.json_max_bytes)):
            for outcome in outcomes:
                counts[type(outcome)] += 1
                answers.write(_line(outcome, jobs).encode() + b"\n")
        if not any(counts.values()):
            raise MalformedRequest("the body has no line; a batch has a job's request in each")
        stack.pop_all()
    return answers, counts[Made], counts[Refused]


def _checked(body: IO[bytes]) -> str:
    """The SHA-256 of the body. Errors: MalformedRequest, TooLarge; werkzeug's RequestEntityTooLarge."""
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    size = lines = 0
    last = b""
    while part := body.read(READ_BYTES):
        size += len(part)
        if size > services().settings.upload_max_bytes:
            raise RequestEntityTooLarge
        digest.update(part)
        _check_text(decoder, part, lines)
        lines += part.count(b"\n")
        last = part[-1:]
    _check_text(decoder, b"", lines, final=True)
    if lines + (last != b"\n") > LINES_MAX:
        raise TooLarge(f"the body has more than {LINES_MAX:,} lines; send it as several batches")
    return digest.hexdigest()


def _check_text(decoder: codecs.IncrementalDecoder, part: bytes, lines: int, final: bool = False) -> None:
    """Errors: MalformedRequest where the part, which `lines` lines stand before, is not UTF-8."""
    try:
        decoder.decode(part, final)
    except UnicodeDecodeError as error:
        line = lines + error.object.count(b"\n", 0, error.start) + 1
        raise MalformedRequest(f"the body is not UTF-8 in line {line:,}") from error


def _lines(body: IO[bytes], longest: int) -> Iterator[Line]:
    """The lines that are not empty, without their ends, of a body from its start on; a byte order mark is no part."""
    body.seek(0)
    if body.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
        body.seek(0)
    number = 0
    while text := body.readline(longest + len(b"\r\n")):
        number += 1
        whole = text.rstrip(b"\r\n")
        if len(whole) > longest:
            while text and not text.endswith(b"\n"):
                text = body.readline(READ_BYTES)
            yield Line(number, TooLarge(f"the line has more than {longest:,} bytes"))
        elif whole.strip():
            yield Line(number, whole)


def _line(outcome: Made | Refused, jobs: str) -> str:
    """A BatchLine as JSON; `jobs` is the path of jobs. Written by hand where a job was made: its values need no escape,
    and pydantic takes six times as long."""
    if isinstance(outcome, Refused):
        return BatchLine(line=outcome.line, problem=described(outcome.error)).model_dump_json(exclude_none=True)
    made = f'"id":"{outcome.job_id}","status":"{outcome.status}","links":{{"self":"{jobs}{outcome.job_id}"}}'
    return f'{{"line":{outcome.line},"job":{{"object":"job",{made}}}}}'


def _parts(answers: IO[bytes]) -> Iterator[bytes]:
    with answers:
        answers.seek(0)
        while part := answers.read(READ_BYTES):
            yield part
