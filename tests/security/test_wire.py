"""Bytes that are no HTTP request, or two at once, sent to a real server: refused, and the server lives."""

import json
import re
import socket

import httpx
import pytest

from api import keyfile
from tasks.ledger import Ledger
from tests.stack import Process, RedisServer, S3Server, Stack, make_settings, make_storage

HOST = b"Host: x\r\n"


@pytest.fixture(scope="module")
def api(redis_server: RedisServer, s3_server: S3Server, tmp_path_factory):
    """The API, and a `key` of it; its Redis has no keeper, which nothing here needs."""
    folder = tmp_path_factory.mktemp("wire")
    settings = make_settings(redis_server.for_a_stack(), s3_server, "test-wire", folder)
    make_storage(settings)
    Ledger(settings).set_epoch()
    key = keyfile.add(settings.keys_file, "acme")
    with Stack(settings, folder).api() as process:
        process.key = key
        yield process


@pytest.fixture
def client(api: Process):
    with httpx.Client(base_url=api.url, headers={"Authorization": f"Bearer {api.key}"}, trust_env=False) as made:
        yield made


def parsed(got: bytes) -> tuple[int, bytes, bytes] | None:
    """Status, head in small letters and body of a whole answer; None where something is missing yet."""
    head, found, body = got.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    if not found or not length or len(body) < int(length[1]):
        return None
    return int(head.split()[1]), head.lower(), body[: int(length[1])]


def answered(api: Process, sent: bytes, ends: bool = False) -> tuple[int, str, str]:
    """Status, media type and body of the first answer; `ends`: nothing more is sent, and the other side is told."""
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall(sent)
        if ends:
            line.shutdown(socket.SHUT_WR)
        got = b""
        while (found := parsed(got)) is None and (part := line.recv(65536)):
            got += part
    assert found, got
    status, head, body = found
    media = re.search(rb"content-type: ([^\r]*)", head)
    return status, media[1].decode() if media else "", body.decode()


JSON = b"Content-Type: application/json\r\n"
WHOLE = b'{"kind": "generate", "input": {"prompt": "x"}}'


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", 400),
        (b"GET /v1/jobs<script> HTTP/1.1\r\nHost x\r\n\r\n", 400),
        (b"G\0T / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 5000 + b"\r\n", 431),
        (b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Content-Length: -5\r\n\r\n", 400),
        (b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        (b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: rot13\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n Folded: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: Bearer \0secret\r\n\r\n", 400),
    ],
    ids=lambda value: ascii(value[-60:]) if isinstance(value, bytes) else None,
)
def test_what_is_no_request_is_refused_without_a_word(api, sent, status):
    """By the server itself, with an empty body: no echo of what was sent. The next who asks is served."""
    assert answered(api, sent) == (status, "", "")
    assert answered(api, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b@c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X_Forwarded_For: 10.0.0.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content_Length: 5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + (b"X: " + b"y" * 9000 + b"\r\n") * 8 + b"\r\n", 431),
        (b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"CONNECT 10.0.0.1:22 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ],
    ids=lambda value: ascii(value[-60:]) if isinstance(value, bytes) else None,
)
def test_a_head_that_can_be_read_in_two_ways_is_a_problem(api, sent, status):
    """Neither 500 nor Flask's business; the next who asks is served."""
    got, media, body = answered(api, sent)
    assert (got, media) == (status, "application/problem+json")
    problem = json.loads(body)
    assert problem["status"] == status and problem["code"] and problem["detail"]
    assert answered(api, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")[0] == 200


@pytest.mark.parametrize(
    ("head", "body", "ends"),
    [
        (b"Content-Length: 10000\r\n", WHOLE, True),
        (b"Transfer-Encoding: chunked\r\n", b"2e\r\n" + WHOLE + b"\r\n", True),
        (b"Transfer-Encoding: chunked\r\n", b"zz\r\n" + WHOLE + b"\r\n0\r\n\r\n", False),
        (b"Transfer-Encoding: chunked\r\n", b"20\r\n" + WHOLE + b"\r\n0\r\n\r\n", False),
        (b"Transfer-Encoding: chunked\r\n", b"-2e\r\n" + WHOLE + b"\r\n0\r\n\r\n", False),
        (b"Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\n" + WHOLE + b"\r\n0\r\n\r\n", False),
    ],
    ids=["short", "no last chunk", "no number", "too short a chunk", "negative", "beyond 64 bits"],
)
def test_a_body_that_is_not_whole_is_no_request(api, client, head, body, ends):
    """400, and no job: whatever came is never taken for all of it."""
    before = len(client.get("/v1/jobs").json()["data"])
    sent = b"POST /v1/jobs HTTP/1.1\r\n" + HOST + JSON + with_key(api) + head + b"\r\n" + body
    got, media, told = answered(api, sent, ends)
    assert (got, media) == (400, "application/problem+json"), told
    assert len(client.get("/v1/jobs").json()["data"]) == before


def test_nothing_follows_chunks_on_their_connection(api, client):
    """Who is in front of us may have read the length instead: what comes after is no request of theirs."""
    after = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    for twice in (b"Content-Length: 999\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\n"):
        host, port = api.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as line:
            line.sendall(
                b"POST /v1/jobs HTTP/1.1\r\n"
                + HOST
                + JSON
                + with_key(api)
                + twice
                + b"\r\n2e\r\n"
                + WHOLE
                + b"\r\n0\r\n\r\n"
                + after
            )
            got = b""
            while part := line.recv(65536):
                got += part
        assert got.count(b"HTTP/1.1 ") == 1 and b"connection: close" in got.lower(), got


@pytest.mark.parametrize(
    "head",
    [
        b"GET /%00%ff%fe HTTP/1.1\r\n",
        b"GET /v1/jobs/%2e%2e/%2e%2e HTTP/1.1\r\n",
        b"DELETE /../../etc/passwd HTTP/1.1\r\n",
        b"GET http://elsewhere.example/v1/jobs HTTP/1.1\r\n",
        b"TRACE / HTTP/1.1\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nAuthorization: Bearer \xff\xfe\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
    ],
    ids=ascii,
)
def test_an_odd_request_is_refused(api, head):
    got, media, body = answered(api, head + HOST + b"Connection: close\r\n\r\n")
    assert 400 <= got < 500 and media == "application/problem+json", body
    assert "Traceback" not in body


def with_key(api: Process) -> bytes:
    return b"Authorization: Bearer " + api.key.encode() + b"\r\n"
