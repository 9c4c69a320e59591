"""Inputs end to end: each form in which an input may come, on both pools, just under and just over each limit; what
the model gets is byte for byte what was sent."""

import gzip
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from api.client import ApiError, Client
from tasks.bucket.layout import media_type_of
from tasks.bucket.storage import Storage
from tasks.inputs import MIB
from tasks.service.intake import RECORDED_MAX_BYTES
from tests.models.echo import seen
from tests.stack import make_storage
from tests.strangers.conftest import Town
from tests.web import Web, serve

PROMPT_MAX = MIB
JSON_MAX, FORM_MAX = MIB + 2**19, 3 * MIB
ENDS_S = 60
ODD = '\ufeffone\r\ntwo\rthree\n\x00\t"\\é漢\U0001d11e '


@dataclass
class Ways:
    """One tenant's ways to send an input. Each gives back the job as it ended, or the answer that refused it."""

    town: Town
    http: httpx.Client
    client: Client
    web: Web
    bucket: Storage
    folder: Path

    def post(self, **request) -> dict | httpx.Response:
        answer = self.http.post("/v1/jobs", headers={"Prefer": "wait=30"}, **request)
        return self.client.wait(answer.json()["id"], ENDS_S) if answer.status_code == 202 else answer

    def json(self, kind: str, pool: str, **inputs) -> dict | httpx.Response:
        return self.post(json={"kind": kind, "model": f"{pool}-echo", "input": inputs})

    def form(self, kind: str, pool: str, files: dict | None = None, **texts: str) -> dict | httpx.Response:
        parts = {name: (None, text) for name, text in {"kind": kind, "model": f"{pool}-echo", **texts}.items()}
        return self.post(files={**parts, **(files or {})})

    def upload(self, data: bytes, name: str = "input.txt") -> str:
        made = self.http.post("/v1/uploads", json={"name": name, "bytes": len(data)}).json()
        httpx.put(made["url"], content=data, trust_env=False).raise_for_status()
        return made["source"]

    def served(self, data: bytes, **headers: str) -> str:
        return self.web.gives(f"/{uuid.uuid4().hex}", data, **headers)

    def beside(self, data: bytes) -> str:
        """In another bucket, as an s3 source."""
        key = f"inbox/{uuid.uuid4().hex}"
        self.bucket.put_bytes(key, data, media_type_of(key))
        return f"s3://{self.bucket.bucket}/{key}"

    def path(self, data: bytes) -> Path:
        path = self.folder / f"{uuid.uuid4().hex}.txt"
        path.write_bytes(data)
        return path


@pytest.fixture(scope="module")
def ways(make_town, s3_server, tmp_path_factory) -> Iterator[Ways]:
    films = f"films-{uuid.uuid4().hex[:12]}"
    for town in make_town(
        ("cpu", "gpu"),
        models=Path(__file__).parent.parent / "models" / "echo.toml",
        json_max_bytes=JSON_MAX,
        upload_max_bytes=FORM_MAX,
        s3_sources={"stranger": [f"{films}/inbox/"]},
    ):
        bucket = make_storage(town.stack.settings.model_copy(update={"s3_bucket": films}))
        with town.client as http, serve() as web:
            yield Ways(town, http, Client(town.api.url, town.key), web, bucket, tmp_path_factory.mktemp("files"))


@pytest.fixture(params=["cpu", "gpu"])
def pool(request) -> str:
    return request.param


def text_of(size: int, unit: str = ODD) -> str:
    """So many bytes of UTF-8, with all that a text may have."""
    whole = unit * (size // len(unit.encode()))
    return whole + "x" * (size - len(whole.encode()))


def by_client(ways: Ways, pool: str, value) -> dict | httpx.Response:
    try:
        return ways.client.submit("generate", {"prompt": value}, model=f"{pool}-echo", wait=ENDS_S)
    except ApiError as refused:
        return httpx.Response(refused.status, json=refused.problem)


def sent_by_client(ways: Ways, pool: str, data: bytes) -> dict | httpx.Response:
    """As an upload, which the client makes of the largest files."""
    return by_client(ways, pool, {"url": ways.client.upload(ways.path(data))})


PROMPT: dict[str, Callable[[Ways, str, bytes], dict | httpx.Response]] = {
    "json": lambda ways, pool, data: ways.json("generate", pool, prompt=data.decode()),
    "form text": lambda ways, pool, data: ways.form("generate", pool, prompt=data.decode()),
    "form file": lambda ways, pool, data: ways.form("generate", pool, files={"prompt": ("a.txt", data)}),
    "upload": lambda ways, pool, data: ways.json("generate", pool, prompt={"url": ways.upload(data)}),
    "http": lambda ways, pool, data: ways.json("generate", pool, prompt={"url": ways.served(data)}),
    "s3": lambda ways, pool, data: ways.json("generate", pool, prompt={"url": ways.beside(data)}),
    "client text": lambda ways, pool, data: by_client(ways, pool, data.decode()),
    "client file": lambda ways, pool, data: by_client(ways, pool, ways.path(data)),
    "client upload": sent_by_client,
}
FETCHED = {"http", "s3"}
"""Ways whose size is known to the worker only: the job fails where others are refused."""


@pytest.mark.parametrize("size", [1, RECORDED_MAX_BYTES - 2, RECORDED_MAX_BYTES - 1, PROMPT_MAX])
@pytest.mark.parametrize("way", PROMPT)
def test_a_prompt_reaches_the_model_byte_for_byte(ways, pool, way, size):
    """Carriage returns, NUL, a byte order mark and characters of four bytes as they were, there and in the output
    that it makes of them; and a retry gets the same."""
    text = text_of(size, ODD if size == PROMPT_MAX else "x")
    job = PROMPT[way](ways, pool, text.encode())
    assert isinstance(job, dict), job.text
    assert job["status"] == "succeeded", job["error"]
    assert json.loads(job["result"]["text"]) == {"prompt": seen(text)}
    assert ways.client.download(job["id"], "prompt.txt", ways.folder).read_bytes() == text.encode()
    if size != RECORDED_MAX_BYTES - 1:
        return
    again = ways.client.wait(ways.client.retry(job["id"])["id"], ENDS_S)
    assert json.loads(again["result"]["text"]) == {"prompt": seen(text)}, again["error"]


@pytest.mark.parametrize("way", PROMPT)
def test_a_prompt_of_one_byte_too_many_is_refused_with_the_limit(ways, pool, way):
    """413 where the size is known at once, else the job fails; either names the limit."""
    data = text_of(PROMPT_MAX + 1).encode()
    answer = PROMPT[way](ways, pool, data)
    if way in FETCHED:
        assert (answer["status"], answer["error"]["code"]) == ("failed", "too_large")
        assert "1048576" in answer["error"]["detail"].replace(",", "")
        return
    assert answer.status_code == 413 and answer.json()["code"] == "too_large", answer.text
    assert answer.json()["errors"][0]["pointer"].startswith("/input/prompt")
    assert f"{PROMPT_MAX:,}" in answer.json()["detail"]


def test_what_is_said_to_be_short_and_is_not_is_too_large(ways, pool):
    """A server without a length, and one that packs what it sends."""
    data = text_of(PROMPT_MAX + 1).encode()
    packed = gzip.compress(data)

    def unmeasured(request) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(data)

    for url in (ways.web.does("/unmeasured", unmeasured), ways.served(packed, content_encoding="gzip")):
        job = ways.json("generate", pool, prompt={"url": url})
        assert (job["status"], job["error"]["code"]) == ("failed", "too_large"), job


def test_the_prompt_of_the_case_that_failed(ways, pool):
    """33,800 bytes as JSON."""
    text = "The night train was late again, and nobody on the platform minded. " * 505
    job = ways.json("generate", pool, prompt=text[:33_800])
    assert json.loads(job["result"]["text"]) == {"prompt": seen(text[:33_800])}
    assert job["input"]["prompt"]["url"].startswith("upload:")


@pytest.mark.parametrize("blank", ["\ufeff", "\u200b \n\0"])
@pytest.mark.parametrize("way", PROMPT)
def test_a_prompt_in_which_nothing_can_be_seen_is_refused(ways, pool, way, blank):
    """At submit where the text is known then, else the job fails, once."""
    answer = PROMPT[way](ways, pool, blank.encode())
    if isinstance(answer, dict):
        assert (answer["status"], answer["error"]["code"]) == ("failed", "invalid_input"), answer
        assert "the prompt is empty" in answer["error"]["detail"] and len(answer["attempts"]) == 1
        return
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), answer.text
    assert answer.json()["errors"][0]["pointer"] == "/input/prompt" and "is empty" in answer.json()["detail"]


def test_an_empty_prompt_is_refused(ways, pool):
    for answer in (ways.json("generate", pool, prompt=""), ways.form("generate", pool, prompt="")):
        assert answer.status_code == 422 and "the prompt is empty" in answer.json()["detail"]


def test_an_empty_file_is_refused(ways, pool):
    answer = ways.form("generate", pool, files={"prompt": ("a.txt", b"")})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


def test_a_file_that_is_not_utf_8_is_no_text(ways, pool):
    job = ways.form("generate", pool, files={"prompt": ("a.txt", b"caf\xe9")})
    assert job["error"] == {"code": "invalid_input", "retryable": False, "detail": "prompt is not UTF-8 text: byte 3"}


# -- JSON inputs


def plain(value) -> str:
    """As JSON, as the record writes it."""
    return json.dumps(value, ensure_ascii=False)


def messages_of(size: int) -> list[dict]:
    """A conversation of so many bytes of JSON."""
    turn = {"role": "user", "content": "é\r\n" * 15_000}
    turns = [turn] * ((size - 100) // len(plain([turn]).encode()))
    left = size - len(plain([*turns, {"role": "user", "content": ""}]).encode())
    return [*turns, {"role": "user", "content": "x" * left}]


CONVERSATION: dict[str, Callable[[Ways, str, list], dict | httpx.Response]] = {
    "json": lambda ways, pool, value: ways.json("generate", pool, messages=value),
    "form text": lambda ways, pool, value: ways.form("generate", pool, messages=plain(value)),
    "form file": lambda ways, pool, value: ways.form(
        "generate", pool, files={"messages": ("m.json", plain(value).encode())}
    ),
    "client": lambda ways, pool, value: ways.client.submit(
        "generate", {"messages": value}, model=f"{pool}-echo", wait=ENDS_S
    ),
}


@pytest.mark.parametrize("size", [100, RECORDED_MAX_BYTES, RECORDED_MAX_BYTES + 1, MIB])
@pytest.mark.parametrize("way", CONVERSATION)
def test_a_conversation_reaches_the_model_whole(ways, pool, way, size):
    """A long one lies in the bucket, and the record is short; a retry gets the same."""
    value = messages_of(size)
    assert len(plain(value).encode()) == size
    job = CONVERSATION[way](ways, pool, value)
    assert isinstance(job, dict), job.text
    assert job["status"] == "succeeded", job["error"]
    assert json.loads(job["result"]["text"]) == {"messages": seen(value)}
    assert (job["input"]["messages"] != value) == (size > 1000), "long texts are not shown"
    assert isinstance(job["input"]["messages"], dict) == (size > RECORDED_MAX_BYTES)
    again = ways.client.wait(ways.client.retry(job["id"])["id"], ENDS_S)
    assert json.loads(again["result"]["text"]) == {"messages": seen(value)}, again["error"]


def test_people_and_tags_reach_the_model_whole(ways, pool):
    """Files and JSON values beside each other; numbers become texts as the contract says."""
    table = b"id,title\r\n1,\xc3\xa9\r\n" * 5000
    for given in ({"history": ["x" * 200] * 1000}, {"tags": ["drama\r\n", "noir"]}, {"users": list(range(100_000))}):
        ((name, value),) = given.items()
        job = ways.form(
            "recommend",
            pool,
            files={
                "catalogue": ("films.csv", table),
                "interactions": ("plays.csv", table),
                name: ("value.json", json.dumps(value).encode()),
            },
        )
        assert isinstance(job, dict), job.text
        told = {item["id"]: item["title"] for item in job["result"]["items"]}
        assert told == {
            "catalogue": seen_bytes(table),
            "interactions": seen_bytes(table),
            name: seen([str(one) for one in value]),
        }


def seen_bytes(data: bytes) -> str:
    return seen(data.decode())


# -- what is around the inputs


def free_part(size: int) -> dict:
    return {"note": "x" * (size - len('{"note": ""}') - len("{}"))}


def test_the_free_part_may_have_64_kib_and_no_more(ways, pool):
    """Of params and metadata together."""
    for size, status in ((64 * 1024, 202), (64 * 1024 + 1, 413)):
        answer = ways.http.post(
            "/v1/jobs",
            json={"kind": "generate", "model": f"{pool}-echo", "input": {"prompt": "x"}, "metadata": free_part(size)},
        )
        assert answer.status_code == status, answer.text
        assert status == 202 or "65,536" in answer.json()["detail"]
        if status == 202:
            assert ways.client.wait(answer.json()["id"], ENDS_S)["metadata"] == free_part(size)


def padded(body: dict, size: int) -> bytes:
    """The body as JSON of so many bytes: blanks are no part of a request but count."""
    data = json.dumps(body).encode()
    return data + b" " * (size - len(data))


@pytest.mark.parametrize(("size", "status"), [(JSON_MAX, 202), (JSON_MAX + 1, 413)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_json_body_has_a_limit(ways, size, status, chunked):
    body = padded({"kind": "generate", "input": {"prompt": "x" * 40_000}}, size)
    content = (body[start : start + 65_536] for start in range(0, size, 65_536)) if chunked else body
    answer = ways.http.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert status == 202 or f"a JSON body may have {JSON_MAX:,} bytes" in answer.json()["detail"]


def form_of(size: int, **parts: bytes) -> bytes:
    """A form whose body has so many bytes: a file of the length that is missing."""

    def body(filler: bytes) -> bytes:
        fields = [*parts.items(), ('catalogue"; filename="a.csv', filler)]
        heads = (f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() for name, _ in fields)
        return b"".join(head + value + b"\r\n" for head, (_, value) in zip(heads, fields, strict=True)) + b"--b--\r\n"

    return body(b"x" * (size - len(body(b""))))


@pytest.mark.parametrize(("size", "status"), [(FORM_MAX, 202), (FORM_MAX + 1, 413)])
def test_a_form_has_a_limit(ways, size, status):
    body = form_of(size, kind=b"recommend", history=b'["1"]')
    answer = ways.http.post("/v1/jobs", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code == status, answer.text
    assert status == 202 or f"a multipart body {FORM_MAX:,}" in answer.json()["detail"]


@pytest.mark.parametrize(("size", "status"), [(JSON_MAX - 1000, 202), (JSON_MAX + 1, 413)])
def test_the_text_fields_of_a_form_have_a_limit(ways, size, status):
    """Together that of a JSON body."""
    value = messages_of(size)
    answer = ways.http.post("/v1/jobs", files={"kind": (None, "generate"), "messages": (None, plain(value))})
    assert answer.status_code == status, answer.text
    assert status == 202 or f"fields may have {JSON_MAX:,} bytes" in answer.json()["detail"]


@pytest.mark.parametrize(("size", "status"), [(JSON_MAX, 202), (JSON_MAX + 1, 413)])
def test_the_file_of_a_json_input_has_a_limit(ways, size, status):
    """That of a JSON body."""
    data = plain(messages_of(MIB)).encode()
    answer = ways.http.post(
        "/v1/jobs", files={"kind": (None, "generate"), "messages": ("m.json", data + b" " * (size - len(data)))}
    )
    assert answer.status_code == status, answer.text
    assert status == 202 or f"{JSON_MAX:,} bytes that JSON may have" in answer.json()["detail"]


def test_an_upload_changed_after_the_submit_is_refused(ways, pool):
    """Whatever was put into its place, even of the same size."""
    made = ways.http.post("/v1/uploads", json={"name": "a.txt", "bytes": 5}).json()
    httpx.put(made["url"], content=b"right", trust_env=False).raise_for_status()
    answer = ways.http.post(
        "/v1/jobs",
        json={
            "kind": "generate",
            "model": f"{pool}-echo",
            "input": {"prompt": {"url": made["source"]}},
            "start_at": soon(),
        },
    )
    httpx.put(made["url"], content=b"wrong", trust_env=False).raise_for_status()
    job = ways.client.wait(answer.json()["id"], ENDS_S)
    assert job["status"] == "failed" and "was changed after the submit" in job["error"]["detail"]


def soon() -> str:
    """In two seconds."""
    return (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
