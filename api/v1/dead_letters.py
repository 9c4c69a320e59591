"""Dead letters over HTTP: lists, replays and purges many. A single one is read, retried and erased as any job is."""

from typing import Literal

from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from api.answers import answer, read_optional, read_query, services, submits_left
from api.auth import Whose, caller, require_kind, whose
from api.v1.jobs import JobList, idempotency_key
from tasks.job import Job, JobError
from tasks.registry import Kind
from tasks.request_shapes import RetryRequest
from tasks.service.dead_letters import DeadLetters, Which

routes = Blueprint("dead_letters", __name__, url_prefix="/v1/dead-letters")
OLDEST_S = 31_536_000
"""Seconds of a year."""


class DeadQuery(Whose):
    """A selection of dead letters, the latest end first; the same for all three routes."""

    kind: Kind | None = Field(None, description="only jobs of this kind")
    model: str | None = Field(None, max_length=64, description="only jobs of this model")
    error_code: str | None = Field(None, max_length=64, description="only jobs whose error has this `code`")
    older_than_s: FiniteFloat | None = Field(
        None, ge=0, le=OLDEST_S, description="only jobs that ended at least so many seconds ago"
    )
    limit: int = Field(100, ge=1, le=100, description="maximum of jobs in one call")
    cursor: str | None = Field(None, max_length=200, description="`next_cursor` of the previous call")


class ReplayRequest(BaseModel):
    """A replay of dead letters. They are selected by the query."""

    model_config = ConfigDict(extra="forbid")
    patch: RetryRequest | None = Field(None, description="change of each request, as a retry takes it")


class Refusal(BaseModel):
    """A dead letter whose replay was refused. It stays a dead letter."""

    id: str = Field(description="id of the job")
    error: JobError = Field(description="the refusal")


class Replay(BaseModel):
    """The new jobs of one call; `retry_of` of each names the dead letter."""

    object: Literal["replay"] = "replay"
    data: list[Job] = Field(description="new jobs")
    refused: list[Refusal] = Field([], description="dead letters that were not replayed")
    next_cursor: str | None = Field(None, description="`cursor` of the next call; null where none is left")


class Purged(BaseModel):
    """An erased job."""

    id: str = Field(description="id of the job")


class Purge(BaseModel):
    """The jobs that one call erased."""

    object: Literal["purge"] = "purge"
    data: list[Purged] = Field(description="erased jobs")
    next_cursor: str | None = Field(None, description="`cursor` of the next call; null where none is left")


@routes.get("")
def list_dead_letters() -> Response:
    page = _dead_letters().read(*_selection())
    return answer(JobList(data=page.jobs, next_cursor=page.next_cursor))


@routes.post("/replay")
def replay() -> Response:
    tenant, which = _selection()
    require_kind(which.kind)
    done = _dead_letters().replay(tenant, which, idempotency_key(), read_optional(ReplayRequest).patch, caller().id)
    refused = [Refusal(id=one.id, error=JobError(**one.error.as_dict())) for one in done.refused]
    headers = {"Retry-After": "1"} | submits_left(tenant)
    return answer(Replay(data=done.jobs, refused=refused, next_cursor=done.next_cursor), 202, headers)


@routes.delete("")
def purge() -> Response:
    done = _dead_letters().purge(*_selection())
    return answer(Purge(data=[Purged(id=job_id) for job_id in done.ids], next_cursor=done.next_cursor))


def _dead_letters() -> DeadLetters:
    return DeadLetters(services().jobs)


def _selection() -> tuple[str, Which]:
    """The tenant and the selection that the query names."""
    query = read_query(DeadQuery)
    return whose(query.tenant), Which(**query.model_dump(exclude={"tenant"}))
