"""Bytes that are no HTTP request, sent to a real server: a problem, the connection's end, and the server lives."""

import json
import socket

import pytest

from api import keyfile
from tests.stack import Process, RedisServer, S3Server, Stack, make_settings, make_storage

HOST = b"Host: x\r\n"


@pytest.fixture(scope="module")
def api(redis_server: RedisServer, s3_server: S3Server, tmp_path_factory):
    """The API under gunicorn; its Redis has no keeper, which nothing here needs."""
    folder = tmp_path_factory.mktemp("wire")
    settings = make_settings(redis_server.url(13), s3_server, "test-wire", folder)
    make_storage(settings)
    keyfile.add(settings.keys_file, "acme")
    with Stack(settings, folder).api() as process:
        yield process


def answered(api: Process, sent: bytes) -> tuple[int, str, str]:
    """Status, media type and body of the first answer."""
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall(sent)
        line.shutdown(socket.SHUT_WR)
        got = b""
        while part := line.recv(65536):
            got += part
    head, _, body = got.partition(b"\r\n\r\n")
    media = next(field for field in head.decode().lower().split("\r\n") if field.startswith("content-type:"))
    return int(head.split()[1]), media.partition(":")[2].strip(), body.decode()


@pytest.mark.parametrize(("sent", "status"), [
    (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400), (b"GET\r\n\r\n", 400),
    (b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", 400),
    (b"GET /v1/jobs<script> HTTP/1.1\r\nHost x\r\n\r\n", 400), (b"G\0T / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 100_000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 5000 + b"\r\n", 431),
    (b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Content-Length: -5\r\n\r\n", 400),
    (b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    (b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: rot13\r\n\r\n", 501),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: Bearer \0secret\r\n\r\n", 400)],
    ids=lambda value: ascii(value[-60:]) if isinstance(value, bytes) else None)
def test_what_is_no_request_is_told_as_a_problem(api, sent, status):
    """Neither HTML nor an echo of what was sent; and the next who asks is served."""
    got, media, body = answered(api, sent)
    assert (got, media) == (status, "application/problem+json")
    problem = json.loads(body)
    assert problem["status"] == status and problem["code"] and problem["detail"] and "secret" not in body
    assert answered(api, b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")[0] == 200


@pytest.mark.parametrize("head", [
    b"GET /%00%ff%fe HTTP/1.1\r\n", b"GET /v1/jobs/%2e%2e/%2e%2e HTTP/1.1\r\n",
    b"DELETE /../../etc/passwd HTTP/1.1\r\n",
    b"GET http://elsewhere.example/v1/jobs HTTP/1.1\r\n", b"OPTIONS * HTTP/1.1\r\n", b"TRACE / HTTP/1.1\r\n",
    b"CONNECT 10.0.0.1:22 HTTP/1.1\r\n", b"GET /v1/jobs HTTP/1.1\r\nAuthorization: Bearer \xff\xfe\r\n",
    b"POST /v1/jobs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"], ids=ascii)
def test_an_odd_request_is_refused(api, head):
    got, media, body = answered(api, head + HOST + b"Connection: close\r\n\r\n")
    assert 400 <= got < 500 and media == "application/problem+json", body
    assert "Traceback" not in body
