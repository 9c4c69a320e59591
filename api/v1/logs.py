"""The log of a job over HTTP, as plain text."""

from flask import Blueprint, Response
from pydantic import Field

from api.answers import PRIVATE, read_query, services
from api.auth import Whose, owner
from tasks.service import logs

routes = Blueprint("logs", __name__, url_prefix="/v1/jobs")
PLAIN = "text/plain; charset=utf-8"
ATTEMPTS_MAX = 1_000_000
"""Largest number of an attempt that may be asked for."""


class LogQuery(Whose):
    """An attempt of a job."""

    attempt: int | None = Field(None, ge=1, le=ATTEMPTS_MAX, description="number of the attempt; the last by default")


@routes.get("/<job_id>/logs")
def get(job_id: str) -> Response:
    jobs, query = services().jobs, read_query(LogQuery)
    job = jobs.get(owner(job_id, query), job_id)
    text = logs.read(jobs.storage, jobs.looks, job, query.attempt)
    return Response(text, content_type=PLAIN, headers=PRIVATE)
