"""Small objects by obstore, against a real S3 server: its answers and errors are boto3's."""

import hashlib
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from tasks.bucket.direct import RETRIES, SMALL_BYTES, DirectStorage
from tasks.bucket.storage import NotTried, ObjectRefused, Patience, Storage
from tasks.errors import Canceled, NotFound, StorageUnavailable, TooLarge
from tests.stack import ACCESS_KEY, SECRET_KEY, free_port

PLAIN, ODD = "tenants/a/jobs/job_1/job.json", "tenants/a/uploads/upload_1/ein Ümlaut + %20.txt"
FEW = Patience(connect_s=1, read_s=2, attempts=1)


@pytest.fixture
def direct(settings, storage) -> DirectStorage:
    return DirectStorage(settings)


@pytest.mark.parametrize("key", [PLAIN, ODD])
@pytest.mark.parametrize("size", [0, 1000, SMALL_BYTES, SMALL_BYTES + 1])
def test_either_reads_what_the_other_puts(direct, storage, key, size):
    for writer, reader in ((direct, storage), (storage, direct), (direct, direct)):
        data = bytes([size % 251]) * size
        writer.put_bytes(key, data, "application/json")
        assert reader.get_bytes(key) == data
        assert reader.head(key) == writer.head(key) and reader.head(key).bytes == size
    assert storage._client().head_object(Bucket=storage.bucket, Key=key)["ContentType"] == "application/json"


@pytest.mark.parametrize("size", [0, 1000, SMALL_BYTES, SMALL_BYTES + 1])
def test_files_are_put_and_read_as_by_boto3(direct, storage, tmp_path, size):
    """Size and SHA-256 with them, on both sides of what is small."""
    sent, target = tmp_path / "sent", tmp_path / "target"
    sent.write_bytes(bytes([size % 251]) * size)
    told = {store.put_file(PLAIN, sent, "text/plain") for store in (storage, direct)}
    told |= {store.get_file(PLAIN, target, SMALL_BYTES + 1) for store in (storage, direct)}
    assert told == {(size, hashlib.sha256(sent.read_bytes()).hexdigest())} and not direct.paused_until
    assert target.read_bytes() == sent.read_bytes()


def test_a_file_that_is_missing_or_too_large_is_told_as_by_boto3(direct, storage, tmp_path):
    """And what `check` raises goes to the caller."""
    with pytest.raises(NotFound):
        direct.get_file(PLAIN, tmp_path / "target", 10)
    direct.put_bytes(PLAIN, b"eleven byte", "text/plain")
    for store in (storage, direct):
        assert store.get_file(PLAIN, tmp_path / "target", 11)[0] == 11
        with pytest.raises(TooLarge):
            store.get_file(PLAIN, tmp_path / "target", 10)

    def check():
        raise Canceled("stopped")

    with pytest.raises(Canceled):
        direct.get_file(PLAIN, tmp_path / "target", 11, check=check)


def test_a_file_of_another_bucket_is_read(settings, direct, tmp_path):
    other = settings.model_copy(update={"s3_bucket": settings.s3_bucket + "-other"})
    Storage(other).create_bucket()
    Storage(other).put_bytes(PLAIN, b"other", "text/plain")
    assert direct.get_file(PLAIN, tmp_path / "target", 10, bucket=other.s3_bucket)[0] == 5


@pytest.mark.parametrize("key", [PLAIN, ODD])
def test_an_object_that_is_missing_is_not_found(direct, key):
    with pytest.raises(NotFound, match="there is no object tenants/a"):
        direct.get_bytes(key)
    assert direct.head(key) is None


def test_a_bucket_that_is_missing_is_no_missing_object(settings):
    """A restore would take each job for one that has not ended."""
    nowhere = DirectStorage(settings.model_copy(update={"s3_bucket": "there-is-none"}))
    for ask in (lambda: nowhere.get_bytes(PLAIN), lambda: nowhere.put_bytes(PLAIN, b"", "text/plain")):
        with pytest.raises(StorageUnavailable, match="NoSuchBucket"):
            ask()


@pytest.mark.parametrize(
    "wrong", [{"s3_secret_access_key": SecretStr("another")}, {"s3_endpoint_url": f"http://127.0.0.1:{free_port()}"}]
)
def test_errors_are_in_the_words_of_boto3(settings, wrong):
    """They name neither the host nor the key."""
    words = []
    for cls in (Storage, DirectStorage):
        with pytest.raises(StorageUnavailable) as raised:
            cls(settings.model_copy(update=wrong), FEW).put_bytes(PLAIN, b"", "text/plain")
        words.append(raised.value.detail)
    assert words[0] == words[1]


def test_the_machines_own_keys_are_found(settings, direct, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    found = DirectStorage(settings.model_copy(update={"s3_access_key_id": None, "s3_secret_access_key": None}))
    found.put_bytes(PLAIN, b"mine", "text/plain")
    assert direct.get_bytes(PLAIN) == b"mine" and not found.paused_until


class Taking(BaseHTTPRequestHandler):
    """Takes every object; `server.seen` holds the headers of each, `server.breaks` how many are cut off before."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        if len(self.server.seen) <= self.server.breaks:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("ETag", '"e"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def taking() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    server.seen, server.breaks = [], 0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_request_that_is_cut_off_again_and_again_goes_to_boto3_and_the_next_ones_too(settings, taking, caplog):
    caplog.set_level(logging.INFO)
    taking.breaks = 1 + RETRIES
    direct = DirectStorage(settings.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{taking.server_port}"}))
    for number in range(3):
        direct.put_bytes(f"a/{number}", b"whole", "text/plain")
    assert ["Boto3" in seen["user-agent"] for seen in taking.seen] == [False] * taking.breaks + [True] * 3
    assert [line for line in caplog.messages if "boto3 alone" in line] == [
        "boto3 alone asks the bucket for 10 s (GenericError)"
    ]
    direct.paused_until = 0
    direct.put_bytes("a/4", b"whole", "text/plain")
    assert "Boto3" not in taking.seen[-1]["user-agent"]


def test_encryption_is_asked_for(settings, taking):
    wanted = {"s3_sse": "aws:kms", "s3_sse_kms_key_id": "arn:aws:kms:eu-west-1:1:key/2"}
    here = {"s3_endpoint_url": f"http://127.0.0.1:{taking.server_port}"}
    DirectStorage(settings.model_copy(update={**here, **wanted})).put_bytes(PLAIN, b"", "text/plain")
    (seen,) = taking.seen
    assert "Boto3" not in seen["user-agent"] and seen["x-amz-server-side-encryption"] == "aws:kms"
    assert seen["x-amz-server-side-encryption-aws-kms-key-id"] == wanted["s3_sse_kms_key_id"]


def test_rotated_keys_are_used_at_once(settings, taking, tmp_path):
    file = tmp_path / "keys"
    here = {"s3_endpoint_url": f"http://127.0.0.1:{taking.server_port}", "s3_credentials_file": file}
    direct = DirectStorage(settings.model_copy(update=here))
    for key in ("before", "afterwards"):
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n")
        direct.put_bytes(PLAIN, b"", "text/plain")
    assert ["Credential=before/" in seen["authorization"] for seen in taking.seen] == [True, False]


class Some(Storage):
    """Refuses keys that begin with `refused`, does not answer at those with `away`."""

    def put_bytes(self, key, data, media_type):
        if key.startswith("refused"):
            raise ObjectRefused("the bucket refused it")
        if key.startswith("unsendable"):
            key.encode("ascii")
        if key.startswith("away"):
            raise StorageUnavailable("the bucket did not answer")
        super().put_bytes(key, data, media_type)


def test_of_many_each_has_its_own_answer(settings, storage):
    """One that is refused stops no other; they are in the order of the objects."""
    sorts = ("fine", "refused", "fine", "unsendable-\N{SNOWMAN}")
    names = [f"{sorts[number % 4]}-{number}" for number in range(40)]
    answers = Some(settings).put_many([(name, name.encode(), "text/plain") for name in names])
    assert [isinstance(answer, ObjectRefused) for answer in answers] == [name[:4] != "fine" for name in names]
    assert all(storage.get_bytes(name) == name.encode() for name in names if name.startswith("fine"))
    assert storage.put_many([]) == []


def test_after_one_without_an_answer_the_rest_are_not_tried(settings, storage):
    answers = Some(settings).put_many([(f"away-{number}", b"", "text/plain") for number in range(200)])
    assert type(answers[0]) is StorageUnavailable and isinstance(answers[-1], NotTried)
    assert sum(not isinstance(answer, NotTried) for answer in answers) < 50


@pytest.mark.parametrize("names", [[], ["a"], ["job.json", "1-ab/x.txt", "1-ab/y/z.txt"], ["job.json", "1-ab/ä b.txt"]])
def test_all_below_a_prefix_goes_and_nothing_beside_it(direct, storage, names):
    """Names that S3 clients disagree about are left to boto3."""
    beside = ["tenants/a/jobs/job_10/job.json", "tenants/a/jobs/job_2/job.json"]
    for key in [*beside, *(f"tenants/a/jobs/job_1/{name}" for name in names)]:
        storage.put_bytes(key, b"x", "text/plain")
    assert direct.delete_prefix("tenants/a/jobs/job_1/") == len(names) and not direct.paused_until
    assert [seen.key for seen in storage.list("")] == beside


def test_a_prefix_that_is_no_folder_is_deleted_too(direct, storage):
    for key in ("a/b1", "a/b2/c", "a/c"):
        storage.put_bytes(key, b"x", "text/plain")
    assert direct.delete_prefix("a/b") == 2
    assert [seen.key for seen in storage.list("")] == ["a/c"]
    with pytest.raises(ValueError, match="the whole bucket"):
        direct.delete_prefix("")
