"""The bucket: put, get, head, list, delete and presigned links. boto3 is in no other file; layout.py has the keys.

boto3 is imported at the first call: it takes a tenth of a second and 10 MiB, and many processes need no bucket.
It knows nothing of records, and keeps to the plain S3 operations that every S3 server has. A link
never stands in an error's text: it opens the object to whoever reads it.
"""

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote

from tasks.bucket import credentials
from tasks.bucket.credentials import Keys
from tasks.errors import NotFound, StorageUnavailable, TooLarge
from tasks.settings import Settings

MIB = 1024 * 1024
PART_BYTES = 16 * MIB
"""A larger file goes in parts of this size."""
THREADS = 16
"""Objects that are put at once, at most."""
PAGE_OBJECTS = 1000
"""Objects of one listing or deletion, S3's own limit."""
Check = Callable[[], None]
MISSING = {"404", "NoSuchKey", "NotFound"}
NOT_THE_OBJECT = {
    "NoSuchBucket",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "RequestTimeTooSkewed",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "AuthorizationHeaderMalformed",
    "SlowDown",
    "TooManyRequests",
    "429",
    "RequestTimeout",
    "408",
}
"""Codes of 4xx answers that any object would get: the fault is not the object's."""
UNKNOWN_OPERATION = {"501", "405", "NotImplemented", "MethodNotAllowed"}


def measured(stream: BinaryIO) -> tuple[int, str]:
    """Bytes and SHA-256 in hex of a stream from where it stands to its end. The size is counted: hashlib.file_digest
    reads a BytesIO without moving it, so that its position says nothing."""
    whole, size = hashlib.sha256(), 0
    while chunk := stream.read(MIB):
        size += len(chunk)
        whole.update(chunk)
    return size, whole.hexdigest()


@dataclass(frozen=True)
class Object:
    """One object's metadata. `etag` has no quotes; it changes when the content does."""

    key: str
    bytes: int
    etag: str
    modified: datetime


@dataclass(frozen=True)
class Unfinished:
    """An upload in parts that was begun and not finished; its parts are in no list, and cost what objects cost."""

    key: str
    upload_id: str
    begun: datetime


class ObjectRefused(StorageUnavailable):
    """The bucket answers, and refuses this one object: its key, its size, a policy, a storage class."""


class NotTried(StorageUnavailable):
    """One of many objects, not tried: the bucket did not answer at one before it."""


class NotSupported(StorageUnavailable):
    """The server does not know the operation."""

    retryable = False


class Patience(NamedTuple):
    """Bounds on the bucket's silence in one call, in seconds, and the number of attempts. Slow transfers have none."""

    connect_s: int
    read_s: int
    attempts: int


JOBS_PATIENCE = Patience(connect_s=2, read_s=20, attempts=4)
"""Workers and keepers: nobody waits for the answer."""
CALLERS_PATIENCE = Patience(connect_s=2, read_s=5, attempts=2)
"""The API: a caller waits. One retry, for a kept connection that the server has closed; callers are told to retry."""
CHECKS_PATIENCE = Patience(connect_s=1, read_s=1, attempts=1)


class Storage:
    """One bucket, for any number of threads. Errors of every method: StorageUnavailable."""

    def __init__(self, settings: Settings, patience: Patience = JOBS_PATIENCE) -> None:
        self.settings, self.patience = settings, patience
        self.bucket = settings.s3_bucket

    def put_file(self, key: str, path: Path, media_type: str) -> tuple[int, str]:
        """Upload a file, in parts where it is large; its size in bytes and its SHA-256 in hex."""
        with path.open("rb") as file:
            size, sha256 = measured(file)
        with _unavailable("PutObject"):
            self._client().upload_file(str(path), self.bucket, key, **self._in_parts(media_type))
        return size, sha256

    def put_bytes(self, key: str, data: bytes, media_type: str) -> None:
        """Uploads bytes."""
        with _unavailable("PutObject"):
            self._client().put_object(
                Bucket=self.bucket, Key=key, Body=data, ContentType=media_type, **self._encryption
            )

    def put_many(self, objects: Sequence[tuple[str, bytes, str]]) -> list[StorageUnavailable | None]:
        """Uploads (key, bytes, media type), several at once; the error of each, or None. After silence: NotTried."""
        away = threading.Event()

        def put(one: tuple[str, bytes, str]) -> StorageUnavailable | None:
            if away.is_set():
                return NotTried("the bucket did not answer")
            try:
                self.put_bytes(*one)
            except StorageUnavailable as error:
                if not isinstance(error, ObjectRefused):
                    away.set()
                return error
            except Exception as error:  # one that cannot even be sent stops no other
                return ObjectRefused(f"the bucket's client cannot put it ({type(error).__name__})")
            return None

        with ThreadPoolExecutor(min(THREADS, len(objects)) or 1, "put") as pool:
            return list(pool.map(put, objects))

    def put_stream(self, key: str, stream: BinaryIO, media_type: str, in_turn: bool = False) -> None:
        """Upload an open binary file from where it stands, in parts where it is large; may close it. `in_turn`: one
        part after the other, so that of a stream that cannot seek memory holds one and no more."""
        with _unavailable("PutObject"):
            self._client().upload_fileobj(stream, self.bucket, key, **self._in_parts(media_type, in_turn))

    def get_bytes(self, key: str) -> bytes:
        """A small object whole. Errors: NotFound."""
        with self.reading(key) as stream:
            return bytes(stream.read())

    @contextlib.contextmanager
    def reading(self, key: str) -> Iterator[Any]:
        """An object as an open stream, which botocore's `read` and `iter_lines` read. Errors: NotFound."""
        with _unavailable("GetObject", key):
            yield self._client().get_object(Bucket=self.bucket, Key=key)["Body"]

    def get_lines(self, key: str) -> Iterator[bytes]:
        """The lines of an object, as they come. Errors: NotFound."""
        with self.reading(key) as stream:
            yield from stream.iter_lines(MIB)

    def get_file(
        self, key: str, target: Path, max_bytes: int, bucket: str | None = None, check: Check = lambda: None
    ) -> tuple[int, str]:
        """Stream an object to a file; its size in bytes and its SHA-256 in hex. Errors: NotFound, TooLarge, and what
        `check` raises, which is asked before each piece."""
        whole, size = hashlib.sha256(), 0
        with _unavailable("GetObject", key), target.open("wb") as file:
            answer = self._client().get_object(Bucket=bucket or self.bucket, Key=key)
            _check_size(answer["ContentLength"], max_bytes)
            for chunk in answer["Body"].iter_chunks(MIB):
                check()
                size += len(chunk)
                _check_size(size, max_bytes)
                whole.update(chunk)
                file.write(chunk)
        return size, whole.hexdigest()

    def head(self, key: str) -> Object | None:
        """An object's metadata; None where there is no such object."""
        try:
            with _unavailable("HeadObject", key):
                seen = self._client().head_object(Bucket=self.bucket, Key=key)
        except NotFound:
            return None
        return Object(key, seen["ContentLength"], seen["ETag"].strip('"'), seen["LastModified"])

    def list(self, prefix: str, bucket: str | None = None) -> Iterator[Object]:
        """All objects whose keys begin so, by key, page by page; of another bucket where one is named."""
        with _unavailable("ListObjectsV2"):
            pages = (
                self._client()
                .get_paginator("list_objects_v2")
                .paginate(Bucket=bucket or self.bucket, Prefix=prefix, PaginationConfig={"PageSize": PAGE_OBJECTS})
            )
            for page in pages:
                for seen in page.get("Contents", ()):
                    yield Object(seen["Key"], seen["Size"], seen["ETag"].strip('"'), seen["LastModified"])

    def delete_prefix(self, prefix: str) -> int:
        """Delete all objects whose keys begin so; how many there were. Errors: ValueError for an empty prefix."""
        if not prefix:
            raise ValueError("an empty prefix would delete the whole bucket")
        keys = [seen.key for seen in self.list(prefix)]
        for start in range(0, len(keys), PAGE_OBJECTS):
            self.delete(*keys[start : start + PAGE_OBJECTS])
        return len(keys)

    def delete(self, *keys: str) -> None:
        """Delete these objects, 1,000 at most, where they are there."""
        objects = [{"Key": key} for key in keys]
        with _unavailable("DeleteObjects"):
            answer = self._client().delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True})
        if answer.get("Errors"):
            code = answer["Errors"][0].get("Code")
            raise ObjectRefused(f"the bucket did not delete {len(answer['Errors'])} objects ({code})")

    def unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """Uploads in parts that were neither finished nor aborted, of keys that begin so. Errors: NotSupported."""
        client = self._client()
        # rclone answers NoSuchUpload where there are none
        with _unavailable("ListMultipartUploads"), contextlib.suppress(client.exceptions.NoSuchUpload):
            pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix)
            for page in pages:
                for seen in page.get("Uploads", ()):
                    yield Unfinished(seen["Key"], seen["UploadId"], seen["Initiated"])

    def abort(self, upload: Unfinished) -> None:
        """Delete the parts of an upload that will not be finished."""
        client = self._client()
        with _unavailable("AbortMultipartUpload"), contextlib.suppress(client.exceptions.NoSuchUpload):
            client.abort_multipart_upload(Bucket=self.bucket, Key=upload.key, UploadId=upload.upload_id)

    def link(self, key: str, media_type: str, filename: str, expires_s: int = 600) -> str:
        """A URL by which anybody may read the object until it expires, saved under `filename` by a browser."""
        return self._presign(
            "get_object",
            expires_s,
            Key=key,
            ResponseContentType=media_type,
            ResponseContentDisposition=_disposition(filename),
        )

    def upload_link(self, key: str, size: int | None = None, expires_s: int = 3600) -> str:
        """A URL to which anybody may PUT the object until it expires; of `size` bytes and no other, where it is given:
        the length is signed."""
        length = {} if size is None else {"ContentLength": size}
        return self._presign("put_object", expires_s, Key=key, **length, **self._encryption)

    @property
    def upload_headers(self) -> dict[str, str]:
        """The headers that a PUT to an upload link must send: they are signed."""
        names = {
            "ServerSideEncryption": "x-amz-server-side-encryption",
            "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
        }
        return {names[name]: value for name, value in self._encryption.items()}

    @property
    def _encryption(self) -> dict[str, str]:
        wanted = {"ServerSideEncryption": self.settings.s3_sse, "SSEKMSKeyId": self.settings.s3_sse_kms_key_id}
        return {name: value for name, value in wanted.items() if value}

    def _in_parts(self, media_type: str, in_turn: bool = False) -> dict[str, Any]:
        from boto3.s3.transfer import TransferConfig

        how = TransferConfig(PART_BYTES, max_concurrency=4, multipart_chunksize=PART_BYTES, use_threads=not in_turn)
        return {"ExtraArgs": {"ContentType": media_type, **self._encryption}, "Config": how}

    def check(self) -> None:
        """Checks, with short timeouts, that the bucket answers and is the one that the settings describe."""
        try:
            with _unavailable("HeadBucket"):
                seen = self._client(patience=CHECKS_PATIENCE).head_bucket(Bucket=self.bucket)
        except StorageUnavailable as error:
            from botocore.exceptions import ClientError

            if isinstance(error.__cause__, ClientError):
                raise StorageUnavailable(_misconfigured(error.__cause__, self.settings.s3_region)) from error.__cause__
            raise
        there = seen.get("BucketRegion")
        if there and there != self.settings.s3_region:  # boto3 follows by itself; links that are signed do not
            raise StorageUnavailable(_elsewhere(self.settings.s3_region, there))

    def create_bucket(self) -> None:
        """Make the bucket if it is not there."""
        client, elsewhere = self._client(), self.settings.s3_region != "us-east-1"
        region = {"CreateBucketConfiguration": {"LocationConstraint": self.settings.s3_region}} if elsewhere else {}
        with _unavailable("CreateBucket"):
            try:
                client.create_bucket(Bucket=self.bucket, **region)
            except client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] not in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
                    raise
        self.check()

    def _presign(self, operation: str, expires_s: int, **params: str | int) -> str:
        """Signs a link for the public endpoint: the host is part of the signature."""
        public = self.settings.s3_public_endpoint_url or self.settings.s3_endpoint_url
        with _unavailable("presign"):
            link: str = self._client(public).generate_presigned_url(
                operation, Params={"Bucket": self.bucket, **params}, ExpiresIn=expires_s
            )
            return link

    def _client(self, endpoint: str | None = None, patience: Patience | None = None) -> Any:
        settings, patience = self.settings, patience or self.patience
        return _client(endpoint or settings.s3_endpoint_url, settings.s3_region, credentials.of(settings), patience)


@lru_cache(maxsize=16)  # clients of rotated keys fall out
def _client(endpoint: str | None, region: str, keys: Keys, patience: Patience) -> Any:
    """Clients may be shared by threads, and making one takes a tenth of a second."""
    import boto3

    session = boto3.Session(keys.id, keys.secret, keys.token, region_name=region)
    return session.client("s3", endpoint_url=endpoint, config=_config(bool(endpoint), patience))


def _config(own_endpoint: bool, patience: Patience) -> Any:
    """Signature v4 must be named, else links are of version 2, which newer servers refuse."""
    from botocore.config import Config

    return Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if own_endpoint else "auto"},
        connect_timeout=patience.connect_s,
        read_timeout=patience.read_s,
        max_pool_connections=32,
        retries={"mode": "standard", "total_max_attempts": patience.attempts},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


@contextlib.contextmanager
def _unavailable(operation: str, key: str | None = None) -> Iterator[None]:
    """Converts boto3's errors to ours, which name no host, no credentials and no link."""
    import urllib3
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if key is not None and code in MISSING:
            raise NotFound(f"there is no object {key}") from error
        if code in UNKNOWN_OPERATION:
            raise NotSupported(f"the bucket's server has no {operation} ({code})") from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        kind = ObjectRefused if 400 <= status < 500 and code not in NOT_THE_OBJECT else StorageUnavailable
        raise kind(f"the bucket refused {operation} ({code})") from error
    except ParamValidationError as error:
        raise ObjectRefused(f"the bucket's client refused {operation}: it cannot be asked so") from error
    except (BotoCoreError, Boto3Error, urllib3.exceptions.HTTPError) as error:
        raise StorageUnavailable(f"the bucket did not answer {operation} ({type(error).__name__})") from error


def _misconfigured(error: Any, region: str) -> str:
    """The reason why HEAD of the bucket was refused (a ClientError), without its name. Read from the status: the answer
    has no body."""
    code, answered = error.response["Error"]["Code"], error.response.get("ResponseMetadata", {})
    there = answered.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    if there and there != region:
        return _elsewhere(region, there)
    return {
        "404": "there is no such bucket (BACKLOT_S3_BUCKET)",
        "NoSuchBucket": "there is no such bucket (BACKLOT_S3_BUCKET)",
        "301": f"the bucket is not in the region {region} (BACKLOT_S3_REGION)",
        "403": "the bucket does not let these keys in (BACKLOT_S3_ACCESS_KEY_ID and its secret)",
    }.get(code, f"the bucket refused HeadBucket ({code})")


def _elsewhere(region: str, there: str) -> str:
    return f"the bucket is in the region {there}, not in {region} (BACKLOT_S3_REGION)"


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise TooLarge(f"the object has more than the {max_bytes} bytes allowed")


def _disposition(filename: str) -> str:
    """RFC 6266: a plain name for old clients, the true one beside it."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
