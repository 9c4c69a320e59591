"""Input types: a source of a file, a text, or a JSON value; and the limits that a kind sets on its inputs.

Syntax only: fetching, and whether a tenant may fetch, are in tasks/bucket.
"""

import functools
import re
from dataclasses import dataclass
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tasks.ids import JOB_ID

UPLOAD_ID = re.compile(r"^upload_[0-9a-z]{26}$")
OUTPUT_MAX = 200
"""Characters of an output's name in a source."""
CUSTOM_ID_MAX = 64
"""Characters of a line's `custom_id`."""
BUCKET = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
CHAINED = ("job", "line")
"""Schemes of sources that name a job."""
SCHEMES = "https://host/path, s3://bucket/key, upload:<id>, job:<id> or job:<id>/<output>"


def check_source(source: str) -> str:
    """Returns the source, or raises ValueError with the fault. Settings decide later whether plain http is allowed."""
    try:
        parts = urlsplit(source)
        port_is_a_number = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ValueError(f"not a usable URL: {error}") from error
    if parts.scheme in ("https", "http"):
        if not parts.hostname or not port_is_a_number:
            raise ValueError("the URL names no host")
        if not source.isprintable() or source != source.strip() or " " in parts.hostname:
            raise ValueError("a URL with control characters, or with blanks around it or its host, is not accepted")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a URL with a user name or password is not accepted")
    elif parts.scheme == "s3":
        if not BUCKET.match(parts.netloc) or len(parts.path) < 2:
            raise ValueError("an s3 source is s3://bucket/key")
    elif parts.scheme == "upload":
        if not UPLOAD_ID.match(source.removeprefix("upload:")):
            raise ValueError("an upload source is upload:<id>, with the id that /v1/uploads gave")
    elif parts.scheme in CHAINED:
        _check_chained(source)
    else:
        scheme = f"{parts.scheme}: sources are" if parts.scheme else "that is"
        raise ValueError(f"{scheme} not accepted; a source is {SCHEMES}")
    return source


def chained(source: str) -> tuple[str, str, str]:
    """The parts of a source that names a job: 'job' or 'line', the id or custom_id, and the output or ''."""
    scheme, _, rest = source.partition(":")
    name, slash, output = rest.rpartition("/")
    return (scheme, name, output) if slash else (scheme, output, "")


def _check_chained(source: str) -> None:
    scheme, name, output = chained(source)
    if scheme == "line":
        if not name or source.endswith("/") or len(name) > CUSTOM_ID_MAX or len(output) > OUTPUT_MAX:
            raise ValueError("a source within a batch is line:<custom_id> or line:<custom_id>/<output>")
    elif not JOB_ID.match(name) or source.endswith("/") or len(output) > OUTPUT_MAX:
        raise ValueError("a job source is job:<id> or job:<id>/<output>, with the id that a submit gave")


Source = Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(check_source)]


class FromSource(BaseModel):
    """A text input given by its source instead of in the request."""

    model_config = ConfigDict(extra="forbid")
    url: Source


@dataclass(frozen=True)
class Limits:
    """Metadata of a field of a kind's Inputs: the limits on the file that is fetched for it.

    max_bytes  size of the fetched file in bytes
    """

    max_bytes: int


MIB = 1024 * 1024
Text = str | FromSource


@functools.cache
def limits_of(inputs: type[BaseModel], name: str) -> Limits | None:
    """The limits of a file or text field; None for a JSON field."""
    return next((m for m in inputs.model_fields[name].metadata if isinstance(m, Limits)), None)


@functools.cache
def is_text(inputs: type[BaseModel], name: str) -> bool:
    """True where the field accepts the text itself."""
    return _mentions(inputs.model_fields[name].annotation, FromSource)


def is_file(inputs: type[BaseModel], name: str) -> bool:
    """True where the field is a source of a file."""
    return limits_of(inputs, name) is not None and not is_text(inputs, name)


def _mentions(annotation: Any, wanted: type) -> bool:
    return annotation is wanted or any(_mentions(part, wanted) for part in get_args(annotation))
