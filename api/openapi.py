"""The OpenAPI 3.1 document, generated from the very models that validate; a test runs its examples.

`OPERATIONS` is the table of what there is; a test holds it against the app's own routes.
"""

import functools
import json
import re
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from flask import Blueprint, Response, request
from pydantic import TypeAdapter

from api.auth import Whose
from api.examples import SUBMIT, UPLOAD
from api.multipart import OBJECTS, RESERVED, TEXTS
from api.problems import Problem
from api.v1.dead_letters import DeadQuery, Purge, Replay
from api.v1.health import Health
from api.v1.jobs import JobList, ListQuery
from api.v1.keys import KeyList
from api.v1.models import ModelDetail, ModelList
from api.v1.pauses import PauseList, PauseRequest
from api.v1.pools import PoolList
from api.v1.uploads import Upload, UploadRequest
from tasks.job import Job
from tasks.ledger.pools import Pool
from tasks.registry import KINDS, contract
from tasks.request import adapter, request_of
from tasks.service.erasure import Erasure
from tasks.service.explain import Explanation

routes = Blueprint("openapi", __name__)
REF = "#/components/schemas/"
RETRY_AFTER = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}


@dataclass(frozen=True)
class Operation:
    """A route: what it takes, what it answers where all goes well, and the statuses of its refusals."""

    method: str
    path: str
    summary: str
    answers: dict[int, str | None]
    refusals: tuple[int, ...] = ()
    body: str | None = None
    headers: tuple[str, ...] = ()
    examples: dict[str, Any] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        return self.path.split("/")[2] if self.path.startswith("/v1/") else "service"


OPERATIONS = (
    Operation(
        "post",
        "/v1/jobs",
        "Submit a job",
        {202: "Job"},
        (400, 409, 413, 415, 422, 429),
        "JobRequest",
        ("Prefer", "Idempotency-Key"),
        SUBMIT,
    ),
    Operation("get", "/v1/jobs", "List jobs, newest first", {200: "JobList"}, (422,)),
    Operation("get", "/v1/jobs/{job_id}", "Look at a job, or wait for it", {200: "Job"}, (404, 410), None, ("Prefer",)),
    Operation(
        "delete", "/v1/jobs/{job_id}", "Erase a job that has ended, and its outputs", {204: None}, (404, 409, 410)
    ),
    Operation(
        "post", "/v1/jobs/{job_id}/cancel", "Ask a job to stop; it may still succeed", {202: "Job"}, (404, 409, 410)
    ),
    Operation(
        "post",
        "/v1/jobs/{job_id}/retry",
        "A new job of an ended one's request",
        {202: "Job"},
        (400, 404, 409, 410, 422, 429),
        None,
        ("Prefer", "Idempotency-Key"),
    ),
    Operation("get", "/v1/jobs/{job_id}/outputs/{name}", "Where an output can be had now", {307: None}, (404, 410)),
    Operation(
        "get",
        "/v1/jobs/{job_id}/explanation",
        "How a job stands, and what it waits for; operators only",
        {200: "Explanation"},
        (403, 404),
    ),
    Operation("get", "/v1/dead-letters", "List dead letters, those that ended last first", {200: "JobList"}, (422,)),
    Operation("delete", "/v1/dead-letters", "Erase dead letters, and what they left", {200: "Purge"}, (422,)),
    Operation(
        "post",
        "/v1/dead-letters/replay",
        "A new job of each dead letter's request",
        {202: "Replay"},
        (400, 422, 429),
        None,
        ("Idempotency-Key",),
    ),
    Operation(
        "post",
        "/v1/uploads",
        "A place for a large file",
        {201: "Upload"},
        (400, 413, 415, 422, 429),
        "UploadRequest",
        (),
        UPLOAD,
    ),
    Operation("get", "/v1/models", "What can be asked for", {200: "ModelList"}),
    Operation("get", "/v1/models/{kind}/{name}", "A model and its contract", {200: "ModelDetail"}, (404,)),
    Operation("get", "/v1/pools", "All pools; operators only", {200: "PoolList"}, (403,)),
    Operation("get", "/v1/pools/{name}", "A pool; operators only", {200: "Pool"}, (403, 404)),
    Operation("get", "/v1/pauses", "What is paused; operators only", {200: "PauseList"}, (403,)),
    Operation(
        "put",
        "/v1/pauses/pool/{name}",
        "Start no more jobs of a pool; those that run go on; operators only",
        {200: "PauseList"},
        (400, 403, 404, 409, 413, 415, 422),
        "PauseRequest",
    ),
    Operation(
        "put",
        "/v1/pauses/model/{kind}/{name}",
        "Likewise of a model",
        {200: "PauseList"},
        (400, 403, 404, 409, 413, 415, 422),
        "PauseRequest",
    ),
    Operation(
        "put",
        "/v1/pauses/tenant/{tenant}",
        "Likewise of a tenant",
        {200: "PauseList"},
        (400, 403, 404, 409, 413, 415, 422),
        "PauseRequest",
    ),
    Operation(
        "delete", "/v1/pauses/pool/{name}", "Start jobs of a pool again; operators only", {200: "PauseList"}, (403, 404)
    ),
    Operation("delete", "/v1/pauses/model/{kind}/{name}", "Likewise of a model", {200: "PauseList"}, (403, 404)),
    Operation("delete", "/v1/pauses/tenant/{tenant}", "Likewise of a tenant", {200: "PauseList"}, (403, 404)),
    Operation(
        "get", "/v1/keys", "All API keys, by the beginning of their hashes; operators only", {200: "KeyList"}, (403,)
    ),
    Operation(
        "delete",
        "/v1/tenants/{tenant}",
        "Erase all of a tenant that has no keys; operators only",
        {202: "Erasure"},
        (403, 409, 422),
    ),
    Operation(
        "get",
        "/v1/tenants/{tenant}/erasure",
        "The receipt of an erasure; operators only",
        {200: "Erasure"},
        (403, 404, 422),
    ),
    Operation("get", "/healthz", "Whether the process lives", {200: "Health"}),
    Operation("get", "/readyz", "Whether it can work", {200: "Health"}, (503,)),
)

BY_ROUTE = {(operation.method, operation.path): operation for operation in OPERATIONS}
OF_EVERY_ROUTE = (400, 401, 403, 415, 422, 503)
"""Refusals of all that lies under /v1: a body or a query that is not read, the key, a packed body, Redis being away."""
HEADERS = {
    "Prefer": {
        "description": "`wait=N` holds the answer until the job is done, for N seconds at most; applied where "
        "`Preference-Applied` comes back",
        "schema": {"type": "string"},
        "example": "wait=30",
    },
    "Idempotency-Key": {
        "description": "the same request with the same key makes one job, for 24 hours",
        "schema": {"type": "string", "pattern": r'^(?:"[\x20-\x21\x23-\x7e]{1,255}"|[\x21\x23-\x7e]{1,255})$'},
    },
}
OF_A_JOB = [
    ("get", "/v1/jobs/{job_id}"),
    ("delete", "/v1/jobs/{job_id}"),
    ("post", "/v1/jobs/{job_id}/cancel"),
    ("post", "/v1/jobs/{job_id}/retry"),
    ("get", "/v1/jobs/{job_id}/outputs/{name}"),
    ("get", "/v1/jobs/{job_id}/explanation"),
]
QUERIES = {
    **dict.fromkeys(OF_A_JOB, Whose),
    ("get", "/v1/jobs"): ListQuery,
    ("get", "/v1/dead-letters"): DeadQuery,
    ("delete", "/v1/dead-letters"): DeadQuery,
    ("post", "/v1/dead-letters/replay"): DeadQuery,
}
PATH_PARAMETERS = {
    "job_id": {"type": "string", "pattern": "^job_[0-9a-z]{26}$"},
    "name": {"type": "string", "minLength": 1},
    "kind": {"enum": list(KINDS)},
    "tenant": {"type": "string", "pattern": "^[a-z0-9-]{1,40}$"},
}


@routes.get("/openapi.json")
def openapi() -> Response:
    if request.script_root:
        under = {**document(), "servers": [{"url": request.script_root}]}
        return Response(json.dumps(under), mimetype="application/json")
    return Response(_text(), mimetype="application/json")


@functools.cache
def document() -> dict[str, Any]:
    """All of it, as JSON values."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Backlot",
            "version": version("backlot"),
            "license": {"name": "Apache-2.0"},
            "description": "Models of the entertainment trade, run as jobs. Statuses and codes may be added.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": {
                "Problem": {
                    "description": "a refusal",
                    "content": {"application/problem+json": {"schema": {"$ref": REF + "Problem"}}},
                }
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


@functools.cache
def _text() -> str:
    return json.dumps(document())


def _operation(operation: Operation) -> dict[str, Any]:
    secured = operation.path.startswith("/v1/")
    described = {
        "summary": operation.summary,
        "tags": [operation.tag],
        "operationId": operation.method + re.sub(r"\W+", "_", operation.path.removeprefix("/v1")).rstrip("_"),
        "parameters": _parameters(operation),
        "security": [{"key": []}] if secured else [],
        "responses": {str(status): _answer(status, schema) for status, schema in operation.answers.items()},
    }
    for status in sorted({*operation.refusals, *(OF_EVERY_ROUTE if secured else ())}):
        described["responses"][str(status)] = {"$ref": "#/components/responses/Problem"}
    if operation.body:
        described["requestBody"] = {"required": True, "content": _content(operation)}
    return described


def _parameters(operation: Operation) -> list[dict]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": PATH_PARAMETERS[name]}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    in_header = [{"name": name, "in": "header", **HEADERS[name]} for name in operation.headers]
    query = QUERIES.get((operation.method, operation.path))
    if query is None:
        return in_path + in_header
    query = query.model_json_schema(ref_template=REF + "{model}")["properties"]
    in_query = [{"name": name, "in": "query", "schema": _not_null(schema)} for name, schema in query.items()]
    return in_path + in_header + in_query


def _not_null(schema: dict) -> dict:
    """A query parameter is left out, never null."""
    kept = [part for part in schema.get("anyOf", ()) if part.get("type") != "null"]
    return kept[0] if kept else schema


def _answer(status: int, schema: str | None) -> dict[str, Any]:
    described: dict[str, Any] = {"description": {202: "accepted", 307: "see Location"}.get(status, "done")}
    if status == 202:
        described["headers"] = RETRY_AFTER
    if schema:
        described["content"] = {"application/json": {"schema": {"$ref": REF + schema}}}
    return described


def _content(operation: Operation) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": REF + operation.body}, "examples": operation.examples}}
    if operation.body == "JobRequest":
        content["multipart/form-data"] = {"schema": _form()}
    return content


def _form() -> dict[str, Any]:
    """The same request as a form."""
    fields = {name: {"type": "string"} for name in sorted(RESERVED)}
    for name in RESERVED - TEXTS:
        fields[name]["contentMediaType"] = "application/json"
    fields["kind"]["enum"] = list(KINDS)
    inputs = {name: {} for kind in KINDS for name in contract(kind).inputs.model_fields}
    return {
        "type": "object",
        "required": ["kind"],
        "properties": fields | inputs,
        "description": "every field that is not reserved is an input: a file, a source or a text; a repeated field "
        f"is a list; {' and '.join(sorted(OBJECTS))} are JSON",
    }


def _schemas() -> dict[str, Any]:
    """Every model by its name; those that all kinds have are told apart by kind."""
    requests = [(request_of(kind).__name__, "validation", TypeAdapter(request_of(kind))) for kind in KINDS]
    results = [(f"{kind}-result", "serialization", TypeAdapter(contract(kind).result)) for kind in KINDS]
    answers = [
        (model.__name__, "serialization", TypeAdapter(model))
        for model in (
            Job,
            JobList,
            Replay,
            Purge,
            Upload,
            ModelList,
            ModelDetail,
            Pool,
            PoolList,
            PauseList,
            KeyList,
            Erasure,
            Explanation,
            Health,
            Problem,
        )
    ]
    asked = [
        ("UploadRequest", "validation", TypeAdapter(UploadRequest)),
        ("PauseRequest", "validation", TypeAdapter(PauseRequest)),
        ("JobRequest", "validation", adapter()),
        ("query", "validation", TypeAdapter(ListQuery)),
    ]
    found, rest = TypeAdapter.json_schemas([*requests, *results, *answers, *asked], ref_template=REF + "{model}")
    schemas = {**rest["$defs"], "JobRequest": found["JobRequest", "validation"]}
    by_kind = json.loads(re.sub(r"tasks__([a-z]+)__(\w+)", lambda m: m[1].title() + m[2], json.dumps(schemas)))
    by_kind["Job"]["properties"]["result"]["anyOf"] = [
        *({"$ref": f"{REF}{kind.title()}Result"} for kind in KINDS),
        {"type": "object"},
        {"type": "null"},
    ]
    return by_kind
