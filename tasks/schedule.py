"""The schedule: a request for jobs that are made again and again, and the times at which they are due.

A time is found by cronsim, which does as Debian's cron does where clocks are put forward or back. Nothing here talks to
Redis.
"""

import functools
import zoneinfo
from datetime import UTC, datetime
from typing import Annotated, Literal

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from tasks.job import JobError, redacted

FIELDS = 5
"""Fields of a cron expression: minute, hour, day of the month, month, day of the week."""
RUNS_SHOWN = 3
"""Times that a schedule shows of its next runs."""
NO_ZONES = {"localtime", "posixrules", "Factory"}
"""Names among the zones of some machines that name none."""


def _cron(expression: str) -> str:
    if len(expression.split()) != FIELDS:
        raise ValueError("five fields are wanted: minute, hour, day of the month, month, day of the week")
    try:
        CronSim(expression, datetime.now(UTC))
    except CronSimError as error:
        raise ValueError(f"not a cron expression: {error}") from error
    return expression


def _zone(name: str) -> str:
    if name not in _zones():
        raise ValueError("there is no such time zone; a name of the IANA database is wanted, such as Europe/Berlin")
    return name


@functools.cache
def _zones() -> set[str]:
    return zoneinfo.available_timezones() - NO_ZONES


Cron = Annotated[str, Field(max_length=100), AfterValidator(_cron)]
TimeZone = Annotated[str, Field(max_length=64), AfterValidator(_zone)]
Name = Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f]*$")]
Missed = Literal["skip", "once"]
CRON = "minute, hour, day of the month, month and day of the week, such as `30 6 * * 1-5`"
ZONE = "IANA time zone in which `cron` is read"
MISSED = (
    "what becomes of runs that were missed by more than a minute, as no keeper ran: `skip` makes no job, `once` makes "
    "one for all of them"
)
PAUSED = "true: no jobs are made; those of the pause are not made up for"
JOB = "request of each job, as `POST /v1/jobs` takes it as JSON, without `start_at`"


class ScheduleRequest(BaseModel):
    """A request for a schedule."""

    model_config = ConfigDict(extra="forbid")

    cron: Cron = Field(description=CRON)
    time_zone: TimeZone = Field("UTC", description=ZONE)
    job: dict[str, JsonValue] = Field(description=JOB)
    name: Name = Field("", description="for people")
    missed: Missed = Field("skip", description=MISSED)
    paused: bool = Field(False, description=PAUSED)


class SchedulePatch(BaseModel):
    """A JSON merge patch (RFC 7396) of a schedule. null sets a field to its default; `job` is merged name by name."""

    model_config = ConfigDict(extra="forbid")

    cron: Cron | None = Field(None, description=CRON)
    time_zone: TimeZone | None = Field(None, description=ZONE)
    job: dict[str, JsonValue] | None = Field(None, description=JOB)
    name: Name | None = Field(None, description="for people")
    missed: Missed | None = Field(None, description=MISSED)
    paused: bool | None = Field(None, description=PAUSED)


class Run(BaseModel):
    """A run of a schedule: the job that it made, or the error that stood in its way."""

    due_at: datetime = Field(description="time at which the job was due")
    job: str | None = Field(None, description="id of the job that was made")
    error: JobError | None = Field(
        None, description="refusal of the submit; `missed` where no keeper ran within a minute of the time"
    )


class Content(ScheduleRequest):
    """A schedule as it is kept. `fingerprint`: of the request that an Idempotency-Key made it by. `failures`: runs in
    a row that were refused."""

    model_config = ConfigDict(extra="ignore")

    fingerprint: str = ""
    last_run: Run | None = None
    failures: int = 0

    def next_ms(self, after_ms: int) -> int | None:
        """The first run after a time; None while it is paused, and where none is to come."""
        return None if self.paused else next_due(self.cron, self.time_zone, after_ms)


class ScheduleLinks(BaseModel):
    """Paths of the schedule's routes."""

    self: str = Field(description="path to read, change or delete the schedule")


class Schedule(BaseModel):
    """A request for jobs that are made again and again. Times are RFC 3339, UTC."""

    object: Literal["schedule"] = "schedule"
    id: str = Field(description="id, named as `schedule` by the jobs that it makes")
    tenant: str = Field(description="tenant that owns the schedule and its jobs")
    name: str = Field(description="as given")
    cron: str = Field(description=CRON)
    time_zone: str = Field(description=ZONE)
    missed: Missed = Field(description=MISSED)
    paused: bool = Field(description="true: no jobs are made; also after ten runs in a row that were refused")
    job: dict[str, JsonValue] = Field(description="request of each job; query strings of URLs are left out")
    created_at: datetime = Field(description="time of its creation")
    next_runs: list[datetime] = Field(description="next times at which a job is due, three at most")
    last_run: Run | None = Field(None, description="last run; null before the first")
    failures: int = Field(ge=0, description="runs in a row that were refused; ten pause the schedule")
    links: ScheduleLinks


def next_due(cron: str, time_zone: str, after_ms: int) -> int | None:
    """The first time after `after_ms` that the expression names, ms since 1970; None where none comes in 50 years.

    A local time that the clock skips counts as the first minute behind the gap. Of a local time that comes twice the
    first counts. Where minute or hour begins with `*`, each real time counts that the expression names.
    """
    begin = datetime.fromtimestamp(after_ms / 1000, UTC).astimezone(zoneinfo.ZoneInfo(time_zone))
    for at in CronSim(cron, begin):
        due_ms = round(at.timestamp() * 1000)
        if due_ms > after_ms:  # the first of a time that comes twice may be past
            return due_ms
    return None


def shown(job: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The request as it may be shown: no query string of a URL, which may hold a signature."""
    told = dict(job)
    for name in ("input", "webhook"):
        value = told.get(name)
        if isinstance(value, dict):
            told[name] = {key: redacted(part) for key, part in value.items()}
    return told
