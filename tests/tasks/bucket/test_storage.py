"""The bucket, against a real S3 server."""

import hashlib
import io
import json
import os

import httpx
import pytest
from pydantic import SecretStr

from tasks.bucket.layout import attempt_prefix, job_json_key, job_prefix, media_type_of, safe_name, upload_key
from tasks.bucket.storage import MIB, PART_BYTES, ObjectRefused, Storage
from tasks.errors import NotFound, StorageUnavailable, TooLarge
from tests.stack import SECRET_KEY, free_port
from tests.web import serve


@pytest.mark.parametrize("size", [0, 1, 100_000, PART_BYTES + 3 * MIB + 1])
def test_a_file_comes_back_as_it_went(storage, tmp_path, size):
    """Empty, small and in parts: the same bytes, and the same size and SHA-256 at both ends."""
    path, back = tmp_path / "file.bin", tmp_path / "back.bin"
    path.write_bytes(os.urandom(size))
    put = storage.put_file("a/file.bin", path, "application/octet-stream")
    assert put == (size, hashlib.sha256(path.read_bytes()).hexdigest())
    assert storage.get_file("a/file.bin", back, max_bytes=size) == put
    assert back.read_bytes() == path.read_bytes()


def test_a_stream_is_put_without_knowing_its_length(storage):
    """What comes in by multipart goes on to the bucket as it is read."""
    data = os.urandom(PART_BYTES + MIB)
    storage.put_stream("stream.bin", io.BytesIO(data), "application/octet-stream")
    assert storage.get_bytes("stream.bin") == data


def test_head_says_size_and_etag_and_none_where_nothing_is(storage):
    storage.put_bytes("a.txt", b"one", "text/plain")
    first = storage.head("a.txt")
    storage.put_bytes("a.txt", b"two", "text/plain")
    second = storage.head("a.txt")
    assert (first.key, first.bytes) == ("a.txt", 3)
    assert first.etag != second.etag and '"' not in first.etag
    assert first.modified.tzinfo is not None
    assert storage.head("b.txt") is None


def test_what_is_not_there_is_not_found(storage, tmp_path):
    with pytest.raises(NotFound, match="there is no object nothing.txt"):
        storage.get_bytes("nothing.txt")
    with pytest.raises(NotFound):
        storage.get_file("nothing.txt", tmp_path / "x", max_bytes=10)


def test_an_object_over_the_limit_is_refused_and_the_limit_named(storage, tmp_path):
    storage.put_bytes("big.bin", bytes(1001), "application/octet-stream")
    with pytest.raises(TooLarge, match="1000 bytes"):
        storage.get_file("big.bin", tmp_path / "big.bin", max_bytes=1000)


def test_a_prefix_is_listed_and_deleted_past_one_page(storage, monkeypatch):
    """Every object in the order of keys, with its size, though one answer of the server holds but ten."""
    monkeypatch.setattr("tasks.bucket.storage.PAGE_OBJECTS", 10)
    for number in range(31):
        storage.put_bytes(f"many/{number:05d}.txt", b"x" * (number % 3), "text/plain")
    storage.put_bytes("manyother.txt", b"", "text/plain")
    seen = list(storage.list("many/"))
    assert [o.key for o in seen] == [f"many/{number:05d}.txt" for number in range(31)]
    assert [o.bytes for o in seen[:4]] == [0, 1, 2, 0]
    assert storage.delete_prefix("many/") == 31
    assert [o.key for o in storage.list("many")] == ["manyother.txt"]


def test_deleting_twice_and_deleting_nothing_are_alike(storage):
    storage.put_bytes("p/a.txt", b"a", "text/plain")
    assert [storage.delete_prefix("p/") for _ in range(2)] == [1, 0]


def test_an_empty_prefix_never_deletes_the_bucket(storage):
    storage.put_bytes("a.txt", b"a", "text/plain")
    with pytest.raises(ValueError, match="whole bucket"):
        storage.delete_prefix("")
    assert storage.head("a.txt")


def test_a_link_opens_the_object_with_its_type_and_name(storage):
    """A caller without any key reads it; a browser saves it under the output's name."""
    storage.put_bytes("out/untertitel für dich.srt", b"1\n", "application/x-subrip")
    answer = httpx.get(storage.link("out/untertitel für dich.srt", "text/plain", "untertitel für dich.srt"))
    assert (answer.status_code, answer.content) == (200, b"1\n")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"untertitel f_r dich.srt\"; filename*=UTF-8''untertitel%20f%C3%BCr%20dich.srt"
    )


def test_a_link_changed_or_used_otherwise_is_refused(storage):
    storage.put_bytes("a.txt", b"a", "text/plain")
    storage.put_bytes("b.txt", b"b", "text/plain")
    link = storage.link("a.txt", "text/plain", "a.txt")
    assert httpx.get(link.replace("/a.txt", "/b.txt")).status_code == 403
    assert httpx.put(link, content=b"mine now").status_code == 403
    assert storage.get_bytes("a.txt") == b"a"


def test_a_link_names_the_public_address(settings, storage):
    """The host is part of the signature, so the link is made for the address that callers use."""
    public = Storage(settings.model_copy(update={"s3_public_endpoint_url": "https://files.example.com"}))
    assert public.link("a.txt", "text/plain", "a.txt").startswith(
        f"https://files.example.com/{settings.s3_bucket}/a.txt?"
    )
    assert public.upload_link("a.txt").startswith("https://files.example.com/")


def test_an_upload_link_takes_one_object(storage):
    key = upload_key("acme", "upload_01", "talk.mp3")
    assert httpx.put(storage.upload_link(key), content=b"sound").status_code == 200
    assert storage.get_bytes(key) == b"sound"


def test_making_the_bucket_twice_keeps_what_is_in_it(storage):
    storage.put_bytes("a.txt", b"a", "text/plain")
    storage.create_bucket()
    assert storage.get_bytes("a.txt") == b"a"


def test_check_tells_a_bucket_from_none(settings, storage):
    storage.check()
    with pytest.raises(StorageUnavailable, match=r"no such bucket \(BACKLOT_S3_BUCKET\)"):
        Storage(settings.model_copy(update={"s3_bucket": "test-not-made"})).check()


def test_check_names_the_keys_that_the_bucket_refuses(settings, storage):
    with pytest.raises(StorageUnavailable, match="BACKLOT_S3_ACCESS_KEY_ID"):
        Storage(settings.model_copy(update={"s3_secret_access_key": SecretStr("wrong-secret")})).check()


@pytest.mark.parametrize("status", [200, 301, 400])
def test_check_names_the_region_that_the_bucket_is_in(settings, status):
    """As AWS tells: by a header, whether it answers, redirects or refuses the signature. Links would not work."""
    with serve() as web:
        web.gives(f"/{settings.s3_bucket}", status=status, x_amz_bucket_region="eu-central-1")
        elsewhere = settings.model_copy(update={"s3_endpoint_url": web.url})
        with pytest.raises(StorageUnavailable, match="in the region eu-central-1, not in us-east-1"):
            Storage(elsewhere).check()


OPERATIONS = {
    "put_file": lambda s, path: s.put_file("k", path, "text/plain"),
    "put_bytes": lambda s, path: s.put_bytes("k", b"x", "text/plain"),
    "put_stream": lambda s, path: s.put_stream("k", io.BytesIO(b"x"), "text/plain"),
    "get_bytes": lambda s, path: s.get_bytes("k"),
    "get_file": lambda s, path: s.get_file("k", path.with_name("t"), 10),
    "head": lambda s, path: s.head("k"),
    "list": lambda s, path: list(s.list("k")),
    "delete_prefix": lambda s, path: s.delete_prefix("k"),
    "check": lambda s, path: s.check(),
    "create_bucket": lambda s, path: s.create_bucket(),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_refuses_us_is_unavailable_and_tells_no_secret(settings, tmp_path, operation):
    """Wrong credentials: retryable, and neither key, secret nor address stands in the text."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    wrong = Storage(settings.model_copy(update={"s3_secret_access_key": SecretStr("wrong-secret")}))
    with pytest.raises(StorageUnavailable) as caught:
        OPERATIONS[operation](wrong, path)
    assert caught.value.retryable
    _tells_nothing(caught.value, settings)


@pytest.mark.parametrize("operation", ["put_bytes", "get_bytes", "check"])
def test_a_server_that_is_away_is_unavailable(settings, tmp_path, operation):
    away = settings.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(StorageUnavailable) as caught:
        OPERATIONS[operation](Storage(away), tmp_path / "file")
    _tells_nothing(caught.value, away)


def _tells_nothing(error, settings):
    text = json.dumps(error.as_dict()) + str(error)
    for secret in (SECRET_KEY, "test-key", "wrong-secret", "127.0.0.1", "X-Amz", settings.s3_bucket):
        assert secret not in text


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("talk.mp3", "talk.mp3"),
        ("../../etc/passwd", "passwd"),
        ("C:\\films\\night of.mkv", "night of.mkv"),
        (".bashrc", "bashrc"),
        (".rclone_temp_x", "rclone_temp_x"),
        ("a\x00b\r\n.txt", "ab.txt"),
        ("..", "file"),
        ("", "file"),
        ("films/", "file"),
        ("   ", "file"),
        ("été 🎬.wav", "été 🎬.wav"),
        ("‮gpj.exe", "gpj.exe"),
    ],
)
def test_a_name_is_made_safe_for_keys_and_paths(given, kept):
    assert safe_name(given) == kept


def test_a_long_name_is_cut_in_front_of_its_extension():
    """200 bytes of UTF-8 at most, no character cut in half."""
    cut = safe_name("é" * 300 + ".json")
    assert len(cut.encode()) <= 200 and cut.endswith("é.json")
    assert len(safe_name("x." + "y" * 500).encode()) <= 200


def test_whatever_the_name_the_server_takes_it(storage):
    """Keys with names that people give files."""
    for name in ("a b.txt", "50% off?.txt", "x#y&z=1+2.txt", "\"quoted\" 'name'.txt", "日本語.txt", "x" * 400 + ".txt"):
        key = upload_key("acme", "upload_x", name)
        storage.put_bytes(key, name.encode(), "text/plain")
        assert storage.get_bytes(key) == name.encode()
        assert httpx.get(storage.link(key, "text/plain", name)).content == name.encode()


def test_all_of_a_job_lies_under_one_prefix_and_attempts_apart():
    assert upload_key("acme", "upload_7", "../a.wav") == "tenants/acme/uploads/upload_7/a.wav"
    assert job_json_key("acme", "job_7") == "tenants/acme/jobs/job_7/job.json"
    assert attempt_prefix("acme", "job_7", 2, "0123456789abcdef") == "tenants/acme/jobs/job_7/2-89abcdef/"
    assert attempt_prefix("acme", "job_7", 2, "0123456789abcdef").startswith(job_prefix("acme", "job_7"))


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.json", "application/json"),
        ("a.txt", "text/plain"),
        ("a.srt", "application/x-subrip"),
        ("a.vtt", "text/vtt"),
        ("a.wav", "audio/wav"),
        ("a.png", "image/png"),
        ("a.webp", "image/webp"),
        ("a.mp3", "audio/mpeg"),
        ("ratings.csv", "text/csv"),
        ("a.jsonl", "application/jsonl"),
        ("a.mp4", "video/mp4"),
        ("a.what", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_the_media_type_follows_the_extension(name, media_type):
    assert media_type_of(name) == media_type


def test_a_refusal_of_one_object_is_told_from_a_bucket_that_is_away(storage, settings):
    """A key that no bucket takes, and keys that open nothing."""
    with pytest.raises(ObjectRefused):
        storage.put_bytes("", b"x", "text/plain")
    with pytest.raises(ObjectRefused):
        storage.put_bytes("x" * 2000, b"x", "text/plain")
    locked_out = Storage(settings.model_copy(update={"s3_secret_access_key": SecretStr("wrong")}))
    with pytest.raises(StorageUnavailable) as caught:
        locked_out.put_bytes("a.txt", b"x", "text/plain")
    assert not isinstance(caught.value, ObjectRefused)
