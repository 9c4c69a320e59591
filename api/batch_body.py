"""Reads the body of a batch, which comes as JSON lines, as a form with a file of them, or as JSON that names an upload.

The whole body is read and checked before its first line is taken. Knows no job.
"""

import codecs
import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from api.answers import JSON, NO_JSON, read_body, read_query, services
from api.dispatch import asked
from api.form import read
from tasks.errors import InvalidRequest, MalformedRequest, TooLarge, UnsupportedMedia
from tasks.request import invalid, pointer, read_json
from tasks.request_shapes import JobRequest
from tasks.service.lines import Line
from tasks.service.submission import Body
from tasks.webhook import WebhookRequest

JSON_LINES = ("application/jsonl", "application/x-ndjson")
"""Media types of JSON lines; the first is that of every answer."""
FORM = "multipart/form-data"
LINES_MAX = 50_000
"""Lines of a batch at most, empty ones counted."""
BATCH_MAX_BYTES = 200 * 1024 * 1024
"""Bytes of a batch that is an upload; one that comes as a body has the limit of bodies."""
READ_BYTES = 64 * 1024
"""Bytes of one read."""
OnError = Literal["skip", "reject"]


class BatchQuery(BaseModel):
    """The wishes for all lines, where the body is JSON lines."""

    model_config = ConfigDict(extra="forbid")

    on_error: OnError = Field(
        "skip", description="`skip` refuses bad lines alone; `reject` takes all lines or, where one is refused, none"
    )
    defaults: str | None = Field(
        None, description="a JSON object with fields that lines may leave out; of `params` and `metadata` name by name"
    )
    webhook: str | None = Field(
        None, description="https URL that is told by POST, as a job's webhook is, when all jobs of the batch have ended"
    )


class BatchRequest(BaseModel):
    """A batch whose lines are an upload."""

    model_config = ConfigDict(extra="forbid")

    input: str = Field(
        pattern="^upload:upload_[0-9a-z]{26}$", description="`source` of an upload that has the JSON lines"
    )
    on_error: OnError = Field("skip", description="as in the query of a batch that comes as JSON lines")
    defaults: dict[str, JsonValue] = Field({}, description="fields that lines may leave out")
    webhook: str | None = Field(None, description="as in that query")


@dataclass(frozen=True)
class Sent:
    """A batch as it came."""

    file: IO[bytes]
    body: Body
    on_error: OnError
    defaults: dict[str, Any]
    webhook: WebhookRequest | None

    def lines(self) -> Iterator[Line]:
        return _lines(self.file, services().settings.json_max_bytes)


def read_batch(tenant: str) -> Sent:
    """The batch of this request. Errors: UnsupportedMedia, MalformedRequest, InvalidRequest, TooLarge; werkzeug's
    RequestEntityTooLarge; StorageUnavailable."""
    request = asked()
    most, query = services().settings.upload_max_bytes, read_query(BatchQuery)
    if request.mimetype in JSON_LINES:
        body: IO[bytes] = request.environ["wsgi.input"]  # the bridge leaves the whole body there, as a file
        return _sent(body, most, query.on_error, _defaults(query.defaults), query.webhook)
    if request.query_string:
        raise InvalidRequest([{"pointer": "", "detail": "with this content type the query's fields are the body's"}])
    if request.mimetype == FORM:
        return _of_form(most)
    if request.mimetype == JSON:
        wanted = read_body(BatchRequest)
        upload, defaults = _upload(tenant, wanted.input), _known(wanted.defaults)
        return _sent(upload, BATCH_MAX_BYTES, wanted.on_error, defaults, wanted.webhook)
    raise UnsupportedMedia(
        f"the content type is {request.mimetype or 'not given'}; a batch comes as "
        f"{' or '.join(JSON_LINES)}, as {FORM} with a file `input`, or as {JSON} that names an upload"
    )


def _of_form(most: int) -> Sent:
    texts, files = read(asked(), services().settings.json_max_bytes)
    known = {"on_error", "defaults", "webhook"}
    wrong = [{"pointer": pointer(name), "detail": "there is no such field"} for name in texts if name not in known]
    wrong += [{"pointer": pointer(name), "detail": "there is no such file"} for name in files if name != "input"]
    wrong += [{"pointer": pointer(name), "detail": "may be given once"} for name in texts if len(texts[name]) > 1]
    if len(files.get("input", ())) != 1:
        wrong.append({"pointer": "/input", "detail": "one file of JSON lines is wanted"})
    if wrong:
        raise InvalidRequest(wrong[:20])
    given = {name: values[0] for name, values in texts.items()}
    try:
        query = BatchQuery.model_validate(given)
    except ValidationError as error:
        raise invalid(error, cast(JsonValue, given)) from error
    stream = cast(IO[bytes], files["input"][0].stream)
    return _sent(stream, most, query.on_error, _defaults(query.defaults), query.webhook)


def _upload(tenant: str, source: str) -> IO[bytes]:
    """The upload's content in an unnamed file. Errors: InvalidRequest where nothing was put there; TooLarge."""
    jobs = services().jobs
    found = jobs.intake.find(tenant, source.partition(":")[2])
    if found is None:
        detail = f"there is no upload {source}, or nothing has been put there yet"
        raise InvalidRequest([{"pointer": "/input", "detail": detail}])
    with tempfile.TemporaryDirectory(dir=services().settings.spool_dir) as folder:
        path = Path(folder) / "lines"
        jobs.storage.get_file(found.key, path, BATCH_MAX_BYTES)
        return path.open("rb")  # and its name goes


def _defaults(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        given = read_json(text)
    except NO_JSON as error:
        raise InvalidRequest([{"pointer": "/defaults", "detail": f"it is not JSON: {error}"}]) from error
    if not isinstance(given, dict):
        raise InvalidRequest([{"pointer": "/defaults", "detail": "a JSON object is wanted"}])
    return _known(given)


def _known(given: dict[str, JsonValue]) -> dict[str, Any]:
    """The defaults. Errors: InvalidRequest for a field that no line has."""
    wrong = [name for name in given if name not in JobRequest.model_fields]
    if wrong:
        raise InvalidRequest(
            [{"pointer": pointer("defaults", name), "detail": "lines have no such field"} for name in wrong[:20]]
        )
    return dict(given)


def _webhook(url: str | None) -> WebhookRequest | None:
    """Errors: InvalidRequest."""
    try:
        return None if url is None else WebhookRequest(url=url, events=["completed"])
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise InvalidRequest([{"pointer": "/webhook", "detail": detail}]) from error


def _sent(file: IO[bytes], most: int, on_error: OnError, defaults: dict[str, Any], url: str | None) -> Sent:
    """Reads the whole file. What an Idempotency-Key stands for are its bytes and the wishes for all lines."""
    webhook = _webhook(url)
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    size = number = wanted = 0
    part = b""
    while some := file.read(READ_BYTES):
        size += len(some)
        if size > most:
            raise RequestEntityTooLarge
        digest.update(some)
        _check_text(decoder, some, number)
        *whole, part = (part + some).split(b"\n")
        number += len(whole)
        wanted += sum(1 for line in whole if line and not line.isspace())
        if len(part) > 2 * READ_BYTES:  # of a longer line the beginning is enough
            part = part[:READ_BYTES] + b"."
    _check_text(decoder, b"", number, final=True)
    number += bool(part)
    wanted += bool(part) and not part.isspace()
    if number > LINES_MAX:
        raise TooLarge(f"the body has more than {LINES_MAX:,} lines; send it as several batches")
    if not wanted or digest.digest() == hashlib.sha256(codecs.BOM_UTF8).digest():
        raise MalformedRequest("the body has no line; a batch has a job's request in each")
    if defaults or on_error != "skip":
        digest.update(json.dumps([on_error, defaults], sort_keys=True).encode())
    if url:
        digest.update(json.dumps({"webhook": url}).encode())
    return Sent(file, Body(digest.hexdigest(), size, wanted, number), on_error, defaults, webhook)


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
