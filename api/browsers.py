"""What every answer tells, a browser above all, and the answer to its question before a request (CORS preflight)."""

from flask import Flask, Response, request

from api import headers
from api.answers import services

EMPTY = (204, 307)
"""Answers without a body, of which Flask would say that they are HTML."""


def register(app: Flask) -> None:
    """Ask and answer for this app's browsers."""
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
    if answer.status_code in EMPTY:
        answer.headers.pop("Content-Type", None)
    if answer.status_code == 204:
        answer.headers.pop("Content-Length", None)
    return answer


def _origin() -> str | None:
    return request.headers.get("Origin")
