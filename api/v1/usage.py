"""Usage over HTTP: a tenant's jobs, seconds, tokens, sound, pictures and bytes, by day, key, kind, model and metadata.

The counters are read and grouped by tasks/service/usage.py; nothing is counted here.
"""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from flask import Blueprint, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.answers import answer, read_query, services
from api.auth import Whose, caller, require_operator, whose
from tasks.prices import Prices, written
from tasks.service.usage import Sum, Wanted, check, grouped

routes = Blueprint("usage", __name__, url_prefix="/v1/usage")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _as_written(value: str) -> str:
    """Refuses what pydantic takes for a day too, such as seconds since 1970."""
    if not DAY.fullmatch(value):
        raise ValueError("a day is written as YYYY-MM-DD")
    return value


Day = Annotated[date, BeforeValidator(_as_written)]


class UsageQuery(Whose):
    """A selection of usage, and the names by which it is grouped."""

    model_config = ConfigDict(extra="forbid", validate_by_name=False)

    first: Day | None = Field(None, alias="from", description="first day (UTC), default the first of this month")
    last: Day | None = Field(None, alias="to", description="last day (UTC), which is included; default today")
    group_by: str = Field(
        "",
        max_length=1000,
        description="names, comma-separated: `day`, `key`, `kind`, `model`, `metadata.<key>` of one key that the "
        "operator has named; of operators also `tenant`. Without it there is one group",
    )


class JobCounts(BaseModel):
    """Jobs that ended, by their final status."""

    succeeded: int = Field(ge=0, description="jobs that succeeded")
    failed: int = Field(ge=0, description="jobs that failed")
    canceled: int = Field(ge=0, description="jobs that were canceled")
    expired: int = Field(ge=0, description="jobs whose time was over before they started")


class Used(BaseModel):
    """Sums over jobs that have ended, each counted in the day of its end, with all of its attempts."""

    jobs: JobCounts
    attempts: int = Field(ge=0, description="starts of all these jobs")
    retries: int = Field(ge=0, description="attempts that were not a job's first")
    retry_share: float | None = Field(None, ge=0, le=1, description="`retries` of `attempts`; null without an attempt")
    queued_s: float = Field(ge=0, description="seconds of waiting in the queue")
    load_s: float = Field(ge=0, description="seconds of loading models")
    run_s: float = Field(ge=0, description="seconds of computing, also of attempts that failed or were killed")
    attempt_s: float = Field(ge=0, description="seconds for which attempts had a slot, from start to end")
    retry_s: float = Field(ge=0, description="those of `retries`")
    prompt_tokens: int = Field(ge=0, description="tokens read, of succeeded jobs")
    completion_tokens: int = Field(ge=0, description="tokens written, of succeeded jobs")
    sound_s: float = Field(ge=0, description="seconds of sound heard, of succeeded jobs")
    pictures: int = Field(ge=0, description="pictures looked at, of succeeded jobs")
    bytes_in: int = Field(ge=0, description="bytes of inputs that workers fetched, at each attempt")
    bytes_out: int = Field(ge=0, description="bytes of outputs")
    cost: str | None = Field(
        pattern=r"^\d+(\.\d+)?$",
        description="cost as an exact decimal, by the prices of today; null where the operator has set none",
    )


class UsageGroup(Used):
    """The sums of one group."""

    group: dict[str, str | None] = Field(
        description="value of each name in `group_by`; null: the job had none. `other` stands for all values of a "
        "metadata key but the first 100 of the tenant's month, and for those of over 100 characters"
    )


class UsageReport(BaseModel):
    """Usage by group. A job is counted some seconds after its end; on a busy machine within about a minute."""

    object: Literal["usage"] = "usage"
    first_day: date = Field(description="first day (UTC)")
    last_day: date = Field(description="last day (UTC), which is included")
    group_by: list[str] = Field(description="names by which it is grouped")
    data: list[UsageGroup] = Field(description="groups in the order of their values; none without usage")
    currency: str | None = Field(description="currency of `cost`; null where the operator has set no prices")
    total: Used = Field(description="sum of all groups")


@routes.get("")
def get() -> Response:
    query, today = read_query(UsageQuery), datetime.now(UTC).date()
    names = tuple(name.strip() for name in query.group_by.split(",") if name.strip())
    if "tenant" in names:
        require_operator()
    last = query.last or today
    tenant = None if caller().scope == "operator" and query.tenant is None else whose(query.tenant)
    wanted = Wanted(tenant, query.first or last.replace(day=1), last, names)
    check(wanted, today, services().settings.usage_metadata)
    jobs, total = services().jobs, Sum()
    groups, prices = grouped(jobs.ledger, wanted, jobs.prices), jobs.prices
    for one in groups.values():
        total.amounts.add(one.amounts)
        total.cost += one.cost
    data = [
        UsageGroup(group=dict(zip(names, values, strict=True)), **_used(one, prices).model_dump())
        for values, one in groups.items()
    ]
    return answer(
        UsageReport(
            first_day=wanted.first,
            last_day=last,
            group_by=list(names),
            data=data,
            currency=prices.currency if prices else None,
            total=_used(total, prices),
        )
    )


def _used(one: Sum, prices: Prices | None) -> Used:
    a = one.amounts
    return Used(
        jobs=JobCounts(succeeded=a.succeeded, failed=a.failed, canceled=a.canceled, expired=a.expired),
        attempts=a.attempts,
        retries=a.retries,
        retry_share=round(a.retries / a.attempts, 4) if a.attempts else None,
        queued_s=a.queued_ms / 1000,
        load_s=a.load_ms / 1000,
        run_s=a.run_ms / 1000,
        attempt_s=a.attempt_ms / 1000,
        retry_s=a.retry_ms / 1000,
        prompt_tokens=a.prompt_tokens,
        completion_tokens=a.completion_tokens,
        sound_s=a.sound_ms / 1000,
        pictures=a.pictures,
        bytes_in=a.bytes_in,
        bytes_out=a.bytes_out,
        cost=written(one.cost) if prices else None,
    )
