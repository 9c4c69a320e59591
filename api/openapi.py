"""The OpenAPI 3.1 document, generated from operations.py and the very pydantic models that validate requests.

A test sends its examples and compares the app's answers with it.
"""

import functools
import json
import re
from importlib.metadata import version
from typing import Any, Literal

from flask import Blueprint, Response, request
from pydantic import TypeAdapter

from api.answers import MERGE_PATCH
from api.batch_body import FORM, JSON_LINES, BatchRequest
from api.events import EVENT_STREAM, Change, LogSoFar, Progress, Reset, Snapshot, StatusChange, TextReset, TextSoFar
from api.multipart import OBJECTS, RESERVED, TEXTS
from api.operation import Operation
from api.operations import OF_EVERY_ROUTE, OPERATIONS, TAGS
from api.parameters import HEADERS, PATH_PARAMETERS, QUERIES
from api.problems import Problem
from api.v1.batches import BatchLine, BatchList, BatchResult
from api.v1.dead_letters import Purge, Replay, ReplayRequest
from api.v1.health import Health
from api.v1.jobs import JobList, ListQuery
from api.v1.keys import KeyList
from api.v1.limits import Limits
from api.v1.models import ModelDetail, ModelList
from api.v1.pauses import PauseList, PauseRequest
from api.v1.pools import PoolList
from api.v1.schedules import ScheduleList
from api.v1.uploads import Upload, UploadRequest
from api.v1.usage import UsageReport
from api.v1.webhooks import WebhookDefault, WebhookSecrets
from tasks.batch import Batch
from tasks.job import Job
from tasks.ledger.pools import Pool
from tasks.registry import KINDS, contract
from tasks.request import adapter, line_adapter, request_of
from tasks.request_shapes import AmendRequest, RetryRequest
from tasks.schedule import Schedule, SchedulePatch, ScheduleRequest
from tasks.service.erasure import Erasure
from tasks.service.explain import Explanation

routes = Blueprint("openapi", __name__)
Json = dict[str, Any]
Mode = Literal["validation", "serialization"]
REF = "#/components/schemas/"
ABOUT = """Runs models as jobs: transcribe, caption, generate, recommend.

1. `POST /v1/jobs` submits a job and answers 202 with its `id`.
2. `GET /v1/jobs/{job_id}` reads it. Statuses go from `scheduled` and `queued` over `running` to one final status:
   `succeeded`, `failed`, `canceled` or `expired`. `done` is true in a final status, which never changes.
3. `GET /v1/jobs/{job_id}/outputs/{name}` redirects to a file that the job made.

Every route under /v1 needs the header `Authorization: Bearer <key>`. Every error is `application/problem+json`
(RFC 9457) with a `code` for programs; where `retryable` is true, send the same request again after `Retry-After`
seconds. Unknown fields are refused. Later versions may add statuses, error codes and fields of answers."""
ANSWERED = (
    Job,
    Snapshot,
    StatusChange,
    Progress,
    Change,
    Reset,
    TextSoFar,
    LogSoFar,
    TextReset,
    JobList,
    Batch,
    BatchList,
    BatchLine,
    BatchResult,
    Schedule,
    ScheduleList,
    Replay,
    Purge,
    Upload,
    ModelList,
    ModelDetail,
    Limits,
    UsageReport,
    Pool,
    PoolList,
    PauseList,
    KeyList,
    WebhookSecrets,
    WebhookDefault,
    Erasure,
    Explanation,
    Health,
    Problem,
)
"""Models of answers."""
STATUS_WORDS = {
    200: "Done",
    201: "Created",
    202: "Accepted",
    204: "Done; no body",
    307: "The header `Location` has the link",
}
LIMIT_HEADERS: Json = {
    "RateLimit": {
        "description": "Calls left of the limit a minute, `r`, and the seconds until all are left, `t`",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {"description": "The limit, `q`, and its window in seconds, `w`", "schema": {"type": "string"}},
}
BUDGET = (
    "At a submit or a retry once four fifths of the month's budget are spent: spent, budget, currency, time of reset"
)
ACCEPTED_HEADERS: Json = {
    "Backlot-Budget": {"description": BUDGET, "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds until it is worth asking again", "schema": {"type": "integer"}},
}
BATCH_HEADERS: Json = {
    "Batch-Accepted": {"description": "Number of the lines that made a job", "schema": {"type": "integer"}},
    "Batch-Refused": {"description": "Number of the lines that were refused", "schema": {"type": "integer"}},
}

BATCH_FORM: Json = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "input": {"type": "string", "description": "a file of JSON lines"},
        "on_error": {"enum": ["skip", "reject"]},
        "defaults": {"type": "string", "contentMediaType": "application/json"},
        "webhook": {"type": "string", "format": "uri"},
    },
}


@routes.get("/openapi.json")
def openapi() -> Response:
    if request.script_root:
        under = {**document(), "servers": [{"url": request.script_root}]}
        return Response(json.dumps(under), mimetype="application/json")
    return Response(_text(), mimetype="application/json")


@functools.cache
def document() -> Json:
    """The whole document, as JSON values."""
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Backlot",
            "version": version("backlot"),
            "license": {"name": "Apache-2.0"},
            "description": ABOUT,
        },
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": {
                "Problem": {
                    "description": "Refused; `code` and `detail` say why",
                    "content": {"application/problem+json": {"schema": {"$ref": REF + "Problem"}}},
                }
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key"}},
        },
    }


@functools.cache
def _text() -> str:
    return json.dumps(document())


def _operation(operation: Operation) -> Json:
    secured = operation.path.startswith("/v1/")
    limited = 429 in operation.refusals
    responses = {
        str(status): _answer(status, schema, operation, limited) for status, schema in operation.answers.items()
    }
    for status in sorted({*operation.refusals, *(OF_EVERY_ROUTE if secured else ())}):
        responses[str(status)] = {"$ref": "#/components/responses/Problem"}
    described = {
        "summary": operation.summary,
        "description": operation.description,
        "tags": [operation.tag],
        "operationId": operation.method + re.sub(r"\W+", "_", operation.path.removeprefix("/v1")).rstrip("_"),
        "parameters": _parameters(operation),
        "security": [{"key": []}] if secured else [],
        "responses": responses,
    }
    if operation.body:
        described["requestBody"] = {"required": not operation.optional, "content": _content(operation, operation.body)}
    return described


def _parameters(operation: Operation) -> list[Json]:
    in_path = [
        {"name": name, "in": "path", "required": True, **PATH_PARAMETERS[name]}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    in_header = [{"name": name, "in": "header", **HEADERS[name]} for name in operation.headers]
    query = QUERIES.get((operation.method, operation.path))
    if query is None:
        return in_path + in_header
    properties = query.model_json_schema(ref_template=REF + "{model}")["properties"]
    in_query = [
        _query_parameter(name, schema)
        for name, schema in properties.items()
        if schema.get("type") != "object"  # OpenAPI knows no names such as metadata.<key>; the route's description does
    ]
    return in_path + in_header + in_query


def _query_parameter(name: str, schema: Json) -> Json:
    """A query parameter is left out, never null; its description belongs to the parameter, not to its schema."""
    kept = [part for part in schema.get("anyOf", ()) if part.get("type") != "null"]
    described = {"description": schema["description"]} if "description" in schema else {}
    rest = {key: value for key, value in schema.items() if key != "description"}
    return {"name": name, "in": "query", **described, "schema": kept[0] if kept else rest}


def _answer(status: int, schema: str | None, operation: Operation, limited: bool) -> Json:
    """`limited`: the route makes jobs, of which a tenant may make so many a minute."""
    described: Json = {"description": STATUS_WORDS[status]}
    if operation.events:
        told = "; ".join(f"the data of `{name}` is of the schema {of}" for name, of in operation.events.items())
        stream = {"schema": {"type": "string", "description": f"Server-sent events: {told}."}}
        return {**described, "content": {EVENT_STREAM: stream}}
    if operation.text:
        return {**described, "content": {"text/plain": {"schema": {"type": "string"}}}}
    if schema and operation.lines and status == 200:
        told = f"JSON lines; each is of the schema {schema}"
        described["content"] = {JSON_LINES[0]: {"schema": {"type": "string", "description": told}}}
        return described | ({"headers": BATCH_HEADERS | LIMIT_HEADERS} if schema == "BatchLine" else {})
    if status == 202:
        described["headers"] = (
            ACCEPTED_HEADERS | (BATCH_HEADERS if operation.lines else {}) | (LIMIT_HEADERS if limited else {})
        )
    if status == 201:
        described["headers"] = LIMIT_HEADERS
    if schema:
        described["content"] = {"application/json": {"schema": {"$ref": REF + schema}}}
    return described


def _content(operation: Operation, body: str) -> Json:
    if operation.lines:
        schema = {"type": "string", "minLength": 1, "description": "JSON lines; each is of the schema LineRequest"}
        lines = {media_type: {"schema": schema, "examples": operation.examples} for media_type in JSON_LINES}
        return lines | {"application/json": {"schema": {"$ref": REF + body}}, FORM: {"schema": BATCH_FORM}}
    content: Json = {"application/json": {"schema": {"$ref": REF + body}, "examples": operation.examples}}
    if body in ("RetryRequest", "AmendRequest", "SchedulePatch"):
        content[MERGE_PATCH] = content["application/json"]
    if body == "JobRequest":
        content["multipart/form-data"] = {"schema": _form()}
    return content


def _form() -> Json:
    """The schema of a job's multipart form."""
    fields: dict[str, Json] = {name: {"type": "string"} for name in sorted(RESERVED)}
    for name in RESERVED - TEXTS:
        fields[name]["contentMediaType"] = "application/json"
    fields["kind"]["enum"] = list(KINDS)
    inputs: dict[str, Json] = {name: {} for kind in KINDS for name in contract(kind).inputs.model_fields}
    return {
        "type": "object",
        "required": ["kind"],
        "properties": fields | inputs,
        "description": "The fields of a JSON submit, except `input`. Every other field is an input: a file, a source "
        f"(URL or `upload:<id>`) or a text. A repeated field is a list. {' and '.join(sorted(OBJECTS))} are JSON.",
    }


def _schemas() -> Json:
    """Every schema by its name. Models whose names several kinds share are prefixed with their kind."""
    wanted: list[tuple[str, Mode, TypeAdapter[Any]]] = [
        *((request_of(kind).__name__, "validation", TypeAdapter(request_of(kind))) for kind in KINDS),
        *((f"{kind}-result", "serialization", TypeAdapter(contract(kind).result)) for kind in KINDS),
        *((model.__name__, "serialization", TypeAdapter(model)) for model in ANSWERED),
        ("UploadRequest", "validation", TypeAdapter(UploadRequest)),
        ("PauseRequest", "validation", TypeAdapter(PauseRequest)),
        ("BatchRequest", "validation", TypeAdapter(BatchRequest)),
        ("LineRequest", "validation", line_adapter()),
        ("RetryRequest", "validation", TypeAdapter(RetryRequest)),
        ("AmendRequest", "validation", TypeAdapter(AmendRequest)),
        ("ScheduleRequest", "validation", TypeAdapter(ScheduleRequest)),
        ("SchedulePatch", "validation", TypeAdapter(SchedulePatch)),
        ("ReplayRequest", "validation", TypeAdapter(ReplayRequest)),
        ("JobRequest", "validation", adapter()),
        ("query", "validation", TypeAdapter(ListQuery)),
    ]
    found, rest = TypeAdapter.json_schemas(wanted, ref_template=REF + "{model}")
    schemas = {**rest["$defs"], **{name: found[name, "validation"] for name in ("JobRequest", "LineRequest")}}
    by_kind: Json = json.loads(
        re.sub(r"tasks__([a-z]+)__(\w+)", lambda match: match[1].title() + match[2], json.dumps(schemas))
    )
    by_kind["Job"]["properties"]["result"]["anyOf"] = [
        *({"$ref": f"{REF}{kind.title()}Result"} for kind in KINDS),
        {"type": "object"},
        {"type": "null"},
    ]
    return by_kind
