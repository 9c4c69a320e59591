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
from api.keyfile import TENANT, Key
from api.server.holds import HELD_READ
from tasks.ids import JOB_ID
from tasks.settings import Settings

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
METHODS = (*SAFE_METHODS, "POST", "PUT", "PATCH", "DELETE")
KEY_REFUSED = (401, 403)
Line = dict[str, Any]


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


class Logs:
    """The two logs. Errors: OSError for a file that cannot be opened."""

    def __init__(self, settings: Settings) -> None:
        self._audit, self._access = _handler(settings.audit_log), _handler(settings.access_log)

    def register(self, app: Flask) -> None:
        """Logs the requests of this app."""
        if self._access:
            app.before_request(_begin)
        if self._audit or self._access:
            app.after_request(self._note)

    def write(self, line: "Line", is_audited: bool, size: int | None, began: float) -> None:
        """Logs a request with an answer of `size` bytes; `began`: time.perf_counter()."""
        if self._audit and is_audited:
            _write(self._audit, line)
        if self._access:
            _write(self._access, {**line, "bytes": size, "ms": round((time.perf_counter() - began) * 1000, 1)})

    def _note(self, answer: Response) -> Response:
        request = asked()
        if HELD_READ not in request.environ:
            is_audited = _is_audited(request, answer)
            if is_audited or self._access:
                self.write(_line(request, answer), is_audited, answer.content_length, request.began)
        return answer


def _begin() -> None:
    asked().began = time.perf_counter()


def _handler(where: str) -> logging.Handler | None:
    """A handler of logging, for its lock, rotation and error handling. A logger would add a search of the call stack,
    which takes as long as the line itself."""
    if where == "off":
        return None
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    return logging.StreamHandler(streams[where]) if where in streams else _File(where)


def _write(to: logging.Handler, line: Line) -> None:
    to.handle(_Line(json.dumps(line)))


def _is_audited(request: Asked, answer: Response) -> bool:
    if answer.status_code in KEY_REFUSED:
        return True
    return request.key is not None and (request.method not in SAFE_METHODS or _owner(request) is not None)


def line_of(
    address: str | None,
    method: str,
    route: str | None,
    status: int,
    key: Key | None,
    *,
    job: str | None = None,
    made: str | None = None,
    of: str | None = None,
    target: str | None = None,
) -> Line:
    """A line of both logs: who asked what, the job that the path names, the id of the one that was made, ..."""
    line: Line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")}
    if address is not None:
        line["from"] = address
    line |= {"method": method, "route": route}
    if job is not None:
        line["job"] = job
    if made is not None:
        line["made"] = made
    line["status"] = status
    if of is not None:
        line["of"] = of
    if target is not None:
        line["target"] = target
    return line | (
        {"key": key.id, "name": key.name, "tenant": key.tenant, "scope": key.scope} if key else {"key": None}
    )


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
