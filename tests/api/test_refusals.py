"""Bad requests: each a precise 4xx that a person and a program can act on, and no job."""

import io

import pytest

from tasks.ledger import keys
from tests.api.conftest import PROMPT, in_seconds, problem


@pytest.fixture(autouse=True)
def _no_job_is_made(ledger):
    yield
    assert ledger.redis.zcard(keys.tenant_jobs("acme")) == 0


def refused(acme, status: int, code: str, pointer: str | None = None, **changes) -> dict:
    found = problem(acme.post("/v1/jobs", json={**PROMPT, **changes}), status, code)
    if pointer is not None:
        assert [error["pointer"] for error in found["errors"]] == [pointer]
    return found


def posted(acme, body: bytes, content_type: str = "application/json"):
    return acme.post("/v1/jobs", data=body, content_type=content_type)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"{'kind': 1}", b'{"kind": "generate"} x', b'"\\ud800"', b"[" * 999]
)
def test_a_body_that_is_no_json_is_malformed(acme, body):
    assert "not JSON" in problem(posted(acme, body), 400, "malformed")["detail"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/xml"])
def test_another_content_type_is_refused_by_name(acme, content_type):
    assert "multipart/form-data" in problem(posted(acme, b"{}", content_type), 415, "unsupported_media")["detail"]


def test_a_form_that_is_none_is_malformed(acme):
    problem(posted(acme, b"kind=generate", "multipart/form-data"), 400, "malformed")
    problem(posted(acme, b"junk", "multipart/form-data; boundary=x"), 400, "malformed")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"input": {}}, "/input"),
        ({"input": {"prompt": 5}}, "/input/prompt"),
        ({"input": {"prompt": {"link": "x"}}}, "/input/prompt/url"),
        ({"input": {"prompt": "x", "a/b~c": 1}}, "/input/a~1b~0c"),
        ({"params": {"max_tokens": "5"}}, "/params/max_tokens"),
        ({"params": {"max_tokens": 5000}}, "/params/max_tokens"),
        ({"params": {"speed": 1}}, "/params/speed"),
        ({"params": {"stop": ["a", ""]}}, "/params/stop/1"),
        ({"priority": 11}, "/priority"),
        ({"urgent": True}, "/urgent"),
        ({"start_at": "tomorrow"}, "/start_at"),
        ({"start_at": "2030-01-01T00:00:00"}, "/start_at"),
        ({"start_at": in_seconds(400 * 86_400)}, "/start_at"),
        ({"deadline_s": 10, "start_at": in_seconds(3600)}, "/deadline_s"),
        ({"run_timeout_s": 301}, "/run_timeout_s"),
        ({"queue_ttl_s": 8 * 86_400}, "/queue_ttl_s"),
        ({"retention_s": 91 * 86_400}, "/retention_s"),
        ({"max_attempts": 0}, "/max_attempts"),
        ({"metadata": []}, "/metadata"),
        ({"kind": None}, "/kind"),
    ],
)
def test_a_field_that_does_not_fit_is_named_by_its_pointer(acme, changes, pointer):
    found = refused(acme, 422, "invalid_input", **changes)
    assert pointer in [error["pointer"] for error in found["errors"]]


@pytest.mark.parametrize(
    ("changes", "pointer", "told"),
    [
        ({"input": {"prompt": "\ufeff"}}, "/input/prompt", "the prompt is empty: give at least one character"),
        ({"input": {"prompt": ""}}, "/input/prompt", "the prompt is empty"),
        ({"input": {"prompt": "\u200b\x00 \n"}}, "/input/prompt", "the prompt is empty"),
        ({"input": {"messages": [{"role": "user", "content": "\ufeff"}]}}, "/input/messages", "is empty"),
        ({"params": {"grammar": "public <x> = <NULL>;"}}, "/params/grammar", "has no word; write the words"),
        ({"params": {"grammar": "public <x> = <VOID>;"}}, "/params/grammar", "has no sentence"),
        ({"params": {"grammar": "public <x> = <y>;"}}, "/params/grammar", "has no rule <y>"),
        ({"params": {"words": ["yes", "\ufeff"]}}, "/params/words", "one of the words is empty"),
        ({"params": {"words": ["yes"], "grammar": "public <x> = yes;"}}, "/params", "not both"),
    ],
    ids=ascii,
)
def test_a_text_that_says_nothing_is_refused_at_submit(acme, changes, pointer, told):
    """A byte order mark alone, a grammar of no sentence or of silence, a word that is none."""
    speech = {"kind": "transcribe", "input": {"audio": "https://example.com/a.wav"}} if "params" in changes else {}
    assert told in refused(acme, 422, "invalid_input", pointer, **speech, **changes)["errors"][0]["detail"]


def test_a_limit_that_was_passed_is_stated(acme):
    """The error names what is allowed."""
    assert "300 s" in refused(acme, 422, "invalid_input", "/run_timeout_s", run_timeout_s=1e6)["detail"]
    assert "65,536" in refused(acme, 413, "too_large", metadata={"a": "x" * 70_000})["detail"]
    assert "1,048,576" in refused(acme, 413, "too_large", input={"prompt": "x" * 2**20})["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"kind":"generate","input":{"prompt":"x"},"params":{"temperature":NaN}}', "/params/temperature"),
        (b'{"kind":"generate","input":{"prompt":"x"},"params":{"top_p":-Infinity}}', "/params/top_p"),
        (b'{"kind":"generate","input":{"prompt":"x"},"params":{"temperature":1e999}}', "/params/temperature"),
        (b'{"kind":"generate","input":{"prompt":"x"},"deadline_s":Infinity}', "/deadline_s"),
        (b'{"kind":"generate","input":{"prompt":"x"},"metadata":{"a":[1,{"b":NaN}]}}', "/metadata/a/1/b"),
    ],
)
def test_numbers_that_are_not_finite_are_refused(acme, body, pointer):
    assert [error["pointer"] for error in problem(posted(acme, body), 422, "invalid_input")["errors"]] == [pointer]


def test_unknown_kinds_and_models_are_told_what_there_is(acme):
    assert "generate" in refused(acme, 422, "unknown_model", kind="dance")["detail"]
    assert "lstm" in refused(acme, 422, "unknown_model", model="gpt-9")["detail"]
    form = {"kind": "dance", "audio": (io.BytesIO(b"x"), "a.wav")}
    problem(acme.post("/v1/jobs", data=form), 422, "unknown_model")


@pytest.mark.parametrize(
    "source",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "ftp://example.com/a",
        "gopher://example.com",
        "data:text/plain,x",
        "http://example.com/a.txt",
        "https://user:pass@example.com/a.txt",
        "https://10.0.0.1/a",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/a",
        "https://2130706434/a",
        "https://0x7f.2/a",
        "https://[::ffff:10.0.0.1]/a",
        "https://127.1.1.1/a",
        "s3://somebodys-bucket/key",
        "s3://bucket",
        "upload:../../x",
        "upload:upload_",
        "https://",
    ],
)
def test_sources_that_may_not_be_read_are_refused_at_submit(acme, source):
    """Local files, private addresses in any spelling, other people's buckets."""
    refused(acme, 422, "invalid_input", "/input/prompt/url", input={"prompt": {"url": source}})


def test_a_private_address_is_refused_with_the_setting_that_would_allow_it(acme):
    found = refused(acme, 422, "invalid_input", "/input/prompt/url", input={"prompt": {"url": "https://192.168.0.9/a"}})
    assert "BACKLOT_FETCH_ALLOW" in found["detail"]


def test_our_own_bucket_is_no_source(acme, settings):
    url = f"s3://{settings.s3_bucket}/tenants/rival/jobs/x/1-abc/text.txt"
    refused(acme, 422, "invalid_input", "/input/prompt/url", input={"prompt": {"url": url}})


def test_an_upload_is_the_tenants_own_or_none(acme, rival, storage):
    """Another tenant's upload is told apart in nothing from one that does not exist."""
    theirs = rival.post("/v1/uploads", json={"name": "a.wav"}).json
    storage.put_bytes(f"tenants/rival/uploads/{theirs['id']}/a.wav", b"x", "audio/wav")
    source = theirs["source"]
    answer = acme.post("/v1/jobs", json={"kind": "transcribe", "input": {"audio": source}})
    found = problem(answer, 422, "invalid_input")
    assert found["errors"][0]["pointer"] == "/input/audio" and "there is no upload" in found["detail"]


def test_an_upload_larger_than_the_kind_reads_is_refused_at_once(acme, storage):
    made = acme.post("/v1/uploads", json={"name": "act.txt"}).json
    storage.put_bytes(f"tenants/acme/uploads/{made['id']}/act.txt", b"x" * (2**20 + 1), "text/plain")
    found = refused(acme, 413, "too_large", "/input/prompt/url", input={"prompt": {"url": made["source"]}})
    assert "1,048,577" in found["detail"] and "1,048,576" in found["detail"]


def test_a_file_larger_than_the_kind_reads_is_refused_at_once(acme):
    form = {"kind": "generate", "prompt": (io.BytesIO(b"x" * (2**20 + 1)), "act.txt")}
    assert problem(acme.post("/v1/jobs", data=form), 413, "too_large")["errors"][0]["pointer"] == "/input/prompt/url"


def test_an_empty_file_is_refused(acme):
    form = {"kind": "transcribe", "audio": (io.BytesIO(b""), "talk.wav")}
    assert "empty" in problem(acme.post("/v1/jobs", data=form), 422, "invalid_input")["detail"]


def test_a_form_says_what_is_wrong_with_its_fields(acme):
    def refusal(status=422, code="invalid_input", **form):
        return problem(acme.post("/v1/jobs", data=form, content_type="multipart/form-data"), status, code)

    assert "params" in refusal(400, "malformed", kind="generate", prompt="x", params="{")["detail"]
    assert refusal(kind="generate", prompt="x", priority="high")["errors"][0]["pointer"] == "/priority"
    assert refusal(kind="generate", prompt=["x", "y"])["errors"][0]["pointer"] == "/input/prompt"
    assert refusal(kind="generate", prompt="x", model=["a", "b"])["errors"][0]["pointer"] == "/model"
    assert refusal(kind="generate", prompt="x", extra=(io.BytesIO(b"x"), "x"))["errors"][0]["pointer"] == "/input/extra"
    assert refusal(kind="generate", prompt="x", params=(io.BytesIO(b"{}"), "x"))["errors"][0]["pointer"] == "/params"
    assert refusal(kind="recommend", catalogue="https://example.com/c", history=(io.BytesIO(b"{"), "x"))["errors"]


def test_a_gigabyte_is_refused_by_its_length_unread(acme):
    """Nothing is read: there is not one byte of body behind the header."""
    for content_type in ("application/json", "multipart/form-data; boundary=x"):
        answer = acme.post("/v1/jobs", content_type=content_type, environ_overrides={"CONTENT_LENGTH": str(2**30)})
        detail = problem(answer, 413, "too_large")["detail"]
        assert "/v1/uploads" in detail and "104,857,600" in detail and "1,048,576" in detail


def test_a_json_body_over_its_own_limit_is_too_large(acme):
    problem(posted(acme, b'"' + b"x" * 2**20 + b'"'), 413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/nowhere", 404, "not_found"),
        ("GET", "/v1/jobs/", 404, "not_found"),
        ("GET", "//v1/jobs", 404, "not_found"),
        ("PUT", "/v1/jobs", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
        ("GET", "/v1/jobs/../../etc/passwd", 404, "not_found"),
        ("GET", "/v1/models/dance/x", 404, "not_found"),
    ],
)
def test_what_is_not_there_is_told_as_a_problem(acme, method, path, status, code):
    answer = acme.open(path, method=method)
    problem(answer, status, code)
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    "query",
    [
        "status=done",
        "limit=0",
        "limit=101",
        "limit=x",
        "cursor=x",
        "cursor=eHh4",
        "page=2",
        "kind=dance",
        "limit=1&limit=2",
    ],
)
def test_a_list_is_asked_for_in_its_own_words(acme, query):
    found = problem(acme.get(f"/v1/jobs?{query}"), 422, "invalid_input")
    assert found["errors"][0]["pointer"] == "/" + query.partition("=")[0]


@pytest.mark.parametrize("key", ["", '""', "ä", "x" * 256, '"a"b"', "tab\there"])
def test_an_idempotency_key_has_a_form(acme, key):
    headers = {"Idempotency-Key": key.encode().decode("latin1")}
    problem(acme.post("/v1/jobs", json=PROMPT, headers=headers), 400, "malformed")


@pytest.mark.parametrize("job_id", ["job_" + "0" * 26, "job_x", "..", "job_" + "0" * 26 + "\n", "%00", "x" * 3000])
def test_a_job_that_is_not_there_is_not_found(acme, job_id):
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("POST", "/retry"), ("GET", "/outputs/a")):
        problem(acme.open(f"/v1/jobs/{job_id}{path}", method=method), 404, "not_found")
