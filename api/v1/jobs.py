"""Jobs over HTTP: submits, lists, reads, cancels, retries and erases them, and redirects to their outputs."""

import re
from typing import Annotated, Literal

from flask import Blueprint, Response
from pydantic import BaseModel, Field, field_validator

from api.answers import (
    JSON,
    MERGE_PATCH,
    PRIVATE,
    answer,
    json_body,
    rate_limit,
    read_body,
    read_optional,
    read_query,
    services,
    submits_left,
)
from api.auth import Whose, caller, owner, require_kind, whose
from api.dispatch import asked
from api.multipart import read_form
from api.prefer import waited
from tasks.errors import MalformedRequest, UnsupportedMedia
from tasks.job import Job, Status
from tasks.registry import Kind
from tasks.request import parse
from tasks.request_shapes import AmendRequest, RetryRequest, Time
from tasks.service.intake import File
from tasks.service.jobs import Accepted
from tasks.settings import Settings

routes = Blueprint("jobs", __name__, url_prefix="/v1/jobs")
IDEMPOTENCY_KEY = re.compile(r'^(?:"([\x20-\x21\x23-\x7e]{1,255})"|([\x21\x23-\x7e]{1,255}))$')


METADATA_MAX = 5
"""Keys of metadata that one list may name."""
MetadataKey = Annotated[str, Field(min_length=1, max_length=200)]
MetadataValue = Annotated[str, Field(max_length=1000)]


class ListQuery(Whose):
    """A selection of jobs, newest first."""

    status: Status | None = Field(None, description="only jobs in this status")
    kind: Kind | None = Field(None, description="only jobs of this kind")
    model: str | None = Field(None, max_length=64, description="only jobs of this model")
    batch: str | None = Field(None, pattern="^batch_[0-9a-z]{26}$", description="only jobs of this batch")
    created_after: Time | None = Field(None, description="only jobs submitted at this time (RFC 3339) or later")
    created_before: Time | None = Field(None, description="only jobs submitted before this time (RFC 3339)")
    metadata: dict[MetadataKey, MetadataValue] = Field(
        {}, max_length=METADATA_MAX, description="only jobs with these values, each given as `metadata.<key>=<value>`"
    )
    count: bool = Field(False, description="true: the answer has `count`")
    limit: int = Field(20, ge=1, le=100, description="maximum of jobs on one page")
    cursor: str | None = Field(None, max_length=200, description="`next_cursor` of the previous page")

    @field_validator("status", mode="before")
    @classmethod
    def _british(cls, value: str) -> str:
        return "canceled" if value == "cancelled" else value


class Count(BaseModel):
    """The number of jobs that match."""

    jobs: int = Field(ge=0, description="jobs that match")
    exact: bool = Field(description="false: only the newest jobs were looked at, and there may be more")


class JobList(BaseModel):
    """A page of jobs.

    A call looks at 2,000 jobs at most; with `metadata` it reads 500. With a filter a page may therefore be short or
    empty while `next_cursor` names another. An hour after a job's end its row leaves out large values of input, params,
    metadata, result and outputs; `GET /v1/jobs/{job_id}` has them."""

    object: Literal["list"] = "list"
    data: list[Job] = Field(description="jobs of this page")
    next_cursor: str | None = Field(None, description="`cursor` of the next page; null on the last one")
    count: Count | None = Field(None, description="number of jobs that match, where `count` was asked for")


@routes.post("")
def submit() -> Response:
    request = asked()
    files: dict[str, File] = {}
    if request.is_of(JSON):
        wanted = parse(json_body(request))
    elif request.is_of("multipart/form-data"):
        wanted, files = read_form(request)
    else:
        raise UnsupportedMedia(
            f"the content type is {request.mimetype or 'not given'}; a job comes as "
            "application/json or multipart/form-data"
        )
    require_kind(wanted.kind)
    by = caller()
    accepted = request.services.jobs.submit(
        by.tenant, wanted, files=files, idempotency_key=idempotency_key(), key=by.id
    )
    return _accepted(accepted)


@routes.get("")
def list_jobs() -> Response:
    query = read_query(ListQuery, "metadata")
    page = services().jobs.list(whose(query.tenant), **query.model_dump(exclude={"tenant"}))
    count = page.count and Count(jobs=page.count.jobs, exact=page.count.exact)
    return answer(JobList(data=page.jobs, next_cursor=page.next_cursor, count=count))


@routes.get("/<job_id>")
def get(job_id: str) -> Response:
    job = services().jobs.get(owner(job_id), job_id)
    job, headers = waited(job, job.tenant)
    return answer(job, headers=headers)


@routes.patch("/<job_id>")
def amend(job_id: str) -> Response:
    return answer(services().jobs.amend(owner(job_id), job_id, read_body(AmendRequest, (JSON, MERGE_PATCH))))


@routes.post("/<job_id>/cancel")
def cancel(job_id: str) -> Response:
    return answer(services().jobs.cancel(owner(job_id), job_id), 202)


@routes.post("/<job_id>/retry")
def retry(job_id: str) -> Response:
    tenant = owner(job_id)
    if caller().kinds:
        require_kind(services().jobs.get(tenant, job_id).kind)
    return _accepted(
        services().jobs.retry(
            tenant, job_id, idempotency_key(), read_optional(RetryRequest, (JSON, MERGE_PATCH)), caller().id
        )
    )


@routes.post("/<job_id>/webhook/replay")
def replay_webhook(job_id: str) -> Response:
    return answer(services().jobs.replay("webhook", owner(job_id), job_id), 202)


@routes.post("/<job_id>/delivery/replay")
def replay_delivery(job_id: str) -> Response:
    return answer(services().jobs.replay("delivery", owner(job_id), job_id), 202)


@routes.delete("/<job_id>")
def delete(job_id: str) -> Response:
    services().jobs.delete(owner(job_id), job_id)
    return Response(status=204)


@routes.get("/<job_id>/outputs/<name>")
def output(job_id: str, name: str) -> Response:
    link = services().jobs.output_link(owner(job_id), job_id, name)
    return Response(status=307, headers={"Location": link, **PRIVATE})


def idempotency_key() -> str | None:
    """The header Idempotency-Key, quoted or bare (IETF draft -07). Errors: MalformedRequest."""
    given: str | None = asked().environ.get("HTTP_IDEMPOTENCY_KEY")
    return None if given is None else unquoted(given)


def unquoted(given: str) -> str:
    """The key that a header Idempotency-Key holds. Errors: MalformedRequest."""
    match = IDEMPOTENCY_KEY.match(given.strip())
    if not match:
        raise MalformedRequest("Idempotency-Key must be 1 to 255 printable ASCII characters, in quotes or bare")
    return match[1] or match[2]


def headers_of(accepted: Accepted, settings: Settings) -> dict[str, str]:
    """The headers of a 202 beside those of every answer."""
    headers = {"Location": accepted.job.links.self}
    if not accepted.job.done:
        headers["Retry-After"] = "1"
    if accepted.left is not None:
        headers |= rate_limit(accepted.left, accepted.reset_s, most=settings.submits_per_minute)
    if accepted.budget:
        headers["Backlot-Budget"] = accepted.budget
    if accepted.replayed:
        headers["Idempotency-Replayed"] = "true"
    return headers


def _accepted(accepted: Accepted) -> Response:
    request = asked()
    request.made = accepted.job.id
    job, headers = waited(accepted.job, accepted.job.tenant)
    headers |= headers_of(accepted, request.services.settings)
    if accepted.left is None:
        headers |= submits_left(job.tenant)
    return answer(job, 202, headers, accepted.text)
