"""Reads bodies and queries, and makes answers, for all routes. Knows no resource."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from api.dispatch import Answered, Asked, asked
from api.server.prefix import located, prefixed
from api.services import Services
from tasks.errors import InvalidRequest, MalformedRequest, UnsupportedMedia
from tasks.request import invalid, read_json

Model = TypeVar("Model", bound=BaseModel)
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
EMPTY_BODIES = {b"", b"{}", b"null"}
"""Bodies without content, which some HTTP libraries send by default."""
PRIVATE = {"Cache-Control": "private, no-store"}
NO_JSON = (ValueError, RecursionError)
"""Errors of json.loads: for bytes that are no text, numbers of thousands of digits, and a thousand levels."""


def services() -> Services:
    """The services of this app."""
    return asked().services


def answer(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None, text: str = "") -> Answered:
    """An answer of JSON that no cache keeps. `text`: the body as JSON, where it has been made already."""
    prefix = asked().root_path
    if prefix:
        text, headers = prefixed(body, prefix).model_dump_json(), located(headers, prefix)
    text = text or body.model_dump_json()
    return Answered(text, status, {**PRIVATE, **(headers or {})}, mimetype=JSON)


def rate_limit(left: int, reset_s: float, policy: str = "submits", most: int | None = None) -> dict[str, str]:
    """RateLimit headers (IETF draft): `left` requests remain, and the limit is reset in `reset_s` seconds."""
    most = most or services().settings.submits_per_minute
    return {"RateLimit-Policy": f'"{policy}";q={most};w=60', "RateLimit": f'"{policy}";r={left};t={math.ceil(reset_s)}'}


def submits_left(tenant: str, left: int | None = None, reset_s: float = 0) -> dict[str, str]:
    """RateLimit headers of a submit, where submits are limited. `left` None: this one cost none, as a replay does, and
    the ledger is asked."""
    jobs = services().jobs
    if not jobs.settings.submits_per_minute:
        return {}
    if left is None:
        rate = jobs.ledger.limits(tenant).submits
        left, reset_s = rate.left, rate.reset_s
    return rate_limit(left, reset_s)


def json_body(request: Asked) -> bytes:
    """The body of a JSON request, unparsed. Errors: UnsupportedMedia; werkzeug's RequestEntityTooLarge."""
    _check_type(request, (JSON,))
    return _body(request)


def read_body(model: type[Model], types: tuple[str, ...] = (JSON,)) -> Model:
    """The JSON body as `model`. Errors: as json_body; MalformedRequest, InvalidRequest."""
    _check_type(asked(), types)
    return _read(_body(asked()), model)


def read_optional(model: type[Model], types: tuple[str, ...] = (JSON,)) -> Model:
    """The body as `model`; one without content is a model without fields. Errors: as read_body."""
    body = _body(asked())
    if body.strip() in EMPTY_BODIES:
        return model()
    _check_type(asked(), types)
    return _read(body, model)


def _check_type(request: Asked, types: tuple[str, ...]) -> None:
    if not any(map(request.is_of, types)):
        raise UnsupportedMedia(
            f"the content type is {request.mimetype or 'not given'}; {' or '.join(types)} is read here"
        )


def _body(request: Asked) -> bytes:
    most = request.services.settings.json_max_bytes
    body = request.body(most)
    if len(body) > most:
        raise RequestEntityTooLarge
    return body


def _read(body: bytes, model: type[Model]) -> Model:
    try:
        document = read_json(body)
    except NO_JSON as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error
    return _validated(document, lambda: model.model_validate_json(body, strict=True))


def read_query(model: type[Model], named: str = "") -> Model:
    """The query string as `model`; each name once. Values of `<named>.<key>` are the object `named`. Errors:
    InvalidRequest."""
    request = asked()
    if not request.query_string:
        return _validated({}, model)
    twice = [name for name, values in request.args.lists() if len(values) > 1]
    if twice:
        raise InvalidRequest([{"pointer": f"/{twice[0]}", "detail": "may be given once"}])
    document: dict[str, Any] = request.args.to_dict()
    own = [name for name in document if named and name.startswith(f"{named}.")]
    if own:
        document[named] = {name.removeprefix(f"{named}."): document.pop(name) for name in own}
    return _validated(document, lambda: model.model_validate(document))


def _validated(document: Any, validate: Callable[[], Model]) -> Model:
    try:
        return validate()
    except ValidationError as error:
        raise invalid(error, document) from error
