"""Limits over HTTP: a tenant's rates and quotas, what is left of each, and the bounds of requests and jobs.

The figures come from the settings and from one read of the ledger; nothing is counted here.
"""

from typing import Literal

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from api.answers import answer, read_query, services
from api.auth import Whose, whose
from api.batch_body import LINES_MAX
from api.v1.uploads import PUT_MAX_BYTES
from tasks.ledger.shapes import Rate as Left
from tasks.request import FREE_MAX_BYTES
from tasks.service.clocks import MAX_AHEAD_S
from tasks.settings import Settings

routes = Blueprint("limits", __name__, url_prefix="/v1/limits")


class Rate(BaseModel):
    """A limit a minute. A whole minute's may be spent at once, and comes back evenly."""

    per_minute: int = Field(description="calls a minute")
    left: int = Field(ge=0, description="calls that may be made at once now")
    reset_s: float = Field(ge=0, description="seconds until `left` is `per_minute` again")


class Quota(BaseModel):
    """A limit on what a tenant has at one time."""

    most: int | None = Field(description="the limit; null where there is none")
    used: int = Field(ge=0, description="what the tenant has now")
    left: int | None = Field(ge=0, description="what it may have besides; null where there is no limit")


class RequestLimits(BaseModel):
    """Bounds of requests."""

    at_once: int = Field(description="requests under way in one API process, of one tenant")
    held: int = Field(description="requests that one API process holds for `Prefer: wait`, for one tenant")
    streams: int = Field(description="event streams that one API process keeps open, for one tenant")
    wait_s: float = Field(description="seconds that `Prefer: wait` holds a request at most")
    json_bytes: int = Field(description="bytes of a JSON body, of a form's text fields together, or of a batch's line")
    form_bytes: int = Field(description="bytes of a form or of a batch")
    batch_lines: int = Field(description="lines of a batch")
    upload_bytes: int = Field(description="bytes of one upload")


class JobLimits(BaseModel):
    """Bounds of a job's fields. `GET /v1/models/{kind}/{name}` has those of a model."""

    queue_ttl_s: float = Field(description="largest `queue_ttl_s`")
    run_timeout_s: float = Field(description="largest `run_timeout_s`, where the model allows as much")
    retention_s: float = Field(description="largest `retention_s`")
    start_ahead_s: int = Field(description="seconds from now that `start_at` may lie ahead")
    free_bytes: int = Field(description="bytes of `params` and `metadata` together, as JSON")


class Limits(BaseModel):
    """The limits of one tenant, and what is left of them."""

    object: Literal["limits"] = "limits"
    tenant: str = Field(description="tenant that these limits hold for")
    submits: Rate | None = Field(description="jobs submitted; null where there is no limit")
    uploads: Rate | None = Field(description="uploads begun; null where there is no limit")
    waiting_jobs: Quota = Field(description="jobs that wait for a slot, a start time or a retry")
    running_jobs: Quota = Field(description="jobs that run; further ones are accepted and wait")
    stored_bytes: Quota = Field(description="bytes of outputs and uploads")
    record_bytes: Quota = Field(description="bytes of job records in Redis")
    undelivered_webhooks: Quota = Field(description="webhooks and deliveries that wait")
    requests: RequestLimits
    jobs: JobLimits


@routes.get("")
def get() -> Response:
    tenant, s = whose(read_query(Whose).tenant), services().settings
    used = services().jobs.ledger.limits(tenant)
    return answer(
        Limits(
            tenant=tenant,
            submits=_rate(s.submits_per_minute, used.submits),
            uploads=_rate(s.uploads_per_minute, used.uploads),
            waiting_jobs=_quota(s.max_waiting_jobs, used.waiting),
            running_jobs=_quota(s.max_running_jobs, used.running),
            stored_bytes=_quota(s.max_stored_bytes, used.stored),
            record_bytes=_quota(used.held_most, used.held),
            undelivered_webhooks=_quota(s.max_undelivered_webhooks, used.undelivered),
            requests=_of_requests(s),
            jobs=_of_jobs(s),
        )
    )


def _of_requests(s: Settings) -> RequestLimits:
    return RequestLimits(
        at_once=s.http_requests_per_tenant,
        held=s.http_held_per_tenant,
        streams=s.http_streams_per_tenant,
        wait_s=s.max_wait_s,
        json_bytes=s.json_max_bytes,
        form_bytes=s.upload_max_bytes,
        batch_lines=LINES_MAX,
        upload_bytes=PUT_MAX_BYTES,
    )


def _of_jobs(s: Settings) -> JobLimits:
    return JobLimits(
        queue_ttl_s=s.max_queue_ttl_s,
        run_timeout_s=s.max_run_timeout_s,
        retention_s=s.max_retention_s,
        start_ahead_s=MAX_AHEAD_S,
        free_bytes=FREE_MAX_BYTES,
    )


def _rate(per_minute: int, left: Left) -> Rate | None:
    return Rate(per_minute=per_minute, left=left.left, reset_s=left.reset_s) if per_minute else None


def _quota(most: int, used: int) -> Quota:
    """0 is no limit, in settings."""
    return Quota(most=most or None, used=used, left=max(0, most - used) if most else None)
