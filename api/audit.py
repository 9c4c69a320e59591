"""Writes the audit log and the optional access log, as JSON lines.

    {"at": "2026-11-30T09:30:00.123Z", "from": "203.0.113.7", "method": "POST", "route": "/v1/jobs/<job_id>/cancel",
     "job": "job_01...", "status": 202, "key": "3f9a61c20b7e", "name": "ci", "tenant": "acme", "scope": "operator",
     "of": "rival"}

The audit log has each change, each refused key (401, 403), and each read of another tenant's things by an operator
(`of`). The access log has every request, with its `bytes` and `ms`. A key is named by the beginning of its hash.
Neither log has paths, queries, headers or bodies, where callers put secrets: a line names the route as declared, the id
of a job, and the name of a changed thing.
"""

import io
import json
import logging
import os
import re
import sys
import time
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from typing import Any

from flask import Flask, Response

from api.dispatch import Asked, asked
from api.keyfile import TENANT
from api.server.holds import HELD_READ
from tasks.ids import JOB_ID
from tasks.settings import Settings

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
METHODS = (*SAFE_METHODS, "POST", "PUT", "PATCH", "DELETE")
KEY_REFUSED = (401, 403)


class _File(WatchedFileHandler):
    """A log file with mode 0600, opened again after a rotation has moved it."""

    def _open(self) -> io.TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600))


class _Line(logging.LogRecord):
    """A record of a line alone. logging's own also finds out its thread, process and task, which no handler here
    writes."""

    def __init__(self, line: str) -> None:
        self.msg, self.args = line, ()
        self.exc_info = self.exc_text = self.stack_info = None


def register(app: Flask, settings: Settings) -> None:
    """Logs the requests of this app. Errors: OSError for a file that cannot be opened."""
    audit, access = _handler(settings.audit_log), _handler(settings.access_log)

    def begin() -> None:
        asked().began = time.perf_counter()

    def note(answer: Response) -> Response:
        request = asked()
        if HELD_READ in request.environ:
            return answer
        if audit and _is_audited(request, answer):
            _write(audit, _line(request, answer))
        if access:
            ms = round((time.perf_counter() - request.began) * 1000, 1)
            _write(access, {**_line(request, answer), "bytes": answer.content_length, "ms": ms})
        return answer

    if access:
        app.before_request(begin)
    if audit or access:
        app.after_request(note)


def _handler(where: str) -> logging.Handler | None:
    """A handler of logging, for its lock, rotation and error handling. A logger would add a search of the call stack,
    which takes as long as the line itself."""
    if where == "off":
        return None
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    return logging.StreamHandler(streams[where]) if where in streams else _File(where)


def _write(to: logging.Handler, line: dict[str, Any]) -> None:
    to.handle(_Line(json.dumps(line)))


def _is_audited(request: Asked, answer: Response) -> bool:
    if answer.status_code in KEY_REFUSED:
        return True
    return request.key is not None and (request.method not in SAFE_METHODS or _owner(request) is not None)


def _line(request: Asked, answer: Response) -> dict[str, Any]:
    line: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")}
    if request.remote_addr is not None:
        line["from"] = request.remote_addr
    line["method"] = request.method if request.method in METHODS else "other"
    line["route"] = request.url_rule.rule if request.url_rule else None
    named = request.view_args or {}
    if JOB_ID.fullmatch(job := named.get("job_id", "")):
        line["job"] = job
    if request.made and answer.status_code == 202:
        line["made"] = request.made
    line["status"] = answer.status_code
    if (owner := _owner(request)) is not None:
        line["of"] = owner
    if named and (target := _target(request, answer)) is not None:
        line["target"] = target
    key = request.shown
    return line | (
        {"key": key.id, "name": key.name, "tenant": key.tenant, "scope": key.scope} if key else {"key": None}
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
