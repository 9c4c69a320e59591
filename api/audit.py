"""Who did what, as JSON lines: the audit log, and the access log for who wants one.

    {"at": "2026-11-30T09:30:00.123Z", "from": "203.0.113.7", "method": "POST", "route": "/v1/jobs/<job_id>/cancel",
     "job": "job_01...", "status": 202, "key": "3f9a61c20b7e", "name": "ci", "tenant": "acme", "scope": "operator",
     "of": "rival"}

The audit log has each change, each refusal of a key (401, 403), and each look of an operator at another tenant's things
(`of`); the access log has every request, with its `bytes` and `ms`. A key is known by the beginning of its hash. Paths,
queries, headers and bodies stand in neither, for callers put secrets there: a route is named as it is written here, and
of what stands in its place only the id of a job, and the name of what was changed.
"""

import json
import logging
import os
import re
import sys
import time
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from typing import IO, Any

from flask import Flask, Response, g, request

from api.keyfile import TENANT
from api.server.holds import LOOK
from tasks.job import JOB_ID
from tasks.settings import Settings

LOOKS = ("GET", "HEAD", "OPTIONS")
METHODS = (*LOOKS, "POST", "PUT", "PATCH", "DELETE")
REFUSED = (401, 403)
JOBS = "/v1/jobs/"


class _File(WatchedFileHandler):
    """Its owner's alone, and opened anew where somebody has moved it away."""

    def _open(self) -> IO[str]:
        return open(self.baseFilename, "a", encoding="utf-8", opener=lambda path, how: os.open(path, how, 0o600))


def register(app: Flask, settings: Settings) -> None:
    """Note this app's requests. Errors: OSError for a file that cannot be opened."""
    audit, access = _handler(settings.audit_log), _handler(settings.access_log)

    def begin() -> None:
        g.began = time.perf_counter()

    def note(answer: Response) -> Response:
        if LOOK in request.environ:
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
    """One of logging's, for its lock, its rotation and its patience with a full disk; no logger, whose level and format
    are of no use here and whose look for the caller takes as long as the line."""
    if where == "off":
        return None
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    return logging.StreamHandler(streams[where]) if where in streams else _File(where)


def _write(to: logging.Handler, line: dict[str, Any]) -> None:
    to.handle(logging.makeLogRecord({"msg": json.dumps(line)}))


def _is_audited(answer: Response) -> bool:
    if answer.status_code in REFUSED:
        return True
    return "key" in g and (request.method not in LOOKS or _owner() is not None)


def _line(answer: Response) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    key, job = g.get("shown"), (request.view_args or {}).get("job_id", "")
    made = answer.headers.get("Location", "").removeprefix(JOBS) if answer.status_code == 202 else ""
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
    """What else was changed, such as a pool that was paused; of a change that was made alone, so a name we know."""
    if request.method in LOOKS or answer.status_code >= 400:
        return None
    return "/".join(value for name, value in (request.view_args or {}).items() if name in ("kind", "name")) or None


def _owner() -> str | None:
    """The tenant whose things an operator asked for, where that is another's."""
    owner = g.get("owner") or (request.view_args or {}).get("tenant", "")
    foreign = "key" in g and g.key.scope == "operator" and owner != g.key.tenant
    return owner if foreign and re.fullmatch(TENANT, owner) else None
