"""Files of a job: the form that sends them, and the download that checks them. Knows no route and no key.

An input of a job holds files where it is a pathlib.Path, or a list of them.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import httpx

from api.client.sender import ApiError, refusal_of, timeout

DOWNLOAD_S = 60
"""Seconds without a byte of a download."""

Parts = list[tuple[str, tuple[str, IO[bytes]]]]


def paths_of(value: Any) -> list[Path]:
    """The files of an input. Empty where any item of the list is no file."""
    items = value if isinstance(value, list) else [value]
    return items if all(isinstance(item, Path) for item in items) else []


def named_paths(inputs: Mapping[str, Any]) -> list[tuple[str, Path]]:
    """Each file of the inputs with its input's name."""
    return [(name, path) for name, value in inputs.items() for path in paths_of(value)]


def replaced(value: Any, sources: Mapping[Path, str]) -> Any:
    """The input with the source of each uploaded file in place of its path."""
    if not paths_of(value):
        return value
    return [sources.get(path, path) for path in value] if isinstance(value, list) else sources.get(value, value)


def form_texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """The form's text fields: a text as it is, any other value as JSON. Files are left out."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in fields.items()
        if not paths_of(value)
    }


@contextlib.contextmanager
def opened(files: list[tuple[str, Path]]) -> Iterator[Parts]:
    """The form's file parts, open for reading inside the block. Errors: OSError."""
    with contextlib.ExitStack() as stack:
        yield [(name, (path.name, stack.enter_context(path.open("rb")))) for name, path in files]


def save(link: str, target: Path, sha256: str) -> None:
    """Writes the bytes behind a link to `target`. Errors: OSError; ApiError for a refusal, a broken transfer, or bytes
    with another SHA-256."""
    digest = hashlib.sha256()
    try:
        with httpx.stream("GET", link, timeout=timeout(DOWNLOAD_S)) as response, target.open("wb") as file:
            if response.status_code >= 400:
                response.read()
                raise refusal_of(response)
            for chunk in response.iter_bytes():
                digest.update(chunk)
                file.write(chunk)
    except httpx.TransportError as error:
        raise ApiError(0, {"code": "unreachable", "detail": f"the download broke off: {error}"}) from error
    if digest.hexdigest() != sha256:
        raise ApiError(0, {"code": "corrupt", "detail": "what came is not what the job made: its SHA-256 differs"})
