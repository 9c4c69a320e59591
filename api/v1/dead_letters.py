"""Dead letters over HTTP: list them, replay many, purge many. One is looked at, retried and erased as any job is."""

from typing import Literal

from flask import Blueprint, Response
from pydantic import BaseModel, Field, FiniteFloat

from api.answers import answer, read_query, services
from api.auth import Whose, require_kind, whose
from api.v1.jobs import JobList, idempotency_key
from tasks.job import Job, JobError
from tasks.registry import Kind
from tasks.service.dead_letters import DeadLetters, Which

routes = Blueprint("dead_letters", __name__, url_prefix="/v1/dead-letters")
LONGEST_S = 31_536_000


class DeadQuery(Whose):
    """Which dead letters, those that ended last first; the same words for all three."""

    kind: Kind | None = None
    model: str | None = Field(None, max_length=64)
    error_code: str | None = Field(None, max_length=64, description="`code` of the job's error")
    older_than_s: FiniteFloat | None = Field(None, ge=0, le=LONGEST_S, description="ended so many seconds ago, or more")
    limit: int = Field(100, ge=1, le=100, description="jobs of one call at most")
    cursor: str | None = Field(None, max_length=200, description="`next_cursor` of the call before")


class Refusal(BaseModel):
    """A dead letter that was not replayed, and stays one."""

    id: str
    error: JobError


class Replay(BaseModel):
    """The new jobs, each with the old one in `retry_of`. There is more where `next_cursor` is given."""

    object: Literal["replay"] = "replay"
    data: list[Job]
    refused: list[Refusal] = []
    next_cursor: str | None = None


class Purged(BaseModel):
    """A job that was erased."""

    id: str


class Purge(BaseModel):
    """The jobs that were erased. There is more where `next_cursor` is given."""

    object: Literal["purge"] = "purge"
    data: list[Purged]
    next_cursor: str | None = None


@routes.get("")
def list_dead_letters() -> Response:
    page = _dead_letters().read(*_which())
    return answer(JobList(data=page.jobs, next_cursor=page.next_cursor))


@routes.post("/replay")
def replay() -> Response:
    of, which = _which()
    require_kind(which.kind)
    done = _dead_letters().replay(of, which, idempotency_key())
    refused = [Refusal(id=one.id, error=JobError(**one.error.as_dict())) for one in done.refused]
    return answer(Replay(data=done.jobs, refused=refused, next_cursor=done.next_cursor), 202, {"Retry-After": "1"})


@routes.delete("")
def purge() -> Response:
    done = _dead_letters().purge(*_which())
    return answer(Purge(data=[Purged(id=job_id) for job_id in done.ids], next_cursor=done.next_cursor))


def _dead_letters() -> DeadLetters:
    return DeadLetters(services().jobs)


def _which() -> tuple[str, Which]:
    """Whose, and which of them."""
    query = read_query(DeadQuery)
    return whose(query.tenant), Which(**query.model_dump(exclude={"tenant"}))
