"""Server-sent events: their shapes, their form on the wire, and the events that tell how a job has moved since the last
look. It knows no connection (server/streams.py) and no route (v1/events.py).
"""

import json
import re
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from api.server.prefix import prefixed
from tasks.job import Job, moment, phase_of
from tasks.ledger import Record
from tasks.ledger.client import Entry
from tasks.ledger.events import place
from tasks.service.looks import Ask, Look

LINE = re.compile(r"[^.]+\.([^:]+):([^@]+)")
"""A line's name: pool, kind and model."""
EVENT_STREAM = "text/event-stream"
BEAT = b":\n\n"
"""A comment, which keeps proxies from closing a silent stream."""
RETRY_MS = 500, 2000
"""Bounds of the pause that a stream which the server ends asks for: listeners come back one by one."""


class TextSoFar(BaseModel):
    """Data of the event `text`, and a part of `snapshot`: what a running attempt has written."""

    attempt: int = Field(description="number of the attempt")
    offset: int = Field(description="bytes of UTF-8 of the attempt's text before this one")
    text: str = Field(description="text, which goes on behind the offset")
    text_cut: bool = Field(description="true once the text so far has reached 64 KiB and gets no more")


class LogSoFar(BaseModel):
    """Data of the event `log`, and a part of `snapshot`: what the model of a running attempt has written to its log."""

    attempt: int = Field(description="number of the attempt; another attempt's log begins at offset 0")
    offset: int = Field(description="bytes of UTF-8 of the attempt's log before this piece")
    text: str = Field(description="lines, which go on behind the offset")
    log_cut: bool = Field(description="true once the log so far has reached 64 KiB; the kept log has more")


class TextReset(BaseModel):
    """Data of the event `reset` of a job's stream: another attempt writes, and its text begins anew."""

    attempt: int = Field(description="number of the attempt")


class Snapshot(BaseModel):
    """Data of the event `snapshot`, the first of a job's stream."""

    job: Job = Field(description="job as `GET /v1/jobs/{job_id}` shows it")
    text: TextSoFar | None = Field(None, description="text so far, where the model tells one while it runs")
    log: LogSoFar | None = Field(None, description="log so far, where the model has written one while it runs")


class Progress(BaseModel):
    """Data of the event `progress`: those of a job's fields that move while it runs."""

    phase: str | None = Field(None, description="step of the running attempt, for people")
    progress: float | None = Field(None, description="share done, from 0 to 1, where the model tells")
    message: str | None = Field(None, description="progress in words")


class StatusChange(Progress):
    """Data of the event `status` of a job's stream."""

    status: str = Field(description="the job's status now; one that passed quickly may be left out")
    attempt: int | None = Field(None, description="number of the attempt; null before the first")
    retry_at: datetime | None = Field(None, description="time of the next attempt, while a failed one waits for it")
    amended_at: datetime | None = Field(None, description="time of the last change by PATCH; `GET` shows what it made")


class Change(BaseModel):
    """Data of the event `status` of a tenant's stream: a job's change of status."""

    id: str = Field(description="id of the job, or of the batch that was sealed")
    kind: str | None = Field(description="kind of the job; null for a batch, and in entries of an older release")
    model: str | None = Field(description="model of the job; null for a batch, and in entries of an older release")
    status: str = Field(description="the job's new status, or `sealed` for a batch")
    tenant: str = Field(description="tenant that owns the job")
    amended: bool = Field(False, description="true: the status is as before, and a PATCH has changed the job")
    batch: str | None = Field(None, description="batch of the job; `sealed` tells once that all its members are queued")
    at: datetime = Field(description="time of the change")


class Reset(BaseModel):
    """Data of the event `reset` of a tenant's stream: changes behind the Last-Event-ID are no longer kept."""

    detail: str = "changes since your last event are no longer kept; list the jobs to know them all"


def change_of(entry: Entry) -> Change:
    """An entry of the event stream. Errors: KeyError, ValueError where it is none of ours."""
    cursor, fields = entry
    line = LINE.match(fields.get("line", ""))
    kind, model = line.groups() if line else (None, None)
    return Change(
        id=fields["id"],
        kind=kind,
        model=model,
        status=fields["status"],
        tenant=fields["tenant"],
        batch=fields.get("batch"),
        amended="amended" in fields,
        at=moment(place(cursor)[0]),
    )


def frame(event: str, data: str, cursor: str = "") -> bytes:
    """An event on the wire; `data` is JSON, which has no line ends."""
    named = f"id: {cursor}\n" if cursor else ""
    return f"{named}event: {event}\ndata: {data}\n\n".encode()


def snapshot(job: Job, look: Look | None = None) -> bytes:
    """The first event of a job's stream, and, for a job that is done, the last. `look`: has text and log so far."""
    so_far = {"text": _text(look), "log": _log(look)} if look else {}
    told = frame("snapshot", Snapshot(job=job, **so_far).model_dump_json())
    return told + frame("done", job.model_dump_json()) if job.done else told


class Telling:
    """State of a job as one listener has been told it. `over`: there is nothing more to tell."""

    def __init__(self, job: Job, prefix: str, look: Look | None = None) -> None:
        """`job` and `look`: as the snapshot showed them. `prefix`: the path prefix of this listener's links."""
        self._prefix, self._job_id = prefix, job.id
        self._written, self._bytes, self._cut = 0, 0, False
        self._logged, self._log_bytes, self._log_cut = 0, 0, False
        if look:
            self._wrote(look)
            self._has_logged(look)
        self._status: str = job.status
        self._amended = job.amended_at
        self._attempt = job.attempts[-1].number if job.attempts else None
        self._progress = {"phase": job.phase, "progress": job.progress, "message": job.message}
        self.over = job.done

    def of(self, look: Look) -> bytes:
        """The events between the last look and this one."""
        if not look.record:
            self.over = True  # erased: asking again tells how
            return b""
        if look.done:
            self.over = True
            return frame("done", prefixed(look.job, self._prefix).model_dump_json()) if look.job else b""
        return self._moved(look.record) + self._wrote(look) + self._has_logged(look)

    @property
    def ask(self) -> Ask:
        """The next look: behind the text and the log that have been told."""
        return Ask(self._job_id, self._written, self._bytes, self._logged, self._log_bytes)

    def _wrote(self, look: Look) -> bytes:
        """The events of the text so far."""
        text = _text(look)
        if text is None or not text.text and text.text_cut == self._cut:
            return b""
        begins = self._written not in (0, text.attempt)
        self._written, self._bytes = text.attempt, text.offset + len(text.text.encode())
        self._cut = text.text_cut
        reset = frame("reset", TextReset(attempt=text.attempt).model_dump_json()) if begins else b""
        return reset + frame("text", text.model_dump_json())

    def _has_logged(self, look: Look) -> bytes:
        """The event of the log so far."""
        log = _log(look)
        if log is None or not log.text and log.log_cut == self._log_cut:
            return b""
        self._logged, self._log_bytes, self._log_cut = log.attempt, log.offset + len(log.text.encode()), log.log_cut
        return frame("log", log.model_dump_json())

    def _moved(self, record: Record) -> bytes:
        status, attempt, progress = record["status"], int(record.get("starts", 0)) or None, _progress(record)
        amended_ms = record.get("amended_ms")
        amended = moment(float(amended_ms)) if amended_ms else None
        if (status, attempt, amended) != (self._status, self._attempt, self._amended):
            self._status, self._attempt, self._amended, self._progress = status, attempt, amended, progress
            retry_ms = record.get("retry_ms")
            retry_at = moment(float(retry_ms)) if retry_ms else None
            told = {"status": status, "attempt": attempt, "retry_at": retry_at, "amended_at": amended}
            return frame("status", StatusChange.model_validate({**told, **progress}).model_dump_json())
        if progress != self._progress:
            self._progress = progress
            return frame("progress", json.dumps(progress))
        return b""


def _text(look: Look) -> TextSoFar | None:
    if look.text is None:
        return None
    return TextSoFar(**vars(look.text), text_cut=look.record["text"] == f"{look.text.attempt} cut")


def _log(look: Look) -> LogSoFar | None:
    if look.log is None:
        return None
    return LogSoFar(**vars(look.log), log_cut=look.record["log"] == f"{look.log.attempt} cut")


def _progress(record: Record) -> dict[str, Any]:
    running = record["status"] in ("running", "canceling")
    return {
        "phase": phase_of(record) if running else None,
        "progress": float(record["progress"]) if record.get("progress") else None,
        "message": record.get("message") or None,
    }
