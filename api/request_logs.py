"""Writes the audit log and the optional access log, as JSON lines.

    {"at": "2026-11-30T09:30:00.123Z", "from": "203.0.113.7", "method": "POST", "route": "/v1/jobs/<job_id>/cancel",
     "job": "job_01...", "status": 202, "key": "3f9a61c20b7e", "name": "ci", "tenant": "acme", "scope": "operator",
     "of": "rival"}

The audit log has each change, each refused key (401, 403), and each read of another tenant's things by an operator
(`of`). The access log has every request, with its `bytes` and `ms`. A key is named by the beginning of its hash.
Neither log has paths, queries, headers or bodies, where callers put secrets: a line names the route as declared, the id
of a job, and the name of a changed thing.

It knows files and lines; the requests of Flask's routes are audit.py's, those of the lane server/lane.py's.
"""

import io
import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from typing import Any

from api.keyfile import Key
from tasks.settings import Settings

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
        self.audit, self.access = _handler(settings.audit_log), _handler(settings.access_log)

    def write(self, line: Line, is_audited: bool, size: int | None, began: float) -> None:
        """Logs a request with an answer of `size` bytes; `began`: time.perf_counter()."""
        if self.audit and is_audited:
            _write(self.audit, line)
        if self.access:
            _write(self.access, {**line, "bytes": size, "ms": round((time.perf_counter() - began) * 1000, 1)})


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


def _handler(where: str) -> logging.Handler | None:
    """A handler of logging, for its lock, rotation and error handling. A logger would add a search of the call stack,
    which takes as long as the line itself."""
    if where == "off":
        return None
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    return logging.StreamHandler(streams[where]) if where in streams else _File(where)


def _write(to: logging.Handler, line: Line) -> None:
    to.handle(_Line(json.dumps(line)))
