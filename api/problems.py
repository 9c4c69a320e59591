"""Answers errors as application/problem+json (RFC 9457), by one table from error class to HTTP status.

An answer is never HTML and has no traceback: an unforeseen error is logged with a reference that the answer names.
"""

import logging
import math
import secrets
from http import HTTPStatus
from typing import Literal

from flask import Flask, Response, request
from pydantic import BaseModel, Field
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from api.answers import rate_limit, services
from api.dispatch import Answered
from api.headers import challenge
from tasks import errors
from tasks.settings import Settings

log = logging.getLogger(__name__)

STATUS: dict[type[errors.BacklotError], int] = {
    errors.InvalidInput: 422,
    errors.MalformedRequest: 400,
    errors.InputUnreachable: 422,
    errors.UnsupportedMedia: 415,
    errors.TooLarge: 413,
    errors.UnknownModel: 422,
    errors.DependencyFailed: 422,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.Gone: 410,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.KeyReused: 422,
    errors.RateLimited: 429,
    errors.QuotaExceeded: 429,
    errors.NotReady: 503,
    errors.Overloaded: 503,
    errors.StorageUnavailable: 503,
}
MEDIA_TYPE = "application/problem+json"
NO_STORE = {"Cache-Control": "no-store"}
RETRY_AFTER_S = {429: 5, 503: 2}
"""Seconds of Retry-After by status, where the error has none of its own."""
HTTP_ALONE = {
    "method_not_allowed": (405, "The route has no such method; `Allow` lists those it has."),
    "request_timeout": (408, "The request body arrived too slowly, or took too long in all."),
    "request_header_fields_too_large": (431, "The header fields are larger than the server reads."),
    "internal": (500, "The service has a defect; the detail names a reference to look for in its log."),
}
"""Codes that no class of tasks/errors.py has: the status and the meaning, as docs/api.md has them."""
CODES = {400: "malformed", 404: "not_found", 413: "too_large", 415: "unsupported_media"} | {
    status: code for code, (status, _) in HTTP_ALONE.items()
}


class FieldError(BaseModel):
    """An error at one place of the request."""

    pointer: str = Field(description="JSON Pointer (RFC 6901) into the body, or /name of a query parameter")
    detail: str = Field(description="a sentence for a person")


class Problem(BaseModel):
    """A refusal (RFC 9457). Later versions may add codes."""

    type: Literal["about:blank"] = "about:blank"
    title: str = Field(description="name of the HTTP status")
    status: int = Field(description="HTTP status")
    detail: str = Field(description="a sentence for a person")
    code: str = Field(description="code for a program, such as `invalid_input`")
    retryable: bool = Field(description="true where the same request may succeed later")
    instance: str = Field(description="path of the request")
    errors: list[FieldError] | None = Field(None, min_length=1, description="every error found in the request")


def register(app: Flask) -> None:
    """Makes this module answer all errors of the app."""
    app.register_error_handler(errors.BacklotError, of_ours)
    app.register_error_handler(HTTPException, of_http)
    app.register_error_handler(Exception, of_unforeseen)


def status_of(error: errors.BacklotError) -> int:
    """The HTTP status of an error: its class's, or that of the nearest base class in the table; else 500."""
    return next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), 500)


def of_ours(error: errors.BacklotError) -> Response:
    """The answer to an error of tasks/errors.py."""
    body = described(error)
    return _answer(body, headers_of(error, body))


def headers_of(error: errors.BacklotError, body: Problem) -> dict[str, str]:
    """The headers of an error's problem, beside those of every problem."""
    headers = _headers(error)
    if body.retryable:
        after_s = getattr(error, "retry_after_s", RETRY_AFTER_S.get(body.status, 1))
        headers["Retry-After"] = str(math.ceil(after_s))
    if isinstance(error, errors.RateLimited):
        headers |= rate_limit(0, error.retry_after_s, error.policy, error.per_minute)
    return headers


def _headers(error: errors.BacklotError) -> dict[str, str]:
    """Headers that the refusal itself demands."""
    match error:
        case errors.UnknownKey():
            return challenge("invalid_token", error.detail)
        case errors.Unauthorized():
            return challenge()
        case errors.Forbidden():
            return challenge("insufficient_scope", error.detail)
        case errors.UnsupportedCoding():
            return {"Accept-Encoding": "identity"}
    return {}


def of_http(error: HTTPException) -> Response:
    """The answer to a refusal by Flask itself."""
    status = error.code or 500
    detail = too_large(services().settings) if isinstance(error, RequestEntityTooLarge) else _sentence(error)
    code = CODES.get(status, HTTPStatus(status).phrase.lower().replace(" ", "_"))
    allowed = {name: value for name, value in error.get_headers() if name == "Allow"}
    return _answer(_problem(request.path, status, code, detail, retryable=False), allowed)


def of_unforeseen(error: Exception) -> Response:
    """The answer to a defect: 500 and a reference to the log."""
    return _answer(described(error))


def described(error: Exception, path: str | None = None, route: str = "") -> Problem:
    """The problem of an error. A defect is logged under a reference that the problem names. The log names the route,
    not the path, because callers paste keys and line breaks into paths. `path` and `route`: where this is not a request
    of Flask's."""
    path = request.path if path is None else path
    status = status_of(error) if isinstance(error, errors.BacklotError) else 500
    if status != 500 and isinstance(error, errors.BacklotError):
        return _problem(path, status, error.code, error.detail, error.retryable, getattr(error, "errors", None))
    reference = secrets.token_hex(8)
    log.error("%s failed, reference %s", route or request.url_rule or "no route", reference, exc_info=error)
    return _problem(
        path, 500, "internal", f"a defect of the service; its log has more under {reference}", retryable=False
    )


def _problem(
    path: str, status: int, code: str, detail: str, retryable: bool, errors: list[dict[str, str]] | None = None
) -> Problem:
    return Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        retryable=retryable,
        instance=path,
        errors=None if errors is None else [FieldError(**error) for error in errors],
    )


def _answer(body: Problem, headers: dict[str, str] | None = None) -> Answered:
    return Answered(
        body.model_dump_json(exclude_none=True), body.status, {**NO_STORE, **(headers or {})}, mimetype=MEDIA_TYPE
    )


def too_large(s: Settings) -> str:
    """The detail of a 413, with the limits of a body."""
    return (
        f"a JSON body may have {s.json_max_bytes:,} bytes; a multipart body {s.upload_max_bytes:,}, of which text "
        f"fields {s.json_max_bytes:,}, in 1,000 parts; a body of JSON lines {s.upload_max_bytes:,}, each line "
        f"{s.json_max_bytes:,}; larger files go through POST /v1/uploads"
    )


def _sentence(error: HTTPException) -> str:
    if error.code == 404:
        return f"there is nothing at {request.path[:200]}"
    if error.code == 405:
        return f"{request.method} is not possible at {request.path[:200]}"
    return error.description or HTTPStatus(error.code or 500).phrase
