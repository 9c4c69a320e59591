"""Makes the log lines of Flask's requests. The logs themselves, and what they hold: request_logs.py."""

import re
import time

from flask import Flask, Response

from api.dispatch import Asked, asked
from api.keyfile import TENANT
from api.request_logs import Line, Logs, line_of
from api.server.holds import HELD_READ
from tasks.ids import JOB_ID

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
METHODS = (*SAFE_METHODS, "POST", "PUT", "PATCH", "DELETE")
KEY_REFUSED = (401, 403)


def register(app: Flask, logs: Logs) -> None:
    """Logs the requests of this app."""

    def note(answer: Response) -> Response:
        request = asked()
        if HELD_READ not in request.environ:
            is_audited = _is_audited(request, answer)
            if is_audited or logs.access:
                logs.write(_line(request, answer), is_audited, answer.content_length, request.began)
        return answer

    if logs.access:
        app.before_request(_begin)
    if logs.audit or logs.access:
        app.after_request(note)


def _begin() -> None:
    asked().began = time.perf_counter()


def _is_audited(request: Asked, answer: Response) -> bool:
    if answer.status_code in KEY_REFUSED:
        return True
    return request.key is not None and (request.method not in SAFE_METHODS or _owner(request) is not None)


def _line(request: Asked, answer: Response) -> Line:
    named = request.view_args or {}
    job = named.get("job_id", "")
    return line_of(
        request.remote_addr,
        request.method if request.method in METHODS else "other",
        request.url_rule.rule if request.url_rule else None,
        answer.status_code,
        request.shown,
        job=job if JOB_ID.fullmatch(job) else None,
        made=request.made if request.made and answer.status_code == 202 else None,
        of=_owner(request),
        target=_target(request, answer) if named else None,
    )


def _target(request: Asked, answer: Response) -> str | None:
    """The name of another changed thing, such as a paused pool. Only of a change that succeeded, so a known name."""
    if request.method in SAFE_METHODS or answer.status_code >= 400:
        return None
    return "/".join(value for name, value in (request.view_args or {}).items() if name in ("kind", "name")) or None


def _owner(request: Asked) -> str | None:
    """The tenant whose things an operator asked for; None for the operator's own."""
    if request.key is None or request.key.scope != "operator":
        return None
    owner = request.owner or (request.view_args or {}).get("tenant", "")
    return owner if owner != request.key.tenant and re.fullmatch(TENANT, owner) else None
