"""The clocks of a job: what its request asks, within the maxima of model and operator. It asks nobody."""

from datetime import UTC, datetime
from typing import Any

from tasks.errors import InvalidRequest
from tasks.registry import Model
from tasks.request_shapes import JobRequest
from tasks.settings import Settings

MAX_AHEAD_S = 31_536_000
"""Seconds from now that start_at may lie ahead: a year."""


def clocks_of(request: JobRequest, model: Model, settings: Settings) -> dict[str, Any]:
    """The job's clocks and its number of attempts, as Fixed has them. Errors: InvalidRequest for one too long."""
    longest_run = min(model.run_timeout_s, settings.max_run_timeout_s)
    return {
        "start_ms": _start_ms(request),
        "queue_ttl_s": _within("queue_ttl_s", request.queue_ttl_s, settings.queue_ttl_s, settings.max_queue_ttl_s),
        "run_timeout_s": _within("run_timeout_s", request.run_timeout_s, longest_run, longest_run),
        "retention_s": _within("retention_s", request.retention_s, settings.retention_s, settings.max_retention_s),
        "deadline_s": request.deadline_s,
        "max_attempts": request.max_attempts or settings.max_attempts,
        "retry": {**model.retry, **request.retry} if request.retry else model.retry,
    }


def _within(name: str, asked: float | None, default: float, most: float) -> float:
    if asked is not None and asked > most:
        raise InvalidRequest([{"pointer": f"/{name}", "detail": f"at most {most:g} s here, not {asked:g}"}])
    return default if asked is None else asked


def _start_ms(request: JobRequest) -> int | None:
    if request.start_at is None:
        return None
    ahead = (request.start_at - datetime.now(UTC)).total_seconds()
    if ahead > MAX_AHEAD_S:
        raise InvalidRequest([{"pointer": "/start_at", "detail": f"at most {MAX_AHEAD_S:,} s (a year) from now"}])
    if request.deadline_s is not None and ahead >= request.deadline_s:
        raise InvalidRequest([{"pointer": "/deadline_s", "detail": "the deadline is over before start_at"}])
    return round(request.start_at.timestamp() * 1000)
