"""The requests that callers send for a job and for its retry, as pydantic models.

request.py reads a body as one, with the kind's own inputs and params. Nothing here knows records or the ledger.
"""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, JsonValue

from tasks.delivery import OutputRequest
from tasks.registry import Kind, RetryBudgets
from tasks.webhook import WebhookRequest

Metadata = Annotated[dict[str, JsonValue], Field(description="the caller's own data, returned unchanged")]

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHORTEST_S = 0.001
"""Redis' clock counts in ms."""
SHORTEST_LIMIT_S = 1
"""Seconds of the shortest limit that stops a running job: workers check once a second."""


def _rfc_3339(value: object) -> object:
    """pydantic would also take seconds, as a number or in quotes, and times that are cut short."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not RFC_3339.fullmatch(value):
        raise ValueError("a time as RFC 3339 has it is wanted, with its zone, such as 2030-01-31T09:30:00Z")
    read = datetime.fromisoformat(value.upper())
    if read < EPOCH:
        raise ValueError("a time of 1970 or later is wanted")
    return read


Time = Annotated[AwareDatetime, BeforeValidator(_rfc_3339)]
Start = Annotated[
    Time | None, Field(description="earliest start (RFC 3339), at most a year from now; a past time means now")
]
QueueTtl = Annotated[
    FiniteFloat | None,
    Field(ge=SHORTEST_S, description="seconds in the queue after which a job that never started ends as `expired`"),
]
RunTimeout = Annotated[
    FiniteFloat | None,
    Field(ge=SHORTEST_LIMIT_S, description="limit of the model's computation in one attempt, in seconds"),
]
Deadline = Annotated[
    FiniteFloat | None,
    Field(
        ge=SHORTEST_LIMIT_S,
        le=31_536_000,
        description="limit from submit to end, in seconds, all attempts and waits included",
    ),
]
Retention = Annotated[
    FiniteFloat | None, Field(ge=SHORTEST_S, description="seconds after the end for which record and outputs are kept")
]


class Clocks(BaseModel):
    """When a job may start, and bounds of its time and its attempts. Durations are seconds; the model and the operator
    set their defaults and maxima."""

    model_config = ConfigDict(extra="forbid")

    start_at: Start = None
    queue_ttl_s: QueueTtl = None
    run_timeout_s: RunTimeout = None
    deadline_s: Deadline = None
    retention_s: Retention = None
    max_attempts: int | None = Field(
        None, ge=1, le=10, description="number of starts after which a failing job is given up, crashes included"
    )
    retry: RetryBudgets | None = Field(
        None,
        description="retries by error code, 0 to 20 each, such as `worker_lost`; such failures do not count "
        "against `max_attempts`",
    )


Priority = Annotated[int, Field(ge=-10, le=10)]


class JobRequest(Clocks):
    """A request for a job. Durations are seconds; the model and the operator set their defaults and maxima."""

    kind: Kind
    model: str | None = Field(None, description="a model of the kind; default: the kind's default model", max_length=64)
    input: dict[str, JsonValue] = Field(description="inputs by name; `GET /v1/models/{kind}/{name}` has their schema")
    params: dict[str, JsonValue] = Field(
        {}, description="parameters by name; `GET /v1/models/{kind}/{name}` has their schema"
    )
    priority: Priority = Field(
        0, description="higher starts sooner: each point moves the job ten places forward in its line"
    )
    metadata: Metadata = {}
    webhook: WebhookRequest | None = Field(
        None, description="receiver that is told of the job by POST; left out, the tenant's default; null, none"
    )
    cache: bool = Field(
        False,
        description="true: an identical request of yours, by its kind, model, params and contents of inputs, is "
        "answered by the result of a job that had `cache` too",
    )
    output: OutputRequest | None = Field(None, description="folder of your own bucket that the outputs are copied to")


class AmendRequest(BaseModel):
    """A JSON merge patch (RFC 7396) of a job that waits. A field that is left out stays as it is.

    null sets a field to its default; `start_at` null means now. `metadata` is merged name by name.
    """

    model_config = ConfigDict(extra="forbid")

    priority: Priority | None = Field(None, description="higher starts sooner; the job keeps the place of its arrival")
    metadata: dict[str, JsonValue] | None = Field(None, description="your own data by name; null takes a name away")
    start_at: Start = None
    queue_ttl_s: QueueTtl = None
    run_timeout_s: RunTimeout = None
    deadline_s: Deadline = None
    retention_s: Retention = None


class RetryRequest(Clocks):
    """A JSON merge patch (RFC 7396) of an ended job's request, whose kind, inputs and metadata stay.

    A field that is left out stays as it was, except `start_at`. null sets a field to its default. `params` and
    `retry` are merged name by name.
    """

    model: str | None = Field(None, description="another model of the kind", max_length=64)
    params: dict[str, JsonValue] | None = Field(None, description="parameters by name; null takes one away")
    priority: Priority | None = Field(None, description="higher starts sooner")
