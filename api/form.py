"""Parses a multipart body into texts and files. Knows nothing of jobs.

A text in another charset than it claims, or in a transfer encoding, is refused, never guessed.
"""

import tempfile
from dataclasses import dataclass
from typing import BinaryIO, cast

from flask import Request
from werkzeug.datastructures import Headers
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from tasks.errors import MalformedRequest, TooLarge

READ_BYTES = 64 * 1024
"""Bytes of one read."""
FILE_IN_MEMORY_BYTES = 64 * 1024
"""Bytes of a file that are kept in memory; a larger one lies on the disk."""
PARTS_MAX = 1000
HEADERS_MAX_BYTES = 1024 * 1024
"""Bytes of the headers of one part."""
CHARSETS = {"", "utf-8", "us-ascii", "ascii", "iso-8859-1"}
IDENTITY_CODINGS = {"", "7bit", "8bit", "binary"}
"""Transfer encodings that leave bytes unchanged."""


@dataclass
class Part:
    """One part of the form. `filename` None: a text."""

    name: str
    headers: Headers
    filename: str | None
    stream: BinaryIO


def read(asked: Request, texts_max_bytes: int) -> tuple[dict[str, list[str]], dict[str, list[Part]]]:
    """The form's texts and files, each by name. Errors: MalformedRequest; TooLarge for too many parts or text bytes."""
    decoder = MultipartDecoder(_boundary(asked), max_form_memory_size=HEADERS_MAX_BYTES, max_parts=None)
    parts: list[Part] = []
    texts_bytes = 0
    while True:
        event = _next(decoder, asked, parts)
        if isinstance(event, Epilogue):
            break
        if isinstance(event, Field | File):
            parts.append(_part(event, len(parts) + 1))
        elif isinstance(event, Data):
            parts[-1].stream.write(event.data)
            texts_bytes += len(event.data) if parts[-1].filename is None else 0
            if texts_bytes > texts_max_bytes:
                raise TooLarge(f"the form's text fields may have {texts_max_bytes:,} bytes; send longer ones as files")
    if not parts:
        raise MalformedRequest("the form has no field")
    return _by_name(parts)


def _boundary(asked: Request) -> bytes:
    given = asked.mimetype_params.get("boundary", "")
    if not given:
        raise MalformedRequest(
            "the Content-Type of a form names its boundary, as in multipart/form-data; boundary=x; "
            "whoever sends it sets both, so let your HTTP library do it"
        )
    if not given.isascii() or not given.isprintable() or len(given) > 200:
        raise MalformedRequest("the form's boundary must be printable ASCII, 200 characters at most")
    return given.encode()


def _next(decoder: MultipartDecoder, asked: Request, parts: list[Part]) -> Field | File | Data | Epilogue:
    """The decoder's next event, with as much of the body read as it takes. Errors: MalformedRequest."""
    at = f"part {len(parts)} ({parts[-1].name[:64]!r})" if parts else "the first part"
    try:
        while not isinstance(event := decoder.next_event(), Field | File | Data | Epilogue):
            if isinstance(event, NeedData):
                decoder.receive_data(asked.stream.read(READ_BYTES) or None)
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"a header after {at} of the form is not UTF-8") from error
    except ValueError as error:
        if "Content-Disposition" in str(error):
            raise MalformedRequest(
                f"the part after {at} of the form has no header Content-Disposition"
                if parts
                else "the first part of the form has no header Content-Disposition"
            ) from error
        if "PREAMBLE" in str(error):
            raise MalformedRequest("the boundary that the Content-Type names never comes in the body") from error
        raise MalformedRequest(
            f"the form breaks off in or after {at}: its last boundary, with -- behind it, never comes"
        ) from error
    return event


def _part(event: Field | File, number: int) -> Part:
    if number > PARTS_MAX:
        raise TooLarge(f"the form has more than {PARTS_MAX:,} parts")
    if not event.name:
        raise MalformedRequest(f"part {number} of the form has no name")
    coding = event.headers.get("Content-Transfer-Encoding", "").strip().lower()
    if coding not in IDENTITY_CODINGS:
        raise MalformedRequest(
            f"the field {event.name[:64]!r} is in the transfer encoding {coding[:32]!r}; bytes are read as they are"
        )
    filename = event.filename if isinstance(event, File) else None
    # typeshed gives SpooledTemporaryFile every method of BinaryIO but not the name
    stream = cast(BinaryIO, tempfile.SpooledTemporaryFile(FILE_IN_MEMORY_BYTES))  # noqa: SIM115 (the Part keeps it)
    return Part(event.name, event.headers, filename, stream)


def _by_name(parts: list[Part]) -> tuple[dict[str, list[str]], dict[str, list[Part]]]:
    texts: dict[str, list[str]] = {}
    files: dict[str, list[Part]] = {}
    for part in parts:
        part.stream.seek(0)
        if part.filename is None:
            texts.setdefault(part.name, []).append(_text(part))
        else:
            files.setdefault(part.name, []).append(part)
    return texts, files


def _text(part: Part) -> str:
    charset = parse_options_header(part.headers.get("Content-Type", ""))[1].get("charset", "").lower()
    if charset not in CHARSETS:
        raise MalformedRequest(f"the field {part.name[:64]!r} is in the charset {charset[:32]!r}; UTF-8 is read here")
    try:
        return part.stream.read().decode(charset or "utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequest(
            f"the field {part.name[:64]!r} is not {(charset or 'utf-8').upper()} text: byte "
            f"{error.start}; bytes that are no text come as a file, with a filename"
        ) from error
