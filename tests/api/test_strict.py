"""What is not understood is refused, never passed over: bodies, queries, codings, forms."""

import gzip
import io
import json

import pytest

from api.operations import BY_ROUTE, OPERATIONS
from api.parameters import QUERIES
from tasks.errors import WorkerLost
from tasks.ledger import keys
from tests.api.conftest import PROMPT, problem, unknown_job

OF_V1 = [operation for operation in OPERATIONS if operation.path.startswith("/v1/")]


def named(operation) -> str:
    return f"{operation.method} {operation.path}"


def path_of(operation) -> str:
    path = operation.path
    for name, value in {"{job_id}": unknown_job(), "{name}": "x", "{kind}": "generate"}.items():
        path = path.replace(name, value)
    return path


@pytest.mark.parametrize("operation", OF_V1, ids=named)
def test_no_route_passes_over_a_query(operator, operation):
    """A word that it does not know: 422 with its name, before anything is looked for or done."""
    answer = operator.open(path_of(operation) + "?knid=generate", method=operation.method.upper())
    assert problem(answer, 422, "invalid_input")["errors"][0]["pointer"] == "/knid"
    answer = operator.open(path_of(operation) + "?kind=%ff", method=operation.method.upper())
    assert "UTF-8" in problem(answer, 400, "malformed")["detail"]


@pytest.mark.parametrize("operation", [o for o in OF_V1 if o.body is None], ids=named)
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"kind": "caption"}', "application/json"),
        (b"[]", "application/json"),
        (b"kind=caption", ""),
        (b"{}" + b" " * 70, "application/json"),
        (b"x" * 100_000, "text/plain"),
    ],
)
def test_no_route_passes_over_a_body(operator, operation, body, content_type):
    answer = operator.open(path_of(operation), method=operation.method.upper(), data=body, content_type=content_type)
    assert "takes no body" in problem(answer, 400, "malformed")["detail"]


@pytest.mark.parametrize("body", [b"", b"{}", b" {} \r\n", b"null"])
def test_a_body_that_says_nothing_is_none(acme, body):
    """HTTP libraries send one with every POST."""
    job = acme.submit()["id"]
    assert acme.post(f"/v1/jobs/{job}/cancel", data=body, content_type="application/json").status_code == 202


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/v1/dead-letters"), ("POST", "/v1/dead-letters/replay")])
def test_a_filter_in_a_body_does_not_concern_all(acme, hand, ledger, method, path):
    """The sample: it was passed over, and all dead letters were taken."""
    acme.submit(max_attempts=1)
    claimed = hand.claim()
    ledger.fail(claimed.fixed.id, claimed.token, WorkerLost("gone"))
    refused = acme.open(path, method=method, json={"model": "transformer"})
    problem(refused, *((400, "malformed") if method == "DELETE" else (422, "invalid_input")))
    assert ledger.redis.zcard(keys.dead("acme")) == 1
    assert acme.open(path + "?kind=caption", method=method).json["data"] == []
    assert len(acme.open(path + "?kind=generate", method=method).json["data"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        '{"kind": "generate", "kind": "caption", "input": {"prompt": "x"}}',
        '{"kind": "generate", "input": {"prompt": "x", "prompt": "y"}}',
        '{"kind": "generate", "input": {"prompt": "x"}, "metadata": {"a": [{"b": 1, "b": 1}]}}',
        '{"kind": "generate", "input": {"prompt": "x"}, "deadline_s": 5, "deadline_\\u0073": 500}',
    ],
)
def test_a_name_that_stands_twice_in_one_object_is_refused(acme, body):
    """One of the two would be dropped without a word."""
    answer = acme.post("/v1/jobs", data=body, content_type="application/json")
    assert "stands twice" in problem(answer, 400, "malformed")["detail"]


def test_a_name_that_stands_twice_is_refused_wherever_json_is_read(acme):
    problem(
        acme.post("/v1/uploads", data='{"name": "a", "name": "b"}', content_type="application/json"), 400, "malformed"
    )
    form = {"kind": "generate", "prompt": "x", "params": '{"seed": 1, "seed": 2}'}
    answer = acme.post("/v1/jobs", data=form, content_type="multipart/form-data")
    assert "'seed' stands twice" in problem(answer, 400, "malformed")["detail"]
    form = {"kind": "recommend", "catalogue": "https://example.com/c", "history": (io.BytesIO(b'[{"a":1,"a":2}]'), "h")}
    problem(acme.post("/v1/jobs", data=form, content_type="multipart/form-data"), 422, "invalid_input")
    twice_apart = {**PROMPT, "metadata": {"a": {"b": 1}, "c": {"b": 1}}}
    assert acme.post("/v1/jobs", json=twice_apart).status_code == 202


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "deflate", "gzip, gzip", "x"])
def test_a_packed_body_is_refused_by_name(acme, coding):
    """415, which says what may be sent; 'identity' is no packing."""
    body = gzip.compress(json.dumps(PROMPT).encode())
    for path in ("/v1/jobs", "/v1/uploads"):
        answer = acme.post(path, data=body, content_type="application/json", headers={"Content-Encoding": coding})
        assert coding.lower() in problem(answer, 415, "unsupported_media")["detail"]
        assert answer.headers["Accept-Encoding"] == "identity"
    assert acme.post("/v1/jobs", json=PROMPT, headers={"Content-Encoding": "identity"}).status_code == 202


def part(head: str, body: bytes = b"x") -> bytes:
    return b"--b\r\n" + head.encode("latin1") + b"\r\n\r\n" + body + b"\r\n"


def field(name: str, body: bytes = b"x", more: str = "") -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"{more}', body)


KIND, END = field("kind", b"generate"), b"--b--\r\n"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "never comes in the body"),
        (b"kind=generate", "never comes in the body"),
        (END.replace(b"b", b"c"), "never comes in the body"),
        (END, "no field"),
        (KIND, "breaks off in or after part 1 ('kind')"),
        (KIND + b"--b\r\nContent-Dis", "breaks off in or after part 1"),
        (KIND + field("prompt") + b"--b", "breaks off in or after part 2 ('prompt')"),
        (b"--b\r\n" + b"X: y\r\n\r\nz\r\n" + END, "the first part of the form has no header Content-Disposition"),
        (KIND + part("X: y") + END, "after part 1 ('kind') of the form has no header Content-Disposition"),
        (KIND + part("Content-Disposition: form-data") + END, "part 2 of the form has no name"),
        (KIND + part('Content-Disposition: form-data; name="\xff"') + END, "not UTF-8"),
        (KIND + field("prompt", b"caf\xe9") + END, "'prompt' is not UTF-8 text: byte 3"),
        (KIND + field("metadata", b'{"a": "\xff"}') + END, "'metadata' is not UTF-8 text"),
        (field("kind", b"\xff") + END, "'kind' is not UTF-8 text"),
        (KIND + field("prompt", b"x", "\r\nContent-Type: text/plain; charset=utf-16") + END, "charset 'utf-16'"),
        (KIND + field("prompt", b"\xe9", "\r\nContent-Type: text/plain; charset=us-ascii") + END, "not US-ASCII text"),
        (KIND + field("prompt", b"eA==", "\r\nContent-Transfer-Encoding: base64") + END, "transfer encoding 'base64'"),
    ],
)
def test_a_form_that_cannot_be_read_is_told_why(acme, body, said):
    answer = acme.post(
        "/v1/jobs",
        input_stream=io.BytesIO(body),
        content_type="multipart/form-data; boundary=b",
        content_length=len(body),
    )
    assert said in problem(answer, 400, "malformed")["detail"]


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        ("multipart/form-data", "names its boundary"),
        ("multipart/form-data; boundary=", "names its boundary"),
        ("multipart/form-data; boundary=\x80", "boundary"),
        ("multipart/form-data; boundary=" + "b" * 201, "200 characters"),
    ],
)
def test_a_boundary_that_is_none_is_told(acme, content_type, said):
    answer = acme.post("/v1/jobs", data=KIND + END, content_type=content_type)
    assert said in problem(answer, 400, "malformed")["detail"]


def test_a_form_has_a_thousand_parts_at_most(acme):
    """A thousand are read (and are no job), one more is too large; all texts together may have what a JSON body may."""
    answer = acme.post("/v1/jobs", data=KIND + field("a") * 999 + END, content_type="multipart/form-data; boundary=b")
    problem(answer, 422, "invalid_input")
    answer = acme.post("/v1/jobs", data=KIND + field("a") * 1000 + END, content_type="multipart/form-data; boundary=b")
    assert "1,000 parts" in problem(answer, 413, "too_large")["detail"]
    texts = KIND + field("prompt", b"x" * 2**19) + field("model", b"y" * 2**19) + END
    answer = acme.post("/v1/jobs", data=texts, content_type="multipart/form-data; boundary=b")
    assert "1,048,576" in problem(answer, 413, "too_large")["detail"]


def test_text_in_a_charset_that_it_names_is_read_in_it(acme):
    body = KIND + field("prompt", b"caf\xe9", "\r\nContent-Type: text/plain; charset=iso-8859-1") + END
    answer = acme.post("/v1/jobs", data=body, content_type="multipart/form-data; boundary=b")
    assert answer.status_code == 202 and answer.json["input"] == {"prompt": "caf\u00e9"}


def test_bytes_that_are_no_text_come_as_a_file(acme):
    answer = acme.post("/v1/jobs", data={"kind": "transcribe", "audio": (io.BytesIO(b"\xff\xfe"), "a.wav")})
    assert answer.status_code == 202


def test_head_and_options_are_answered_without_a_body(acme):
    job = acme.submit()["id"]
    for path in ("/v1/jobs", f"/v1/jobs/{job}", "/healthz"):
        answer = acme.head(path)
        assert answer.status_code == 200 and not answer.data and answer.content_type == "application/json"
        answer = acme.options(path)
        assert answer.status_code == 204 and set(answer.headers["Allow"].split(", ")) >= {"GET", "HEAD", "OPTIONS"}
        assert not {"Content-Type", "Content-Length"} & set(answer.headers.keys())
    assert acme.head("/v1/jobs/x").status_code == 404 == acme.options("/nowhere").status_code


def test_an_answer_without_a_body_has_no_content_type(acme, hand):
    """It would be HTML's."""
    job = acme.submit()["id"]
    hand.finish(hand.claim())
    moved, gone = acme.get(f"/v1/jobs/{job}/outputs/text.txt"), acme.delete(f"/v1/jobs/{job}")
    assert (moved.status_code, gone.status_code) == (307, 204)
    assert not [name for answer in (moved, gone) for name in dict(answer.headers) if name == "Content-Type"]


@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/xml", "application/json;q=0", "", "x" * 5000])
def test_whatever_is_accepted_the_answer_is_json(acme, accept):
    """There is one form of an answer, and a caller that cannot read it learns so from its content type."""
    assert acme.get("/v1/jobs", headers={"Accept": accept}).content_type == "application/json"
    problem(acme.get("/v1/jobs/x", headers={"Accept": accept}), 404, "not_found")


def test_the_document_says_what_each_route_reads():
    assert set(QUERIES) <= set(BY_ROUTE)
