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

from flask import Flask, Response, g, request

from api.keyfile import TENANT
from api.server.holds import HELD_READ
from tasks.job import JOB_ID
from tasks.settings import Settings

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
METHODS = (*SAFE_METHODS, "POST", "PUT", "PATCH", "DELETE")
KEY_REFUSED = (401, 403)
JOBS_PATH = "/v1/jobs/"


class _File(WatchedFileHandler):
    """A log file with mode 0600, opened again after a rotation has moved it."""

    def _open(self) -> io.TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600))


def register(app: Flask, settings: Settings) -> None:
    """Logs the requests of this app. Errors: OSError for a file that cannot be opened."""
    audit, access = _handler(settings.audit_log), _handler(settings.access_log)

    def begin() -> None:
        g.began = time.perf_counter()

    def note(answer: Response) -> Response:
        if HELD_READ in request.environ:
            return answer
        if audit and _is_audited(answer):
            _write(audit, _line(answer))
        if access:
            ms = round((time.perf_counter() - g.began) * 1000, 1)
            _write(access, {**_line(answer), "bytes": answer.content_length, "ms": ms})
        return answer

    app.before_request(begin)
    app.after_request(note)


def _handler(where: str) -> logging.Handler | None:
    """A handler of logging, for its lock, rotation and error handling. A logger would add a search of the call stack,
    which takes as long as the line itself."""
    if where == "off":
        return None
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    return logging.StreamHandler(streams[where]) if where in streams else _File(where)


def _write(to: logging.Handler, line: dict[str, Any]) -> None:
    to.handle(logging.makeLogRecord({"msg": json.dumps(line)}))


def _is_audited(answer: Response) -> bool:
    if answer.status_code in KEY_REFUSED:
        return True
    return "key" in g and (request.method not in SAFE_METHODS or _owner() is not None)


def _line(answer: Response) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    key, job = g.get("shown"), (request.view_args or {}).get("job_id", "")
    made = answer.headers.get("Location", "").removeprefix(JOBS_PATH) if answer.status_code == 202 else ""
    told = {
        "at": now,
        "from": request.remote_addr,
        "method": request.method if request.method in METHODS else "other",
        "route": request.url_rule.rule if request.url_rule else None,
        "job": job if JOB_ID.fullmatch(job) else None,
        "made": made if JOB_ID.fullmatch(made) else None,
        "status": answer.status_code,
        "of": _owner(),
        "target": _target(answer),
    }
    who = {"key": key.id, "name": key.name, "tenant": key.tenant, "scope": key.scope} if key else {"key": None}
    return {name: value for name, value in {**told, **who}.items() if value is not None or name in ("route", "key")}


def _target(answer: Response) -> str | None:
    """The name of another changed thing, such as a paused pool. Only of a change that succeeded, so a known name."""
    if request.method in SAFE_METHODS or answer.status_code >= 400:
        return None
    return "/".join(value for name, value in (request.view_args or {}).items() if name in ("kind", "name")) or None


def _owner() -> str | None:
    """The tenant whose things an operator asked for; None for the operator's own."""
    owner = g.get("owner") or (request.view_args or {}).get("tenant", "")
    foreign = "key" in g and g.key.scope == "operator" and owner != g.key.tenant
    return owner if foreign and re.fullmatch(TENANT, owner) else None
