"""Limits told beforehand: GET /v1/limits, RateLimit headers of all that makes jobs, and requests that would fail."""

import json

import pytest

from api import create_app, keyfile
from tests.api.conftest import PROMPT, Caller, problem
from tests.documents import ID

LIMITS = {
    "submits_per_minute": 6,
    "uploads_per_minute": 2,
    "max_waiting_jobs": 3,
    "max_running_jobs": 5,
    "max_stored_bytes": 1000,
}
TRANSCRIBE = {"kind": "transcribe", "input": {"audio": "https://example.com/talk.mp3"}}
RECOMMEND = {"kind": "recommend", "input": {"catalogue": "https://example.com/films.csv", "history": ["Alien"]}}
CHAT = {"kind": "generate", "input": {"messages": [{"role": "user", "content": "Hello"}]}}


@pytest.fixture
def limited(settings, storage, ledger) -> Caller:
    """A caller of a deployment that has every limit."""
    key = keyfile.add(settings.keys_file, "acme")
    app = create_app(settings.model_copy(update=LIMITS))
    app.test_client_class = Caller
    made = app.test_client()
    made.key = key
    return made


def test_what_is_left_goes_down_as_it_is_used_and_the_last_one_fits(limited, hand):
    """The figures are those by which the next submit is judged."""
    before = limited.get("/v1/limits").json
    assert before["tenant"] == "acme" and before["submits"] == {"per_minute": 6, "left": 6, "reset_s": 0}
    limited.submit(), limited.submit(), hand.claim(), limited.submit()
    limited.post("/v1/uploads", json={"name": "a.wav", "bytes": 600})
    told = limited.get("/v1/limits").json
    assert told["submits"]["left"] == 3 and 20 < told["submits"]["reset_s"] <= 30
    assert told["uploads"]["left"] == 1
    assert told["waiting_jobs"] == {"most": 3, "used": 2, "left": 1}
    assert told["running_jobs"] == {"most": 5, "used": 1, "left": 4}
    assert told["stored_bytes"] == {"most": 1000, "used": 600, "left": 400}
    assert told["record_bytes"]["used"] > 3000 and told["undelivered_webhooks"]["used"] == 0
    problem(limited.post("/v1/uploads", json={"name": "b.wav", "bytes": 401}), 429, "quota_exceeded")
    limited.submit()
    problem(limited.post("/v1/jobs", json=PROMPT), 429, "quota_exceeded")
    assert limited.post("/v1/uploads", json={"name": "b.wav", "bytes": 400}).status_code == 201


def test_without_a_limit_there_is_none_and_the_bounds_are_those_of_the_settings(acme, settings):
    told = acme.get("/v1/limits").json
    assert told["submits"] is None and told["waiting_jobs"] == {"most": None, "used": 0, "left": None}
    assert told["requests"]["json_bytes"] == settings.json_max_bytes
    assert told["jobs"]["retention_s"] == settings.max_retention_s
    assert told["requests"]["streams"] == settings.http_streams_per_tenant
    assert "RateLimit" not in acme.post("/v1/jobs", json=PROMPT).headers


def test_an_operator_reads_anybodys_limits_and_a_tenant_its_own(operator, rival):
    rival.submit()
    assert operator.get("/v1/limits?tenant=rival").json["waiting_jobs"]["used"] == 1
    assert operator.get("/v1/limits").json["waiting_jobs"]["used"] == 0
    problem(rival.get("/v1/limits?tenant=acme"), 403, "forbidden")


def test_every_answer_of_what_makes_jobs_tells_the_rate(limited, hand):
    """A submit, its replay, which costs none, a batch with and without a job, a retry, a bulk replay, an upload."""
    again = {"Idempotency-Key": "one"}
    job = limited.post("/v1/jobs", json=PROMPT, headers=again)
    assert job.headers["RateLimit"] == '"submits";r=5;t=10' and job.headers["RateLimit-Policy"] == '"submits";q=6;w=60'
    assert limited.post("/v1/jobs", json=PROMPT, headers=again).headers["RateLimit"].startswith('"submits";r=5;')
    lines = {"content_type": "application/jsonl"}
    batch = limited.post("/v1/batches", data=json.dumps(PROMPT).encode(), **lines)
    assert batch.headers["RateLimit"].startswith('"submits";r=4;')
    assert limited.post("/v1/batches", data=b"{}", **lines).headers["RateLimit"].startswith('"submits";r=4;')
    limited.post(job.json["links"]["cancel"])
    assert limited.post(job.json["links"]["retry"]).headers["RateLimit"].startswith('"submits";r=3;')
    assert limited.post("/v1/dead-letters/replay").headers["RateLimit"].startswith('"submits";r=3;')
    upload = limited.post("/v1/uploads", json={"name": "a.wav", "bytes": 1})
    assert upload.headers["RateLimit"] == '"uploads";r=1;t=30' and "w=60" in upload.headers["RateLimit-Policy"]


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        (TRANSCRIBE | {"params": {"language": "de"}}, "/params/language", "English ('en') only; language 'de'"),
        (CHAT, "/input/messages", "transformer continues a text and knows no conversation"),
        (CHAT | {"model": "stories"}, "/input/messages", "no chat template"),
        (CHAT | {"params": {"mode": "embed"}}, "/input/messages", "mode embed reads a prompt"),
        (RECOMMEND | {"model": "svd"}, "/input/interactions", "svd learns from the input interactions"),
        (RECOMMEND | {"params": {"evaluate": True}}, "/params/evaluate", "interactions, which is not given"),
        (RECOMMEND | {"params": {"columns": {"user": "who"}}}, "/params/columns/user", "not given"),
    ],
)
def test_a_job_that_would_fail_for_certain_is_refused_at_submit(acme, body, pointer, words):
    refused = problem(acme.post("/v1/jobs", json=body), 422, "invalid_input")
    assert [error["pointer"] for error in refused["errors"]] == [pointer] and words in refused["errors"][0]["detail"]


def test_what_would_not_fail_is_taken(acme):
    """The same requests with what they lacked."""
    chosen = {**RECOMMEND["input"], "interactions": "https://example.com/views.csv"}
    for body in (
        TRANSCRIBE | {"params": {"language": "en"}},
        RECOMMEND | {"params": {"columns": {"id": "number"}}},
        RECOMMEND | {"model": "svd", "input": chosen, "params": {"columns": {"user": "who"}, "evaluate": True}},
        {**PROMPT, "params": {"mode": "embed"}},
        {**PROMPT, "model": "stories"},
    ):
        answer = acme.post("/v1/jobs", json=body)
        assert answer.status_code == 202 and ID.match(answer.json["id"]), answer.json
