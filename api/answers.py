"""What all resources share: the services, one way to read a body and one way to answer."""

import math
from typing import Any, TypeVar

from flask import Request, Response, current_app, request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from api import Services
from api.server.prefix import prefixed
from tasks.errors import InvalidRequest, MalformedRequest, UnsupportedMedia
from tasks.request import invalid, read_json

M = TypeVar("M", bound=BaseModel)
PRIVATE = {"Cache-Control": "private, no-store"}
NO_JSON = (ValueError, RecursionError)
"""What json.loads raises: of bytes that are no text, numbers of thousands of digits, and a thousand levels."""


def services() -> Services:
    """Those of this app."""
    return current_app.extensions["backlot"]


def answer(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON that no cache keeps."""
    text = prefixed(body).model_dump_json()
    return Response(text, status, {**PRIVATE, **(headers or {})}, mimetype="application/json")


def rate_limit(left: int, reset_s: float, policy: str = "submits", most: int | None = None) -> dict[str, str]:
    """How many submits are left, and in how many seconds there will be more (IETF draft, RateLimit header fields)."""
    most = most or services().settings.submits_per_minute
    return {"RateLimit-Policy": f'"{policy}";q={most};w=60', "RateLimit": f'"{policy}";r={left};t={math.ceil(reset_s)}'}


def json_body(asked: Request) -> bytes:
    """The body of a JSON request, as it came. Errors: UnsupportedMedia; werkzeug's RequestEntityTooLarge."""
    if asked.mimetype != "application/json":
        raise UnsupportedMedia(f"the content type is {asked.mimetype or 'not given'}; application/json is read here")
    most = services().settings.json_max_bytes
    asked.max_content_length = most + 1  # werkzeug cuts a body without a length at its limit and tells nobody
    body = asked.get_data(cache=False)
    if len(body) > most:
        raise RequestEntityTooLarge
    return body


def read_body(model: type[M]) -> M:
    """The JSON body as `model`. Errors: as json_body; MalformedRequest, InvalidRequest."""
    body = json_body(request)
    try:
        document = read_json(body)
    except NO_JSON as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error
    return _validated(model, document, lambda: model.model_validate_json(body, strict=True))


def read_query(model: type[M]) -> M:
    """The query string as `model`; each name once. Errors: InvalidRequest."""
    twice = [name for name, values in request.args.lists() if len(values) > 1]
    if twice:
        raise InvalidRequest([{"pointer": f"/{twice[0]}", "detail": "may be given once"}])
    document = request.args.to_dict()
    return _validated(model, document, lambda: model.model_validate(document))


def _validated(model: type[M], document: Any, validate) -> M:
    try:
        return validate()
    except ValidationError as error:
        raise invalid(error, document) from error
