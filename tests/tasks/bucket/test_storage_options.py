"""What is asked of the bucket with all that is put, and keys that change without a stop.

rclone knows no encryption, so a server of a few lines notes what boto3 really sends.
"""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from tasks.bucket.storage import MIB, PART_BYTES, Storage
from tasks.errors import StorageUnavailable
from tasks.settings import Settings
from tests.stack import ACCESS_KEY, SECRET_KEY

SSE, KMS_KEY = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"
BEGUN = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
DONE = b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"


class Noting(BaseHTTPRequestHandler):
    """Takes every object and every part of one; `server.seen` holds (method, query, headers)."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self._note()
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(BEGUN if "uploads" in self._note() else DONE)

    def _note(self) -> set[str]:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        query = set(parse_qs(urlsplit(self.path).query, keep_blank_values=True))
        self.server.seen.append((self.command, query, {name.lower(): value for name, value in self.headers.items()}))
        return query

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("ETag", '"e"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def noting() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Noting)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


WANTED = [
    ({}, {}),
    ({"s3_sse": "AES256"}, {SSE: "AES256"}),
    ({"s3_sse": "aws:kms"}, {SSE: "aws:kms"}),
    ({"s3_sse": "aws:kms", "s3_sse_kms_key_id": "key-1"}, {SSE: "aws:kms", KMS_KEY: "key-1"}),
]


@pytest.mark.parametrize(("asked", "wanted"), WANTED)
def test_encryption_is_asked_for_with_all_that_is_put(noting, tmp_path, asked, wanted):
    """Small and in parts, from memory, a file or a stream, and by a link; parts themselves say nothing of it."""
    storage = Storage(
        Settings(
            s3_endpoint_url=f"http://127.0.0.1:{noting.server_port}",
            s3_bucket="any",
            s3_access_key_id=SecretStr("k"),
            s3_secret_access_key=SecretStr("s"),
            **asked,
        )
    )
    noting.seen.clear()
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(PART_BYTES + MIB))
    storage.put_bytes("a", b"x", "text/plain")
    storage.put_file("b", path, "text/plain")
    with path.open("rb") as stream:
        storage.put_stream("c", stream, "text/plain")
    httpx.put(storage.upload_link("d", 1), content=b"x", headers=storage.upload_headers, trust_env=False)
    assert storage.upload_headers == wanted
    begins = [
        headers
        for method, query, headers in noting.seen
        if (method == "PUT" and "partNumber" not in query) or "uploads" in query
    ]
    assert [{name: headers[name] for name in (SSE, KMS_KEY) if name in headers} for headers in begins] == [wanted] * 4
    parts = [headers for _, query, headers in noting.seen if "partNumber" in query]
    assert len(parts) == 4 and not any(name.startswith(SSE) for headers in parts for name in headers)


def test_a_link_signs_what_its_put_must_send(storage):
    """Without the headers a real server refuses it."""
    asking = Storage(storage.settings.model_copy(update={"s3_sse": "AES256"}))
    link = asking.upload_link("a.txt", 3)
    assert httpx.put(link, content=b"abc", trust_env=False).status_code == 403
    assert httpx.put(link, content=b"abc", headers=asking.upload_headers, trust_env=False).status_code == 200
    assert storage.get_bytes("a.txt") == b"abc"


@pytest.mark.parametrize(
    "wrong", [{"s3_sse": "rot13"}, {"s3_sse_kms_key_id": "k"}, {"s3_sse": "AES256", "s3_sse_kms_key_id": "k"}]
)
def test_encryption_that_is_none_is_refused(wrong):
    with pytest.raises(ValidationError, match="s3_sse"):
        Settings(**wrong)


class TestCredentialsFile:
    """Written anew by whoever rotates the keys; no process is started again."""

    @pytest.fixture
    def file(self, tmp_path):
        return tmp_path / "credentials"

    @pytest.fixture
    def by_file(self, storage, file) -> Storage:
        unset = {"s3_access_key_id": None, "s3_secret_access_key": None, "s3_credentials_file": file}
        return Storage(storage.settings.model_copy(update=unset))

    def write(self, file, secret: str) -> None:
        """As it should be: whole, by a rename."""
        new = file.with_suffix(".new")
        new.write_text(f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {secret}\n")
        new.replace(file)

    def test_keys_are_read_again_when_the_file_changes(self, by_file, file):
        self.write(file, "not-yet-the-secret")
        with pytest.raises(StorageUnavailable, match="SignatureDoesNotMatch"):
            by_file.put_bytes("a", b"x", "text/plain")
        self.write(file, SECRET_KEY)
        by_file.put_bytes("a", b"x", "text/plain")
        self.write(file, "rotated-away")
        with pytest.raises(StorageUnavailable):
            by_file.get_bytes("a")
        self.write(file, SECRET_KEY)
        assert httpx.get(by_file.link("a", "text/plain", "a"), trust_env=False).content == b"x"

    @pytest.mark.parametrize("left", [None, "", "[default]\naws_access_key_id = only\n", "no ini"])
    def test_a_file_that_cannot_be_read_changes_nothing(self, by_file, file, left):
        """Half written, or gone for a moment."""
        self.write(file, SECRET_KEY)
        by_file.put_bytes("a", b"x", "text/plain")
        file.unlink()
        if left is not None:
            file.write_text(left)
        assert by_file.get_bytes("a") == b"x"

    def test_without_any_keys_yet_the_setting_is_named(self, by_file):
        with pytest.raises(StorageUnavailable, match=r"BACKLOT_S3_CREDENTIALS_FILE .* \[default\]"):
            by_file.get_bytes("a")
