"""Serves the keeper's own port: /metrics for Prometheus, /readyz for people and probes, /healthz while it lives.

It knows how the duties stand, and nothing of their work.
"""

import json
import logging
import threading
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from tasks.settings import Settings
from worker.keeper.duty import Duty

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)
REQUEST_S = 10
"""Seconds for one request to arrive whole."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S

    def log_message(self, *_: object) -> None:
        """Logs nothing: probes would fill the log."""


def serve(settings: Settings, duties: Iterable[Duty]) -> int:
    """Serve from now on, on threads of its own. Returns the port. Errors: OSError where it is taken."""
    app = _app(list(duties), make_wsgi_app())
    server = make_server(settings.metrics_host, settings.metrics_port, app, _Server, _Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server.server_port


def _app(duties: list[Duty], show_metrics: "WSGIApplication") -> "WSGIApplication":
    def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics" | "/":
                return show_metrics(environ, start_response)
            case "/readyz":
                late = [duty for duty in duties if duty.is_late]
                return _answer(
                    start_response,
                    "503 Service Unavailable" if late else "200 OK",
                    {"status": "late" if late else "ok", "duties": [_shown(duty) for duty in late]},
                )
            case "/healthz":
                return _answer(start_response, "200 OK", {"status": "ok"})
        return _answer(start_response, "404 Not Found", {"detail": "here are /metrics, /readyz and /healthz"})

    return app


def _shown(duty: Duty) -> dict[str, Any]:
    standing = duty.standing()
    return {"name": duty.name, "succeeded_s": standing.age_s, "errors": standing.errors, "error": standing.error}


def _answer(start_response: "StartResponse", status: str, body: dict[str, Any]) -> list[bytes]:
    text = json.dumps(body).encode() + b"\n"
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
    return [text]
