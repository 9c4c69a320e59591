"""A batch of jobs: the shapes that callers see. A line's job is a job like any other (job.py).

A record in Redis is a hash that the scripts write: when the batch was made, sealed, canceled, and by status how many of
its jobs have it. Nothing here talks to Redis.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, Field

from tasks.eta import Eta
from tasks.job import Status, moment
from tasks.webhook import Webhook, shown


class BatchStatus(StrEnum):
    """State of a batch: `receiving` until each line has made its job or is refused, `sealed`, and `done` when all its
    jobs have ended."""

    RECEIVING = "receiving"
    SEALED = "sealed"
    DONE = "done"


class Counts(BaseModel):
    """Number of the batch's jobs in each status."""

    scheduled: int = 0
    queued: int = 0
    running: int = 0
    canceling: int = 0
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def living(self) -> int:
        return self.scheduled + self.queued + self.running + self.canceling

    @property
    def all(self) -> int:
        return self.living + self.succeeded + self.failed + self.canceled + self.expired


class PlaceError(BaseModel):
    """An error at one place of a line."""

    pointer: str = Field(description="JSON Pointer (RFC 6901) into the line")
    detail: str = Field(description="a sentence for a person")


class LineError(BaseModel):
    """The refusal of a line."""

    code: str = Field(description="code for a program, such as `invalid_input`")
    detail: str = Field(description="a sentence for a person")
    retryable: bool = Field(description="true where the same line may succeed later")
    errors: list[PlaceError] | None = Field(None, description="every error found in the line")


class RefusedLine(LineError):
    """A line that made no job."""

    line: int = Field(ge=1, description="number of the line")
    custom_id: str | None = Field(None, description="`custom_id` of the line, where it could be read")


class BatchLinks(BaseModel):
    """Paths of the batch's routes."""

    self: str = Field(description="path to read the batch")
    results: str = Field(description="path to read the outcome of each line")
    cancel: str = Field(description="path to cancel all of its jobs, by POST")


class Batch(BaseModel):
    """Many jobs that were submitted in one request. Times are RFC 3339, UTC."""

    object: Literal["batch"] = "batch"
    id: str = Field(description="id, which sorts by time of submit")
    tenant: str = Field(description="tenant that owns the batch")
    status: BatchStatus
    done: bool = Field(description="true when all jobs have ended")
    lines: int = Field(ge=0, description="lines that ask for a job; empty ones are not counted")
    refused: int = Field(ge=0, description="lines that made no job")
    counts: Counts
    eta_s: Eta | None = Field(
        None,
        description="seconds until its last job ends, estimated by the jobs of its last lines; null until it is "
        "sealed, where durations of a model are not known, no worker lives or a job waits for more than a slot, and in "
        "lists",
    )
    errors: list[RefusedLine] = Field([], description="refused lines, the first of very many")
    created_at: datetime = Field(description="time of the submit")
    sealed_at: datetime | None = Field(None, description="time at which all lines were handled")
    canceled_at: datetime | None = Field(None, description="time at which its cancel was asked for")
    completed_at: datetime | None = Field(None, description="end of the last job")
    webhook: Webhook | None = Field(
        None, description="webhook of the batch, which is told when all jobs have ended; null where it has none"
    )
    links: BatchLinks

    @classmethod
    def of_record(cls, record: Mapping[str, str], errors: Sequence[Mapping[str, Any]] = ()) -> "Batch":
        """The view of a record as the ledger keeps it (field -> text), with its refused lines."""
        counts = counts_of(record)
        sealed = "sealed_ms" in record
        done = sealed and not counts.living
        path = f"/v1/batches/{record['id']}"
        ended_ms = max(float(record.get("sealed_ms", 0)), float(record.get("ended_ms", 0))) if done else None
        status = BatchStatus.DONE if done else BatchStatus.SEALED if sealed else BatchStatus.RECEIVING
        return cls.model_validate(
            {
                "id": record["id"],
                "tenant": record["tenant"],
                "status": status,
                "done": done,
                "lines": int(record["lines"]),
                "refused": int(record.get("refused", 0)),
                "counts": counts,
                "errors": list(errors),
                "created_at": moment(float(record["created_ms"])),
                "sealed_at": _moment(record.get("sealed_ms")),
                "canceled_at": _moment(record.get("canceled_ms")),
                "completed_at": None if ended_ms is None else moment(ended_ms),
                "webhook": _webhook(record),
                "links": {"self": path, "results": f"{path}/results", "cancel": f"{path}/cancel"},
            }
        )


def ends_of(record: Mapping[str, str]) -> tuple[float, float]:
    """The end of a sealed batch whose jobs have all ended, and the end of its retention, ms."""
    ended_ms = max(float(record.get("ended_ms", 0)), float(record["sealed_ms"]))
    return ended_ms, ended_ms + float(record["keep_ms"])


def counts_of(record: Mapping[str, str]) -> Counts:
    """The counts in a record."""
    return Counts.model_validate({status.value: max(0, int(record.get(status.value, 0))) for status in Status})


def _webhook(record: Mapping[str, str]) -> dict[str, Any] | None:
    """`webhook_state` is none of the record's fields: whoever reads both puts it there."""
    if "webhook" not in record:
        return None
    url = record["webhook"].partition(" ")[2]
    return shown(url, ["completed"], json.loads(record.get("webhook_state", "{}")))


def _moment(ms: str | None) -> datetime | None:
    return None if ms is None else moment(float(ms))
