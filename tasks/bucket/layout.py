"""Keys, file names and media types of the objects in the bucket. It makes no call to the bucket."""

import mimetypes
import unicodedata
from pathlib import PurePosixPath

NAME_MAX_BYTES = 200
"""Bytes of UTF-8 in a file name, at most."""
ARTEFACTS = "artefacts/"
"""Prefix of all artefacts."""
LOGS = "logs"
"""The folder of a job's logs."""


def upload_key(tenant: str, upload_id: str, name: str) -> str:
    """The key of an upload; `name` is the caller's."""
    return f"tenants/{tenant}/uploads/{upload_id}/{safe_name(name)}"


def job_prefix(tenant: str, job_id: str) -> str:
    """The prefix of all objects of a job."""
    return f"tenants/{tenant}/jobs/{job_id}/"


def attempt_prefix(tenant: str, job_id: str, number: int, token: str) -> str:
    """The prefix of one attempt's outputs, unique, so that no attempt overwrites another's. The random end of the token
    keeps it unique across a restore, which counts attempts from 1 again."""
    return f"{job_prefix(tenant, job_id)}{attempt_folder(number, token)}/"


def attempt_folder(number: int, token: str) -> str:
    return f"{number}-{token[-8:]}"


def checkpoint_key(tenant: str, job_id: str, number: int, token: str) -> str:
    """The key of an attempt's checkpoint, which the next attempt reads; deleted once the job has ended."""
    return f"{job_prefix(tenant, job_id)}checkpoints/{attempt_folder(number, token)}"


def logs_prefix(tenant: str, job_id: str) -> str:
    """The prefix of the logs of a job's attempts. Beside the attempts' own, as that of one that failed goes."""
    return f"{job_prefix(tenant, job_id)}{LOGS}/"


def log_key(tenant: str, job_id: str, number: int, token: str) -> str:
    """The key of an attempt's log."""
    return f"{logs_prefix(tenant, job_id)}{attempt_folder(number, token)}.txt"


def job_json_key(tenant: str, job_id: str) -> str:
    """The key of an ended job's record, which outlives the one in Redis."""
    return job_prefix(tenant, job_id) + "job.json"


def artefact_key(tenant: str, kind: str, name: str) -> str:
    """The key of an artefact: a tar file that a tenant's jobs make once and share."""
    return f"{ARTEFACTS}{tenant}/{kind}/{name}.tar"


def safe_name(name: str) -> str:
    """A file name that may be the last part of a key and of a path: no folder, no control characters, no dot in
    front, 200 bytes of UTF-8 at most, its extension kept; 'file' where nothing is left."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    shown = "".join(c for c in last if not unicodedata.category(c).startswith("C")).strip().lstrip(". ")
    path = PurePosixPath(shown or "file")
    suffix = path.suffix if len(path.suffix.encode()) <= 20 else ""
    room = NAME_MAX_BYTES - len(suffix.encode())
    return path.name.removesuffix(suffix).encode()[:room].decode(errors="ignore") + suffix


def media_type_of(name: str) -> str:
    """The media type by extension, the same on every machine: the system's tables are not read."""
    return _TYPES.guess_type(name)[0] or "application/octet-stream"


_TYPES = mimetypes.MimeTypes()
for _type, _extension in {
    "application/x-subrip": ".srt",
    "text/vtt": ".vtt",
    "application/jsonl": ".jsonl",
    "text/markdown": ".md",
    "audio/wav": ".wav",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg",
    "audio/opus": ".opus",
    "audio/mp4": ".m4a",
    "audio/mpeg": ".mp3",
    "image/webp": ".webp",
    "video/webm": ".webm",
    "application/x-safetensors": ".safetensors",
    "application/vnd.apache.parquet": ".parquet",
}.items():
    _TYPES.add_type(_type, _extension)
