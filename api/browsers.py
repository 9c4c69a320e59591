"""Adds CORS headers to answers, answers CORS preflights, and labels answers without a body. The headers: headers.py."""

from flask import Flask, Response, request

from api import headers
from api.dispatch import asked
from tasks.settings import Settings

WITHOUT_BODY = (204, 307)
"""Statuses of answers without a body, which Flask would label as HTML."""


def register(app: Flask, settings: Settings) -> None:
    """Makes this module see every request and answer of the app."""
    if settings.cors_origins:
        app.before_request(_preflight)
        app.after_request(_shared)
    app.after_request(_bare)


def _preflight() -> Response | None:
    request = asked()
    asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    if not asks or request.routing_exception:
        return None
    return Response(status=204, headers=headers.preflight(request.services.settings.cors_origins, _origin()))


def _shared(answer: Response) -> Response:
    """Adds the CORS headers, unless it is a preflight, which has its own."""
    if "Access-Control-Allow-Methods" not in answer.headers:
        for name, value in headers.cors(asked().services.settings.cors_origins, _origin()).items():
            answer.headers.setdefault(name, value)
    return answer


def _bare(answer: Response) -> Response:
    """Makes an answer without a body one that says so."""
    status = answer.status_code
    if status == 200 and asked().method == "OPTIONS":
        status = answer.status_code = 204
    if status in WITHOUT_BODY:
        answer.headers.pop("Content-Type", None)
    if status == 204:
        answer.headers.pop("Content-Length", None)
    return answer


def _origin() -> str | None:
    return request.headers.get("Origin")
