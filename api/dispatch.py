"""The Flask app's class, with its request and its answer: Flask's dispatch without the parts that no route here uses.

Left out are sessions, signals, functions of blueprints alone, teardown functions, views that are coroutines, subdomains
and host matching. Routing, views, error handlers, and functions before and after each request are Flask's own. Knows no
route and no header's meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from flask import Flask, Request, Response, request
from flask.ctx import RequestContext
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter

from api.headers import SAFE

if TYPE_CHECKING:
    from api.keyfile import Key
    from api.services import Services

BODY = "backlot.body"
"""Environ key of the whole body as bytes, where the server has it in memory."""
KEY = "backlot.key"
"""Environ key of the API key (keyfile.Key) that the server has found for the request."""
WITHOUT_BODY = (204, 304)
"""Statuses of answers that have neither a body nor a Content-Length."""
SAFE_HEADERS = list(SAFE.items())


class Asked(Request):
    """A request, and what is found out about it on its way.

    `shown` is the key that it showed, `key` the same key once accepted, `owner` the tenant asked for, `made` the id of
    the job that it made, `began` its time.perf_counter() where it is logged.
    """

    services: Services
    shown: Key | None = None
    key: Key | None = None
    owner: str = ""
    made: str = ""
    began: float = 0

    def is_of(self, media_type: str) -> bool:
        """True where the Content-Type names this media type."""
        given = self.environ.get("CONTENT_TYPE")
        return given == media_type or self.mimetype == media_type

    def body(self, most: int) -> bytes:
        """The whole body, or its first `most` + 1 bytes. Errors: werkzeug's RequestEntityTooLarge."""
        held: bytes | None = self.environ.get(BODY)
        if held is not None:
            return held
        self.max_content_length = most + 1  # werkzeug silently cuts a chunked body at its limit
        return self.get_data(cache=False)


class Answered(Response):
    """An answer, which is sent with its own headers and those of every answer (headers.py)."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not self.is_sequence:  # comes part by part
            self.headers.extend(SAFE_HEADERS)
            return super().__call__(environ, start_response)
        body: list[bytes] = self.response  # type: ignore[assignment]  # set_data's, of a str or bytes
        headers = [*self.headers, *SAFE_HEADERS]
        without = self.status_code in WITHOUT_BODY
        if not without and "Content-Length" not in self.headers:
            headers.append(("Content-Length", str(sum(map(len, body)))))
        start_response(self.status, headers)
        return () if without or environ["REQUEST_METHOD"] == "HEAD" else body


class _NoSessions(SessionInterface):
    """Gives every request the same empty session."""

    _empty = NullSession()

    def open_session(self, app: Flask, asked: Request) -> NullSession:
        return self._empty

    def is_null_session(self, session: object) -> bool:
        return True


class Api(Flask):
    """The app. Functions before and after a request are the app's alone, in the order of Flask."""

    request_class = Asked
    response_class = Answered
    session_interface = _NoSessions()
    services: Services

    def request_context(self, environ: dict[str, Any]) -> RequestContext:
        context = super().request_context(environ)
        cast(Asked, context.request).services = self.services
        return context

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func

    def create_url_adapter(self, asked: Request | None) -> MapAdapter | None:
        if asked is None or "HTTP_UPGRADE" in asked.environ:  # werkzeug's own refuses a WebSocket
            return super().create_url_adapter(asked)
        host = asked.environ.get("HTTP_HOST", "")  # of redirects, which no rule here makes
        return MapAdapter(self.url_map, host, asked.root_path, "", asked.scheme, asked.path, asked.method)

    def full_dispatch_request(self) -> Response:
        try:
            answer = self.preprocess_request()
            if answer is None:
                answer = self.dispatch_request()
        except Exception as error:
            answer = self.handle_user_exception(error)
        return self.process_response(self.make_response(answer))

    def preprocess_request(self) -> Any:
        for before in self.before_request_funcs[None]:
            if (answer := before()) is not None:
                return answer
        return None

    def process_response(self, answer: Response) -> Response:
        for after in reversed(self.after_request_funcs[None]):
            answer = cast(Response, after(answer))
        return answer

    def do_teardown_request(self, exc: BaseException | None = None) -> None:
        """Does nothing: no function is registered."""

    def do_teardown_appcontext(self, exc: BaseException | None = None) -> None:
        """Does nothing: no function is registered."""


def asked() -> Asked:
    """The request under way on this thread, itself: each attribute of flask.request is a search of the context."""
    return cast(Asked, request._get_current_object())  # type: ignore[attr-defined]
