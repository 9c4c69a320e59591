"""Small objects by obstore: put, get, head, delete. A fraction of boto3's CPU, and most of it outside Python's lock.

A request that obstore does not answer plainly is asked again of boto3 (storage.py), which retries it and words its
error. obstore has threads of its own: a process that uses it never forks. It knows nothing of records.
"""

import hashlib
import logging
import re
import time
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from tasks.bucket import credentials
from tasks.bucket.credentials import Keys
from tasks.bucket.storage import JOBS_PATIENCE, PAGE_OBJECTS, Object, Patience, Storage
from tasks.errors import NotFound
from tasks.settings import Settings

if TYPE_CHECKING:
    from obstore.store import S3Config

log = logging.getLogger(__name__)
SMALL_BYTES = 1024 * 1024
"""Bytes of an object that is put, or read into a file, directly, at most."""
CONNECT_S = 2
"""Seconds to connect."""
WHOLE_S = 20
"""Seconds for a whole request."""
RETRIES = 2
"""Retries before boto3 is asked: rclone answers 500 where a folder goes while an object is put into it."""
BACKOFF_S = 0.05
"""Seconds before the first of them, with jitter."""
PAUSE_S = 10
"""Seconds for which boto3 is asked alone after a request that obstore did not answer."""
RENEW_S = 300
"""Seconds after which the machine's own credentials are asked for again."""
PLAIN = re.compile(r"(?:(?!\.+(?:/|$))[\w.-]+/)*(?!\.+$)[\w.-]+", re.ASCII)
"""Keys that S3 clients agree about; others are asked of boto3."""
Answer = TypeVar("Answer")


class _Undone(Exception):
    """The request has to be asked of boto3."""


class DirectStorage(Storage):
    """The bucket, for a process that asks for thousands of small objects. Errors: as of Storage."""

    def __init__(self, settings: Settings, patience: Patience = JOBS_PATIENCE) -> None:
        super().__init__(settings, patience)
        self.paused_until = 0.0
        """Until when boto3 alone is asked, by time.monotonic()."""

    def put_file(self, key: str, path: Path, media_type: str) -> tuple[int, str]:
        """Uploads a file; its size in bytes and its SHA-256 in hex."""
        if path.stat().st_size > SMALL_BYTES:
            return super().put_file(key, path, media_type)
        data = path.read_bytes()
        self.put_bytes(key, data, media_type)
        return len(data), hashlib.sha256(data).hexdigest()

    def put_bytes(self, key: str, data: bytes, media_type: str) -> None:
        """Uploads bytes."""
        try:
            if len(data) > SMALL_BYTES:
                raise _Undone
            kind = {"Content-Type": media_type}
            self._ask(key, lambda store: store.put(key, data, attributes=kind, use_multipart=False))
        except _Undone:
            super().put_bytes(key, data, media_type)

    def get_bytes(self, key: str) -> bytes:
        """A small object whole. Errors: NotFound."""
        try:
            return self._ask(key, lambda store: bytes(store.get(key).bytes()))
        except _Undone:
            return super().get_bytes(key)

    def get_file(
        self,
        key: str,
        target: Path,
        max_bytes: int,
        bucket: str | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> tuple[int, str]:
        """Saves an object as Storage does; reads a small one of the own bucket at once."""
        try:
            if bucket not in (None, self.bucket):
                raise _Undone
            data = self._ask(key, lambda store: _small(store, key, min(max_bytes, SMALL_BYTES)))
        except _Undone:
            return super().get_file(key, target, max_bytes, bucket, check)
        check()
        target.write_bytes(data)
        return len(data), hashlib.sha256(data).hexdigest()

    def head(self, key: str) -> Object | None:
        """An object's metadata; None where there is no such object."""
        try:
            seen = self._ask(key, lambda store: store.head(key))
        except NotFound:
            return None
        except _Undone:
            return super().head(key)
        return Object(key, seen["size"], (seen["e_tag"] or "").strip('"'), seen["last_modified"])

    def delete_prefix(self, prefix: str) -> int:
        """Delete all objects whose keys begin so; how many there were. Errors: ValueError for an empty prefix."""
        try:
            return self._ask(prefix.removesuffix("/"), partial(_delete, prefix))
        except _Undone:
            return super().delete_prefix(prefix)

    def _ask(self, key: str, ask: Callable[[S3Store], Answer]) -> Answer:
        """Errors: NotFound; _Undone."""
        if not PLAIN.fullmatch(key) or time.monotonic() < self.paused_until:
            raise _Undone
        s = self.settings
        try:
            return ask(
                _store(s.s3_endpoint_url, s.s3_region, s.s3_bucket, s.s3_sse, s.s3_sse_kms_key_id, credentials.of(s))
            )
        except _Undone:
            raise
        except FileNotFoundError as error:
            if "NoSuchKey" in str(error) or "Error performing HEAD" in str(error):
                raise NotFound(f"there is no object {key}") from error
            why: Exception = error  # the bucket is missing
        except Exception as error:  # boto3 finds out whose fault it is
            why = error
        self.paused_until = time.monotonic() + PAUSE_S
        log.info("boto3 alone asks the bucket for %d s (%s)", PAUSE_S, type(why).__name__)
        raise _Undone from why


def _small(store: S3Store, key: str, most: int) -> bytes:
    """The bytes of an object. Errors: _Undone where it has more than `most`; FileNotFoundError."""
    answer = store.get(key)
    if answer.meta["size"] > most:
        raise _Undone  # of its body no more is read than came with the head
    return bytes(answer.bytes())


def _delete(prefix: str, store: S3Store) -> int:
    """Errors: _Undone where obstore might take the keys for others, as it does with empty parts."""
    if not prefix.endswith("/"):
        raise _Undone
    keys = [seen["path"] for seen in store.list(prefix).collect()]
    if len(keys) > PAGE_OBJECTS or not all(PLAIN.fullmatch(key) for key in keys):
        raise _Undone
    if keys:
        store.delete(keys)
    return len(keys)


@lru_cache(maxsize=16)  # stores of rotated keys fall out
def _store(endpoint: str | None, region: str, bucket: str, sse: str | None, kms_key: str | None, keys: Keys) -> S3Store:
    """A store for all threads. Keys that are all None are found and renewed by boto3."""
    found = None if keys.id else Boto3CredentialProvider(ttl=timedelta(seconds=RENEW_S))
    config: dict[str, Any] = {
        "endpoint": endpoint,
        "region": region,
        "access_key_id": keys.id,
        "secret_access_key": keys.secret,
        "session_token": keys.token,
        "server_side_encryption": sse,
        "sse_kms_key_id": kms_key,
        "virtual_hosted_style_request": not endpoint and "." not in bucket,
    }
    return S3Store(
        bucket,
        config=cast("S3Config", {name: value for name, value in config.items() if value is not None}),
        client_options={
            "allow_http": True,
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "timeout": timedelta(seconds=WHOLE_S),
        },
        retry_config={
            "max_retries": RETRIES,
            "retry_timeout": timedelta(seconds=WHOLE_S),
            "backoff": {"init_backoff": timedelta(seconds=BACKOFF_S), "max_backoff": timedelta(seconds=1), "base": 2},
        },
        credential_provider=found,
    )
