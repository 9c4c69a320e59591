"""The job, its statuses and which of them are final; the shapes callers see and records keep.

A record in Redis is a hash: `fixed` is one JSON document (Fixed) that only `amend` replaces, the
rest are fields that the ledger's scripts write. `Job.of_record` reads one; nothing here talks to Redis.
"""

import json
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, Field, JsonValue

from tasks import text
from tasks.delivery import Delivery, OutputRequest
from tasks.delivery import shown as shown_delivery
from tasks.eta import Eta
from tasks.pools import PoolName
from tasks.request_shapes import Metadata
from tasks.webhook import Webhook, WebhookRequest, shown

SCHEMA = 2
"""The newest form of a record: with `in_bucket`, `waits_for` or `batch`. Others are still written as 1, for older
workers."""


class Status(StrEnum):
    """State of a job: scheduled -> queued -> running (-> canceling) -> succeeded, failed, canceled or expired. The last
    four are final. Later versions may add statuses."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        return self in FINAL


FINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.EXPIRED})
"""Statuses that no job leaves. The ledger's scripts decide all other moves."""

Phase = Literal["fetching", "loading", "batching", "running", "uploading"]
EARLIEST_MS, LATEST_MS = -62_135_596_800_000, 253_402_300_799_000
"""The years 1 to 9999: what a datetime can hold."""


class Output(BaseModel):
    """A file that a succeeded job made."""

    name: str = Field(description="file name, unique within the job")
    media_type: str = Field(description="media type such as text/plain")
    bytes: int = Field(ge=0, description="size")
    sha256: str = Field(description="SHA-256 of the content, in hexadecimal")
    url: str = Field(description="stable path that redirects to a fresh download link")


class JobError(BaseModel):
    """The error of a failed job or attempt. Later versions may add codes."""

    code: str = Field(description="code for a program, such as `timeout` or `worker_lost`")
    detail: str = Field(description="a sentence for a person")
    retryable: bool = Field(description="true where another attempt may succeed")


class Attempt(BaseModel):
    """One start of the job by one worker."""

    number: int = Field(ge=1, description="1 for the first attempt")
    worker: str = Field(description="id of the worker")
    started_at: datetime = Field(description="time of the start")
    ended_at: datetime | None = Field(None, description="time of the end; null while it runs")
    outcome: str | None = Field(
        None,
        description="succeeded, failed, canceled, retry (failed, and tried again) or released (handed back, and not "
        "counted); null while it runs",
    )
    error: JobError | None = Field(None, description="error that ended the attempt")


class Metrics(BaseModel):
    """Durations in seconds. `queued_s` sums all waits in the queue; the others are of the last attempt."""

    queued_s: float | None = Field(None, description="in the queue")
    fetch_s: float | None = Field(None, description="fetching inputs")
    load_s: float | None = Field(None, description="loading the model")
    batch_s: float | None = Field(None, description="waiting for the model, which was busy with other jobs")
    run_s: float | None = Field(None, description="computing")
    upload_s: float | None = Field(None, description="uploading outputs")


class Links(BaseModel):
    """Paths of the job's routes."""

    self: str = Field(description="path to read the job")
    cancel: str = Field(description="path to cancel the job, by POST")
    retry: str = Field(description="path to submit the request again, by POST")


class Job(BaseModel):
    """One request of one kind: its state, attempts, result and outputs. Times are RFC 3339, UTC."""

    object: Literal["job"] = "job"
    id: str = Field(description="id, which sorts by time of submit")
    tenant: str = Field(description="tenant that owns the job")
    kind: str = Field(description="kind of job")
    model: str = Field(description="name of the model that runs it")
    pool: str = Field(description="worker pool that runs it")
    status: Status
    done: bool = Field(description="true in a final status")
    phase: Phase | None = Field(None, description="step of the running attempt, for people")
    progress: float | None = Field(None, ge=0, le=1, description="share done, from 0 to 1, where the model tells")
    message: str | None = Field(None, description="progress in words, or the reason for a wait")
    queue_position: int | None = Field(
        None, ge=1, description="rank in its waiting line, 1 being next; null unless it waits there"
    )
    eta_s: Eta | None = Field(
        None,
        description="seconds until it starts where it is queued, until it ends where it runs, estimated; null where "
        "durations of its model are not known, no worker lives or it waits for more than a slot, and in lists",
    )
    priority: int = Field(description="as submitted, or as changed while it waited")
    created_at: datetime = Field(description="time of the submit")
    started_at: datetime | None = Field(None, description="start of the first attempt")
    completed_at: datetime | None = Field(None, description="time of the end")
    amended_at: datetime | None = Field(None, description="time of the last change by PATCH")
    retry_at: datetime | None = Field(None, description="time of the next attempt, while a failed one waits for it")
    retry_of: str | None = Field(None, description="id of the ended job whose request this job repeats")
    batch: str | None = Field(None, description="id of the batch whose line made it")
    custom_id: str | None = Field(None, description="`custom_id` of that line")
    schedule: str | None = Field(None, description="id of the schedule that made it")
    cache: bool = Field(False, description="true where the same work is done once, as submitted")
    cached_from: str | None = Field(
        None, description="id of the job that did the same work and whose result this is; it may have been erased since"
    )
    changed: dict[str, JsonValue] | None = Field(
        None, description="JSON merge patch that made this request of that job's; null where it is the same"
    )
    start_at: datetime | None = Field(None, description="earliest start, as submitted, or as changed while it waited")
    waits_for: list[str] = Field([], description="jobs named by its inputs that have not succeeded yet")
    start_by: datetime | None = Field(
        None, description="time at which it ends as `expired` if it has never started; null while it waits for jobs"
    )
    retained_until: datetime | None = Field(None, description="time at which record and outputs are erased")
    input: dict[str, JsonValue] = Field(
        description="inputs as submitted; long texts are cut, and query strings of URLs left out"
    )
    params: dict[str, JsonValue] = Field(description="parameters as submitted")
    result: dict[str, JsonValue] | None = Field(None, description="result of a succeeded job, by its kind")
    outputs: list[Output] = Field([], description="files of a succeeded job")
    error: JobError | None = Field(None, description="error of a failed job")
    attempts: list[Attempt] = Field([], description="starts, oldest first; of very many, the last ones")
    max_attempts: int = Field(description="number of starts after which a failing job is given up")
    retry: dict[str, int] = Field({}, description="retries by error code that do not count against `max_attempts`")
    metrics: Metrics = Metrics()
    metadata: Metadata = {}
    webhook: Webhook | None = Field(None, description="webhook of the job; null where it has none")
    delivery: Delivery | None = Field(
        None, description="copy of the outputs in your own bucket; null where the job asks for none"
    )
    links: Links

    @classmethod
    def of_record(cls, record: dict[str, str], position: int | None = None) -> "Job":
        """The public view of a record as the ledger keeps it (field -> text)."""
        return cls.of(Fixed.model_validate_json(record["fixed"]), record, position)

    @classmethod
    def of(cls, fixed: "Fixed", record: dict[str, str], position: int | None = None) -> "Job":
        """The same where what never changes is at hand already."""
        status = Status(record["status"])
        path = f"/v1/jobs/{fixed.id}"
        started = "started_ms" in record
        return cls.model_validate(
            {
                "id": fixed.id,
                "tenant": fixed.tenant,
                "kind": fixed.kind,
                "model": fixed.model,
                "pool": _pool(fixed, record),
                "status": status,
                "done": status.final,
                "phase": phase_of(record) if status in (Status.RUNNING, Status.CANCELING) else None,
                "progress": _number(record.get("progress")),
                "message": record.get("message") or None,
                "queue_position": position,
                "priority": fixed.priority,
                "created_at": moment(float(record["created_ms"])),
                "started_at": _moment(record.get("started_ms")),
                "completed_at": _moment(record.get("ended_ms")),
                "amended_at": _moment(record.get("amended_ms")),
                "retry_at": _moment(record.get("retry_ms")),
                "retry_of": fixed.retry_of,
                "batch": fixed.batch,
                "custom_id": fixed.custom_id,
                "schedule": fixed.schedule,
                "cache": fixed.cache is not None,
                "cached_from": record.get("cached_from"),
                "changed": fixed.changed,
                "start_at": _moment(fixed.start_ms),
                "waits_for": record["waits"].split(" ") if "waits" in record else [],
                "start_by": None if started or "waits" in record else _moment(record["start_by_ms"]),
                "retained_until": _moment(record.get("retained_ms")),
                "input": {name: redacted(value) for name, value in fixed.input.items()},
                "params": fixed.params,
                "result": text.shown(json.loads(record["result"])) if record.get("result") else None,
                "outputs": _outputs(fixed.id, record["outputs"]) if record.get("outputs") else [],
                "error": json.loads(record["error"]) if record.get("error") else None,
                "attempts": _attempts(record) if "starts" in record else [],
                "max_attempts": fixed.max_attempts,
                "retry": fixed.retry,
                "metrics": _metrics(record) if started or "metrics" in record else {},
                "metadata": fixed.metadata,
                "webhook": _webhook(fixed, record),
                "delivery": _delivery(fixed, record),
                "links": {"self": path, "cancel": f"{path}/cancel", "retry": f"{path}/retry"},
            }
        )


class Upload(BaseModel):
    """An upload as the submit saw it; a later attempt that finds another refuses it."""

    key: str
    bytes: int
    etag: str


class Fixed(BaseModel):
    """The request of a job, as the record keeps it. `amend` alone replaces it, while the job waits. Times are ms since
    1970 or s, by their names."""

    v: int = 1
    id: str
    tenant: str
    kind: str
    model: str
    pool: PoolName
    input: dict[str, JsonValue]
    params: dict[str, JsonValue]
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    priority: int = 0
    start_ms: int | None = None
    queue_ttl_s: float
    run_timeout_s: float
    deadline_s: float | None = None
    retention_s: float
    max_attempts: int
    retry: dict[str, int] = Field(default_factory=dict)
    retry_of: str | None = None
    waits_for: list[str] = Field(default_factory=list, description="jobs that its inputs name as sources")
    in_archive: frozenset[str] = Field(
        frozenset(), exclude=True, description="those of `waits_for` that the bucket alone knows, and that succeeded"
    )
    batch: str | None = None
    custom_id: str | None = None
    schedule: str | None = None
    webhook: WebhookRequest | None = None
    output: OutputRequest | None = None
    changed: dict[str, JsonValue] | None = None
    key: str | None = Field(None, description="id of the API key that submitted it")
    cache: str | None = Field(
        None, description="digest of the work, '' where a worker computes it; None: not asked for"
    )
    uploads: dict[str, Upload] = Field(
        default_factory=dict, description="by id: what the submit saw of each upload it names"
    )
    in_bucket: list[str] = Field(
        default_factory=list, description="JSON inputs whose value is an upload; `input` has {'url': source}"
    )
    shrunk: bool = Field(False, description="what was large of input, params or metadata is in job.json alone")

    def as_record(self) -> str:
        """JSON for the record, without fields that are as a reader takes them to be where they are missing."""
        left_out = {name for name, default in DEFAULTS.items() if getattr(self, name) == default}
        return self.model_dump_json(exclude=left_out, exclude_none=True)

    @property
    def queue(self) -> str:
        return f"{self.pool}.{self.kind}"

    @property
    def line(self) -> str:
        """The waiting line: queue and model; a line of its own for a record of a newer form, which workers of older
        releases do not name."""
        return line_of(f"{self.queue}:{self.model}", self.v)


DEFAULTS = {
    "v": 1,
    "metadata": {},
    "priority": 0,
    "retry": {},
    "waits_for": [],
    "uploads": {},
    "in_bucket": [],
    "shrunk": False,
}
"""Fields that a record leaves out at these values."""


def line_of(line: str, v: int) -> str:
    """The line of a model for records of the form `v`."""
    return line if v == 1 else f"{line}@{v}"


WEB = re.compile(r"https?:", re.IGNORECASE)
SHOWN_TEXT = 1000


def redacted(value: JsonValue) -> JsonValue:
    """An input as it may be shown: no query string of a URL (it may hold a signature), long texts cut."""
    if isinstance(value, str):
        if WEB.match(value):
            return value.partition("?")[0].partition("#")[0]
        return value if len(value) <= SHOWN_TEXT else value[:SHOWN_TEXT] + "…"
    if isinstance(value, list) and len(value) > SHOWN_TEXT // 10:
        return [redacted(item) for item in value[: SHOWN_TEXT // 10]]
    if isinstance(value, dict):
        return {name: redacted(item) for name, item in value.items()}
    return [redacted(item) for item in value] if isinstance(value, list) else value


def moment(ms: float) -> datetime:
    """UTC, from ms since 1970. A number that no datetime can hold becomes the nearest that one can, so that a record
    with one can be shown."""
    return datetime.fromtimestamp(min(max(EARLIEST_MS, ms), LATEST_MS) / 1000, UTC)


def output_path(job_id: str, name: str) -> str:
    """The API path of an output; its name may have any character but control characters and slashes."""
    return f"/v1/jobs/{job_id}/outputs/{quote(name, safe='')}"


def _pool(fixed: Fixed, record: dict[str, str]) -> str:
    """The job's current pool: its model may have moved since the submit."""
    return record.get("line", fixed.line).partition(".")[0] or fixed.pool


def _moment(ms: str | float | None) -> datetime | None:
    return None if ms in (None, "") else moment(float(ms))


def phase_of(record: dict[str, str]) -> str | None:
    """The phase of the attempt. `batching` is a field of its own, which releases that do not know it leave alone."""
    return "batching" if record.get("batching") == "1" else record.get("phase")


def _number(text: str | None) -> float | None:
    return None if not text else float(text)


def _outputs(job_id: str, kept: str) -> list[dict[str, Any]]:
    return [{**output, "url": output_path(job_id, output["name"])} for output in json.loads(kept)]


def _attempts(record: dict[str, str]) -> list[dict[str, Any]]:
    """Attempts lie in fields attempt:1, attempt:2, ..., of very many the last; the one under way has no `ended_ms`."""
    fields = (f"attempt:{n}" for n in range(1, int(record["starts"]) + 1))
    kept = (json.loads(record[name]) for name in fields if name in record)
    return [{**a, "started_at": moment(a["started_ms"]), "ended_at": _moment(a.get("ended_ms"))} for a in kept]


def _webhook(fixed: Fixed, record: dict[str, str]) -> dict[str, Any] | None:
    """`webhook_state` is none of the record's fields: whoever reads both puts it there."""
    if fixed.webhook is None:
        return None
    return shown(fixed.webhook.url, list(fixed.webhook.events), json.loads(record.get("webhook_state", "{}")))


def _delivery(fixed: Fixed, record: dict[str, str]) -> dict[str, Any] | None:
    """`delivery_state` is none of the record's fields, as that of the webhook."""
    if fixed.output is None:
        return None
    return shown_delivery(fixed.output.url, json.loads(record.get("delivery_state", "{}")))


def _metrics(record: dict[str, str]) -> dict[str, Any]:
    waited = float(record.get("queued_ms", 0)) / 1000 if "started_ms" in record else None
    return {"queued_s": waited, **json.loads(record.get("metrics") or "{}")}
