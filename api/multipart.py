"""Makes a job request from a form: reserved names are the request's fields, all others are inputs.

    curl -F kind=transcribe -F audio=@talk.mp3 -F 'params={"language": "en"}' ...

A file becomes `upload:<id>` (stored once the whole request is valid), a text stays a text, a repeated field is a list.
The result is the same request as one that came as JSON. Knows nothing of the form's syntax (form.py).
"""

import json
from typing import Any, get_origin

from flask import Request

from api.answers import NO_JSON, services
from api.form import Part, read
from tasks import inputs
from tasks.errors import InvalidRequest, MalformedRequest, TooLarge
from tasks.registry import KINDS, contract
from tasks.request import parse, pointer, read_json
from tasks.request_shapes import JobRequest
from tasks.service.intake import File

RESERVED = frozenset(JobRequest.model_fields) - {"input"}
TEXTS = {"kind", "model", "start_at"}
OBJECTS = {"params", "metadata", "webhook", "output"}


def read_form(asked: Request) -> tuple[JobRequest, dict[str, File]]:
    """The request and its files by upload id. Errors: as tasks.request.parse."""
    form, parts = read(asked, services().settings.json_max_bytes)
    fields = {name: _field(name, texts) for name, texts in form.items() if name in RESERVED}
    given = {name: values for name, values in form.items() if name not in RESERVED}
    files: dict[str, File] = {}
    for name, uploads in parts.items():
        if name in RESERVED:
            raise InvalidRequest([{"pointer": pointer(name), "detail": "a text field, not a file, is wanted here"}])
        given.setdefault(name, []).extend(_file(fields.get("kind"), name, upload, files) for upload in uploads)
    fields["input"] = {name: _input(fields.get("kind"), name, values) for name, values in given.items()}
    try:
        body = json.dumps(fields)
    except RecursionError as error:  # json.dumps allows one level less than json.loads
        raise MalformedRequest("a field of the form is JSON of too many levels") from error
    return parse(body), files


def _field(name: str, texts: list[str]) -> Any:
    """A reserved field; numbers and objects are JSON."""
    if len(texts) > 1:
        raise InvalidRequest([{"pointer": pointer(name), "detail": "may be given once"}])
    if name in TEXTS:
        return texts[0]
    try:
        return read_json(texts[0])
    except NO_JSON as error:
        if name in OBJECTS:
            raise MalformedRequest(f"the field {name} is not JSON: {error}") from error
        return texts[0]  # the contract refuses it, with the field's own words


def _file(kind: str | None, name: str, upload: Part, files: dict[str, File]) -> Any:
    """A file for a file input is its source, for a text input {"url": source}, for a JSON input what it contains."""
    of_kind = contract(kind).inputs if kind in KINDS else None
    if of_kind and name in of_kind.model_fields and inputs.limits_of(of_kind, name) is None:
        return _json_file(name, upload)
    file = File.of(upload.filename or "", upload.stream)
    files[file.upload_id] = file
    is_text = of_kind and name in of_kind.model_fields and inputs.is_text(of_kind, name)
    return {"url": file.source} if is_text else file.source


def _json_file(name: str, upload: Part) -> Any:
    most = services().settings.json_max_bytes
    data = upload.stream.read(most + 1)
    if len(data) > most:
        raise TooLarge(f"the file of {name} has more than the {most:,} bytes that JSON may have")
    try:
        return read_json(data)
    except NO_JSON as error:
        wrong = {"pointer": pointer("input", name), "detail": f"the file is not JSON: {error}"}
        raise InvalidRequest([wrong]) from error


def _input(kind: str | None, name: str, values: list[Any]) -> Any:
    """The value of an input: a list where the field is repeated or the kind wants one."""
    field = contract(kind).inputs.model_fields.get(name) if kind in KINDS else None
    wants_list = field is not None and get_origin(field.annotation) is list
    if len(values) > 1:
        return values
    if field is None or inputs.limits_of(contract(kind).inputs, name) is not None:
        return values if wants_list else values[0]
    try:
        read = read_json(values[0]) if isinstance(values[0], str) else values[0]
    except NO_JSON:
        read = values[0]
    return values if wants_list and not isinstance(read, list) else read
