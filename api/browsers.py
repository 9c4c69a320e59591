"""Adds security and CORS headers to every answer, and answers CORS preflights. The headers themselves: headers.py."""

from flask import Flask, Response, request

from api import headers
from api.answers import services

WITHOUT_BODY = (204, 307)
"""Statuses of answers without a body, which Flask would label as HTML."""


def register(app: Flask) -> None:
    """Makes this module see every request and answer of the app."""
    app.before_request(_preflight)
    app.after_request(_safe)


def _preflight() -> Response | None:
    asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    if not asks or not services().settings.cors_origins or request.routing_exception:
        return None
    return Response(status=204, headers=headers.preflight(services().settings.cors_origins, _origin()))


def _safe(answer: Response) -> Response:
    added = headers.cors(services().settings.cors_origins, _origin())
    if "Access-Control-Allow-Methods" in answer.headers:
        added = {}  # a preflight has its own
    for name, value in {**headers.SAFE, **added}.items():
        answer.headers.setdefault(name, value)
    if request.method == "OPTIONS" and answer.status_code == 200:
        answer.status_code = 204
    if answer.status_code in WITHOUT_BODY:
        answer.headers.pop("Content-Type", None)
    if answer.status_code == 204:
        answer.headers.pop("Content-Length", None)
    return answer


def _origin() -> str | None:
    return request.headers.get("Origin")
