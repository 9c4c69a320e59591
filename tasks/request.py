"""Parses and validates a job request against the kind's contract; errors name a JSON pointer.

One tagged union of all kinds, so that pydantic reads, checks and fills a body in one pass. Whether the
sources named may be read, and what the deployment allows, is not known here.
"""

import functools
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union

from pydantic import Field, JsonValue, TypeAdapter, ValidationError, create_model
from pydantic_core import ErrorDetails, from_json, to_json

from tasks.errors import InvalidRequest, MalformedRequest, TooLarge, UnknownModel
from tasks.inputs import CUSTOM_ID_MAX
from tasks.registry import KINDS, Model, contract
from tasks.request_shapes import JobRequest

SHOWN_ERRORS = 20
"""Errors of one request that the answer lists, at most."""
NAME_SHOWN = 100
"""Characters of a name that an error repeats."""
FREE_MAX_BYTES = 64 * 1024
"""Bytes of params and metadata together, as JSON, at most."""
GROWTH = 8
"""Times its own bytes that JSON has at most once it is read and written anew: `9e15` becomes `9000000000000000.0`."""
FREE_MAX_DEPTH = 64
"""Levels of lists and objects in metadata."""


def parse(body: bytes | str) -> JobRequest:
    """A request of one kind: `input` and `params` are the kind's own models.

    Errors: MalformedRequest where it is no JSON, UnknownModel where there is no such kind, TooLarge, InvalidRequest.
    """
    return _parsed(adapter(), body)


def parse_line(body: bytes | str) -> JobRequest:
    """The request of a batch's line, which may have a `custom_id`. Errors: those of `parse`."""
    return _parsed(line_adapter(), body)


def _parsed(known: TypeAdapter[Any], body: bytes | str) -> JobRequest:
    try:
        return parse_valid(body, known)
    except ValidationError as error:
        raise _named_twice(body) or refusal(error, body) from error


def parse_valid(body: bytes | str, known: TypeAdapter[Any] | None = None) -> JobRequest:
    """The same; of a request that is not in form it does not find out why, which takes far longer.

    Errors: as `parse`, and pydantic's ValidationError.
    """
    request: JobRequest = (known or adapter()).validate_json(body, strict=True)
    if twice := _named_twice(body):
        raise twice
    check_free_part(request, len(body))
    return request


class NamedTwice(ValueError):
    """One name twice in an object."""


def read_json(text: bytes | str) -> JsonValue:
    """JSON whose objects name each thing once: of two of one name every reader would drop one, and say nothing.
    Errors: ValueError, NamedTwice among them; RecursionError."""
    value: JsonValue = _DECODER.decode(text if isinstance(text, str) else text.decode(json.detect_encoding(text)))
    return value


def _each_once(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NamedTwice(f"the name {twice[:NAME_SHOWN]!r} stands twice in one object")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_each_once)


def _named_twice(body: bytes | str) -> MalformedRequest | None:
    try:
        _DECODER.decode(body if isinstance(body, str) else body.decode())
    except NamedTwice as error:
        return MalformedRequest(f"the body can be read in more than one way: {error}")
    except (ValueError, RecursionError):
        return None  # which pydantic tells better
    return None


@functools.cache
def adapter() -> TypeAdapter[Any]:
    """The union of all kinds' requests, told apart by `kind`."""
    union: Any = Annotated[Union[tuple(map(request_of, KINDS))], Field(discriminator="kind")]  # noqa: UP007
    return TypeAdapter(union)


@functools.cache
def line_adapter() -> TypeAdapter[Any]:
    """The union of all kinds' requests as a batch's line has them."""
    union: Any = Annotated[Union[tuple(map(_line_of, KINDS))], Field(discriminator="kind")]  # noqa: UP007
    return TypeAdapter(union)


def _line_of(kind: str) -> type[JobRequest]:
    """The kind's request with a `custom_id`."""
    about = "the caller's own id of the line, unique within the batch"
    optional: Any = str | None
    custom_id: Any = (optional, Field(None, min_length=1, max_length=CUSTOM_ID_MAX, description=about))
    base = request_of(kind)
    about_line = f"A line of a batch for a {kind} job."
    return create_model(f"{kind.title()}Line", __base__=base, __doc__=about_line, custom_id=custom_id)


@functools.cache
def request_of(kind: str) -> type[JobRequest]:
    """JobRequest with the kind's own `input` and `params`."""
    known = contract(kind)
    tag: Any = Literal[kind]
    return create_model(
        f"{kind.title()}Request",
        __base__=JobRequest,
        __doc__=f"A request for a {kind} job.",
        kind=(tag, Field(description="kind of job")),
        input=(known.inputs, Field(description=known.inputs.__doc__)),
        params=(known.params, Field(default_factory=known.params, description=known.params.__doc__)),
    )


def plain(request: JobRequest) -> dict[str, Any]:
    """The request as JSON values, with what the caller gave and nothing else."""
    return request.model_dump(mode="json", exclude_unset=True)


def check_model(request: JobRequest, model: Model) -> None:
    """That the model takes every parameter the caller gave, and that the job would not fail for certain.

    Errors: InvalidRequest, which names the algorithms that take a parameter, and what to change.
    """
    known = contract(model.kind)
    given: Any = request.params  # the kind's own model, by request_of
    foreign = sorted(given.model_fields_set & known.foreign(model.algorithm))
    if foreign:
        raise InvalidRequest(
            [
                {
                    "pointer": pointer("params", name),
                    "detail": f"the model {model.name} does not take it; "
                    f"algorithms that do: {', '.join(known.only[name])}",
                }
                for name in foreign
            ]
        )
    certain = [{"pointer": place, "detail": why} for place, why in known.foreseen(request.input, request.params, model)]
    if certain:
        raise InvalidRequest(certain)


def refusal(error: ValidationError, body: bytes | str) -> InvalidRequest | MalformedRequest | UnknownModel:
    """pydantic's finding as ours."""
    found = error.errors(include_url=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        return MalformedRequest(f"the body is not JSON: {found[0]['msg'].removeprefix('Invalid JSON: ')}")
    document = from_json(body)
    if found[0]["type"] == "union_tag_invalid" and isinstance(document["kind"], str):
        return UnknownModel(f"there is no kind {document['kind'][:64]!r}; kinds are {', '.join(KINDS)}")
    if found[0]["type"].startswith("union_tag"):
        return InvalidRequest([{"pointer": "/kind", "detail": f"one of {', '.join(KINDS)} is required"}])
    return InvalidRequest(list(_entries(found, document, skip=1))[:SHOWN_ERRORS])


def invalid(error: ValidationError, document: JsonValue) -> InvalidRequest:
    """The same for a document that is no job."""
    found = error.errors(include_url=False, include_context=False)
    return InvalidRequest(list(_entries(found, document, skip=0))[:SHOWN_ERRORS])


def pointer(*parts: str | int) -> str:
    """RFC 6901; of a name that is longer than anybody reads, the beginning."""
    return "".join("/" + str(part)[:NAME_SHOWN].replace("~", "~0").replace("/", "~1") for part in parts)


def _entries(found: list[ErrorDetails], document: JsonValue, skip: int) -> Iterator[dict[str, str]]:
    """One entry a place. Of a text that may be given two ways, only what is wrong with the way that was chosen."""
    entries: dict[str, str] = {}
    for one in found:
        entries.setdefault(_place(one, document, skip), _sentence(one))
    for place, detail in entries.items():
        if not any(other.startswith(place + "/") for other in entries):
            yield {"pointer": place, "detail": detail}


def _place(one: ErrorDetails, document: JsonValue, skip: int) -> str:
    """pydantic's location without the names of union members, which are no part of the document."""
    value: Any = document
    parts: list[int | str] = []
    loc: tuple[Any, ...] = one["loc"][skip:]
    for index, part in enumerate(loc):
        if isinstance(value, dict) and part in value or isinstance(value, list) and isinstance(part, int):
            value = value[part]
            parts.append(part)
        elif one["type"] == "missing" and index == len(loc) - 1:
            parts.append(part)
    return pointer(*parts)


def _sentence(one: ErrorDetails) -> str:
    match one["type"]:
        case "missing":
            return "this field is required"
        case "extra_forbidden":
            return "there is no such field"
    return one["msg"].removeprefix("Value error, ")


def check_free_part(request: JobRequest, body_size: int) -> None:
    """Checks params and metadata: values that every JSON parser preserves, and the limits on size and depth. Errors:
    InvalidRequest, TooLarge."""
    if request.metadata:
        check_kept(request.metadata)
    if body_size * GROWTH <= FREE_MAX_BYTES:
        return
    given: Any = request.params  # the kind's own model, by request_of
    _check_size(given.model_dump_json(exclude_unset=True), request.metadata)


def check_free(params: Mapping[str, JsonValue], metadata: Mapping[str, JsonValue]) -> None:
    """Checks metadata beside the params of a job that is recorded. Errors: InvalidRequest, TooLarge."""
    check_kept(metadata)
    _check_size(to_json(params).decode(), metadata)


def check_kept(metadata: Mapping[str, JsonValue]) -> None:
    """Checks that every JSON parser preserves the values. Errors: InvalidRequest."""
    if not _is_kept(dict(metadata)):
        raise InvalidRequest(list(itertools.islice(_not_kept(dict(metadata), "/metadata", 1), SHOWN_ERRORS)))


def _check_size(params: str, metadata: Mapping[str, JsonValue]) -> None:
    size = len(params.encode()) + len(json.dumps(metadata, ensure_ascii=False).encode())
    if size > FREE_MAX_BYTES:
        raise TooLarge(f"params and metadata are {size:,} bytes of JSON; together they may be {FREE_MAX_BYTES:,}")


def _is_kept(value: JsonValue) -> bool:
    """True where `_not_kept` finds nothing, in a tenth of its time."""
    level: list[Any] = [value]
    for depth in range(1, FREE_MAX_DEPTH + 2):
        following: list[Any] = []
        for one in level:
            kind = type(one)
            if kind is str:
                continue
            if kind is int and not -(2**63) <= one < 2**64 or kind is float and not math.isfinite(one):
                return False
            if kind is dict or kind is list:
                if depth > FREE_MAX_DEPTH:
                    return False
                following.extend(one.values() if kind is dict else one)
        level = following
    return True


def _not_kept(value: JsonValue, place: str, depth: int) -> Iterator[dict[str, str]]:
    """Values that JSON parsers do not preserve, one error a place."""
    if isinstance(value, float) and not math.isfinite(value):
        yield {"pointer": place, "detail": "NaN and Infinity are not JSON, nor a number beyond 1.8e308"}
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        yield {"pointer": place, "detail": "an integer has 64 bits at most; a longer one may be sent as a string"}
    elif isinstance(value, dict | list) and depth > FREE_MAX_DEPTH:
        yield {"pointer": place, "detail": f"lists and objects may be {FREE_MAX_DEPTH} levels deep"}
    elif isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _not_kept(item, place + pointer(name), depth + 1)
