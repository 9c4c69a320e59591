"""A valid request's inputs made ready for a worker: sources allowed, uploads located, files and long texts stored.

Nothing is stored before the whole request has been found good; nothing is fetched here.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from pydantic import BaseModel, JsonValue

from tasks import inputs
from tasks.bucket.allowed import check_allowed
from tasks.bucket.layout import media_type_of, safe_name, upload_key
from tasks.bucket.storage import Storage, measured
from tasks.errors import BacklotError, InvalidInput, StorageUnavailable, TooLarge
from tasks.ids import new_id
from tasks.job import Upload
from tasks.ledger import Ledger
from tasks.ledger.idempotency import UPLOADING_MS
from tasks.request import plain, pointer
from tasks.request_shapes import JobRequest
from tasks.service import chains
from tasks.service.chains import Chains, Source
from tasks.settings import Settings

RECORDED_MAX_BYTES = 32 * 1024
"""Bytes of JSON up to which a text or JSON input is kept in the record; a longer one is stored in the bucket."""
ESCAPED_BYTES = 6
"""Bytes of JSON that one character takes at most."""
CHAINED = tuple(f"{scheme}:" for scheme in inputs.CHAINED)
UPLOAD_KEPT_S = 24 * 3600
"""Seconds after which an upload that no job names is deleted."""


@dataclass(frozen=True)
class File:
    """An input's bytes that came with the request; `upload_id` is what they will be known by."""

    upload_id: str
    name: str
    stream: BinaryIO
    bytes: int
    sha256: str

    @classmethod
    def of(cls, name: str, stream: BinaryIO) -> "File":
        """Reads the stream once, to hash it, and leaves it at its start."""
        size, sha256 = measured(stream)
        stream.seek(0)
        return cls(new_id("upload"), safe_name(name), stream, size, sha256)

    @property
    def source(self) -> str:
        return f"upload:{self.upload_id}"


@dataclass
class Prepared:
    """Inputs as the record keeps them, the uploads they name, and the files that have yet to be stored.
    `in_bucket`: the JSON inputs that are files now. `waits_for`: the jobs that are named as sources, by their ids."""

    input: dict[str, JsonValue]
    in_bucket: list[str] = field(default_factory=list)
    uploads: dict[str, Upload] = field(default_factory=dict)
    pending: list[File] = field(default_factory=list)
    waits_for: dict[str, Source] = field(default_factory=dict)


class Intake:
    """Makes inputs ready."""

    def __init__(self, settings: Settings, ledger: Ledger, storage: Storage, chains: Chains) -> None:
        self.settings, self.ledger, self.storage, self.chains = settings, ledger, storage, chains

    def prepare(self, tenant: str, of_kind: BaseModel, files: Mapping[str, File]) -> Prepared:
        """Check every input. Errors: InvalidInput and TooLarge, with `errors` that say which; StorageUnavailable."""
        prepared = Prepared(of_kind.model_dump(mode="json", exclude_unset=True))
        for name, value in prepared.input.items():
            limits = inputs.limits_of(type(of_kind), name)
            if limits is None or (inputs.is_text(type(of_kind), name) and isinstance(value, str)):
                self._value(name, value, limits, prepared)
                continue
            for place, source in _sources(value, pointer("input", name)):
                with _at(place):
                    if source.startswith(CHAINED):
                        prepared.input[name] = self._chained(tenant, value, source, prepared, type(of_kind), name)
                    else:
                        self._check(tenant, source, limits, files, prepared)
        return prepared

    def store(self, tenant: str, prepared: Prepared) -> None:
        """Put what is pending into the bucket, each noted first, so that one which no job ever names is deleted.
        Errors: StoredTooMuch, StorageUnavailable, NotReady."""
        for file in prepared.pending:
            self.ledger.upload(tenant, file.upload_id, file.bytes, UPLOAD_KEPT_S)
            key = upload_key(tenant, file.upload_id, file.name)
            self.storage.put_stream(key, file.stream, media_type_of(file.name))
            seen = self.storage.head(key)
            if seen is None:
                raise StorageUnavailable(f"the bucket took {file.name} and has it no more")
            prepared.uploads[file.upload_id] = Upload(key=key, bytes=file.bytes, etag=seen.etag)

    def forsake(self, tenant: str, prepared: Prepared, surely: bool) -> None:
        """Deletes the files of a refused job, unless a job names them after all: at once where it is `surely` refused,
        later where a submit may still be on its way to Redis."""
        delay_ms = 0 if surely else UPLOADING_MS
        self.ledger.recheck_uploads(tenant, [file.upload_id for file in prepared.pending], delay_ms)

    def _value(self, name: str, value: JsonValue, limits: inputs.Limits | None, prepared: Prepared) -> None:
        """A text (which has limits) or a JSON value: a file where it is too long for the record."""
        if limits and isinstance(value, str) and _is_short(value, min(RECORDED_MAX_BYTES, limits.max_bytes)):
            return
        as_json = json.dumps(value, ensure_ascii=False).encode()
        data = value.encode() if limits and isinstance(value, str) else as_json
        if limits:
            with _at(pointer("input", name)):
                _check_size(len(data), limits, "the text")
        if len(as_json) <= RECORDED_MAX_BYTES:
            return
        file = File.of(f"{name}.txt" if limits else f"{name}.json", io.BytesIO(data))
        prepared.input[name] = {"url": file.source}
        prepared.pending.append(file)
        if limits is None:
            prepared.in_bucket.append(name)

    def _check(
        self, tenant: str, source: str, limits: inputs.Limits, files: Mapping[str, File], prepared: Prepared
    ) -> None:
        scheme, _, upload_id = source.partition(":")
        if scheme != "upload":
            check_allowed(source, tenant, self.settings)
        elif upload_id in files:
            _check_size(files[upload_id].bytes, limits, "the file")
            prepared.pending.append(files[upload_id])
        elif not any(file.upload_id == upload_id for file in prepared.pending):
            prepared.uploads[upload_id] = self._locate(tenant, upload_id, limits)

    def _chained(
        self, tenant: str, value: JsonValue, source: str, prepared: Prepared, of_kind: type[BaseModel], name: str
    ) -> JsonValue:
        """The input with the id of the job that its source names."""
        scheme, named, output = inputs.chained(source)
        if scheme == "line":
            named, output = self.of_line(named, output)
        job = self.find_job(tenant, named)
        chains.check(job, named, output, inputs.is_text(of_kind, name))
        prepared.waits_for[named] = job
        source = f"job:{named}/{output}" if output else f"job:{named}"
        return {"url": source} if isinstance(value, dict) else source

    def find_job(self, tenant: str, job_id: str) -> Source:
        """A job of the tenant that a source names."""
        return self.chains.find(tenant, job_id)

    def of_line(self, custom_id: str, output: str) -> tuple[str, str]:
        """The job of an earlier line of the same batch, and the output. Errors: InvalidInput."""
        raise InvalidInput("a source line:<custom_id> names an earlier line of the same batch, and this is no batch")

    def _locate(self, tenant: str, upload_id: str, limits: inputs.Limits) -> Upload:
        """The tenant's own upload as it is now."""
        found = self.find(tenant, upload_id)
        if found is None:
            raise InvalidInput(f"there is no upload {upload_id}, or nothing has been put there yet")
        _check_size(found.bytes, limits, "the upload")
        return found

    def find(self, tenant: str, upload_id: str) -> Upload | None:
        """An upload of the tenant as it lies in the bucket; None where nothing has been put there."""
        found = next(iter(self.storage.list(_folder(tenant, upload_id))), None)
        return Upload(key=found.key, bytes=found.bytes, etag=found.etag) if found else None


def content_of(request: JobRequest, files: Mapping[str, File]) -> str:
    """The content that an Idempotency-Key's fingerprint covers: fields in any order, files by their SHA-256."""
    text = json.dumps(plain(request), sort_keys=True)
    for upload_id, file in files.items():
        text = text.replace(upload_id, file.sha256)
    return text


def _folder(tenant: str, upload_id: str) -> str:
    return upload_key(tenant, upload_id, "any").rpartition("/")[0] + "/"


def _sources(value: Any, place: str) -> list[tuple[str, str]]:
    """Each source of an input, with its JSON pointer."""
    if isinstance(value, dict):
        return [(place + "/url", value["url"])]
    if isinstance(value, list):
        return [(place + pointer(index), source) for index, source in enumerate(value)]
    return [(place, value)]


def _is_short(value: str, most: int) -> bool:
    """True where the text has surely at most so many bytes, as itself and as JSON; it is not written to know."""
    return len(value) * ESCAPED_BYTES + len('""') <= most


def _check_size(size: int, limits: inputs.Limits, what: str) -> None:
    if size > limits.max_bytes:
        raise TooLarge(f"{what} has {size:,} bytes; this input may have {limits.max_bytes:,}")
    if size == 0 and what != "the text":
        raise InvalidInput(f"{what} is empty")


class _at:
    """Says of an error which input it is about."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BacklotError) and not error.retryable:
            error.errors = [{"pointer": self.place, "detail": error.detail}]
