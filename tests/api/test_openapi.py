"""The OpenAPI document is true: every route is in it, its examples work, and the app does what it says."""

import json
import re

import hypothesis
import jsonschema_rs
import pytest
import schemathesis
from schemathesis.checks import positive_data_acceptance

from api.openapi import document
from api.operations import OPERATIONS
from tests.api.conftest import PROMPT

JOB = "#/components/schemas/Job"


@schemathesis.serializer("application/jsonl", "application/x-ndjson")
def lines(context, value):
    """JSON lines as they stand; a value that is no text cannot be sent, and an empty body is."""
    return value.encode() if isinstance(value, str) else b""


@pytest.fixture
def schema(app):
    """As schemathesis reads it from the app; a body that breaks a rule may also be too large to be read (413)."""
    made = schemathesis.openapi.from_wsgi("/openapi.json", app)
    rejection = made.config.checks.negative_data_rejection
    rejection.expected_statuses = [*rejection.expected_statuses, "413"]
    return made


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}")
def test_the_app_does_what_the_document_says(schema, operator, operation, mode):
    """Statuses, media types, headers and bodies are those that are documented; what does not fit is refused.

    `positive_data_acceptance` is off: it wants every body that fits the schema to be accepted, but a schema cannot
    say that a host is private, an upload unknown, a time over a limit; these are 422 (and documented).
    """
    described = schema[operation.path][operation.method.upper()]

    @hypothesis.given(case=described.as_strategy(generation_mode=mode))
    @hypothesis.settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def hold(case):
        headers = {"Authorization": f"Bearer {operator.key}"}
        case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

    try:
        hold()
    except (hypothesis.errors.Unsatisfiable, hypothesis.errors.InvalidArgument) as error:
        # there is nothing that a caller could get wrong
        assert mode is schemathesis.GenerationMode.NEGATIVE and not operation.body, error


def test_every_route_is_documented_and_nothing_else(app):
    routes = {
        (method.lower(), re.sub("<(.*?)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    told = {(operation.method, operation.path) for operation in OPERATIONS}
    assert routes - told == {("get", "/"), ("get", "/openapi.json")} and told <= routes


EXAMPLES = [
    pytest.param(method, path, example["value"], id=f"{method} {path} {name}")
    for path, methods in document()["paths"].items()
    for method, operation in methods.items()
    if "requestBody" in operation
    for name, example in operation["requestBody"]["content"].get("application/json", {}).get("examples", {}).items()
]


@pytest.mark.parametrize(("method", "path", "body"), EXAMPLES)
def test_every_example_works(acme, method, path, body):
    if "{job_id}" in path:
        job = acme.submit()
        if path.endswith("/retry"):
            acme.post(job["links"]["cancel"])
        path = path.format(job_id=job["id"])
    if "{schedule_id}" in path:
        made = acme.post("/v1/schedules", json={"cron": "* * * * *", "job": PROMPT}).json
        path = made["links"]["self"]
    if path.startswith("/v1/webhooks"):
        acme.post("/v1/webhooks/secret")
    answer = acme.open(path, method=method, json=body)
    expected = {"/v1/uploads": 201, "/v1/schedules": 201}.get(path, 200 if method in ("patch", "put") else 202)
    assert answer.status_code == expected, answer.json


def test_every_kind_has_an_example():
    kinds = {param.values[2]["kind"] for param in EXAMPLES if "kind" in param.values[2]}
    assert kinds == {"transcribe", "caption", "generate", "recommend"}


def test_a_finished_job_fits_the_schema_of_a_job(acme, hand):
    """The answer of a real life, result and outputs included, against the document's own schema."""
    job = acme.submit()
    hand.finish(hand.claim())
    judge = jsonschema_rs.validator_for({**document(), "$ref": JOB})
    assert judge.is_valid(acme.get(job["links"]["self"]).json)
    assert not judge.is_valid({**job, "status": "dancing"})


def test_the_request_schema_judges_as_the_service_does():
    judge = jsonschema_rs.validator_for({**document(), "$ref": "#/components/schemas/JobRequest"})
    assert judge.is_valid(PROMPT)
    for wrong in ({}, {**PROMPT, "urgent": 1}, {**PROMPT, "params": {"speed": 1}}, {**PROMPT, "kind": "dance"}):
        assert not judge.is_valid(wrong)


def test_every_operation_and_every_parameter_is_described():
    """A reader of the document alone learns what each is; the descriptions of optional query parameters included."""
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"] and operation["description"].endswith("."), (method, path)
            assert {tag["name"] for tag in document()["tags"]} >= set(operation["tags"]), (method, path)
            nameless = [p["name"] for p in operation["parameters"] if not p.get("description")]
            assert not nameless, (method, path, nameless)


@pytest.mark.parametrize("model", ["Job", "JobRequest", "Problem", "Upload", "ModelCard", "KeyCard", "Attempt"])
def test_every_field_of_what_callers_read_is_described(model):
    schemas = document()["components"]["schemas"]
    name = "GenerateRequest" if model == "JobRequest" else model
    silent = [
        field
        for field, schema in schemas[name]["properties"].items()
        if not ({"description", "const"} & set(schema) or "description" in schemas[schema["$ref"].rpartition("/")[2]])
    ]
    assert not silent


def test_names_are_those_a_person_would_give():
    """No module path of ours shows in the schemas' names."""
    assert "tasks__" not in json.dumps(document()) and "GenerateParams" in document()["components"]["schemas"]
