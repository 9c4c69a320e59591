"""Refuses a body or a query that the route does not read, and a compressed body. Ignoring them would be dangerous:
`DELETE /v1/dead-letters` with its filter in a body would erase all.

Knows the routes from operations.py and parameters.py.
"""

import functools
import re
from urllib.parse import unquote_to_bytes

from api.answers import EMPTY_BODIES
from api.dispatch import Asked, asked
from api.operations import BY_ROUTE
from api.parameters import QUERIES
from tasks.errors import InvalidRequest, MalformedRequest, UnsupportedCoding
from tasks.request import pointer

EMPTY_MAX_BYTES = 64


@functools.cache
def _route(method: str, rule: str) -> tuple[bool, bool]:
    """True where the route reads a query, and where it reads a body."""
    route = "get" if method == "HEAD" else method.lower(), re.sub(r"<(\w+)>", r"{\1}", rule)
    return route in QUERIES, route in BY_ROUTE and BY_ROUTE[route].body is not None


def check() -> None:
    """Checks a request for a route under /v1. Errors: UnsupportedCoding, MalformedRequest, InvalidRequest."""
    request = asked()
    rule = request.url_rule
    if rule is None or not rule.rule.startswith("/v1/") or request.method == "OPTIONS":
        return
    reads_query, reads_body = _route(request.method, rule.rule)
    if "HTTP_CONTENT_ENCODING" in request.environ:
        _check_coding(request)
    if request.query_string:
        _check_query(request, reads_query)
    if not reads_body:
        _check_no_body(request, "; what is meant goes into the query" if reads_query else "")


def _check_coding(request: Asked) -> None:
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise UnsupportedCoding(f"the body is packed ({coding[:32]}); it is read as it is, so send it unpacked")


def _check_query(request: Asked, reads: bool) -> None:
    try:
        unquote_to_bytes(request.query_string).decode()
    except UnicodeDecodeError as error:
        raise MalformedRequest("the query is not UTF-8") from error
    if not reads and request.args:
        raise InvalidRequest(
            [{"pointer": pointer(name), "detail": "this route takes no query"} for name in list(request.args)[:20]]
        )


def _check_no_body(request: Asked, instead: str) -> None:
    length = request.content_length
    if length == 0 or (length is None and "chunked" not in request.headers.get("Transfer-Encoding", "").lower()):
        return
    if (length or 0) > EMPTY_MAX_BYTES or request.stream.read(EMPTY_MAX_BYTES).strip() not in EMPTY_BODIES:
        raise MalformedRequest(f"{request.method} takes no body here, so this one would not be heeded{instead}")
