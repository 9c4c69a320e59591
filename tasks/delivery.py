"""The delivery of a job's outputs into the tenant's own bucket: its request, and its state as callers see it.

It knows no S3; who copies is the keeper.
"""

import json
import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tasks.webhook import moment_of

URL_CHARS = 512
"""Longest URL of a delivery, characters: the keys below it stay under S3's 1,024 bytes."""
FOLDER = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<prefix>(?:[!-.0-~][!-~]*/)?)")
"""A bucket, and within it a prefix that is empty or ends in a slash."""


def check_url(url: str) -> str:
    """Errors: ValueError with the fault."""
    found = FOLDER.fullmatch(url)
    if not found:
        raise ValueError(
            "s3://bucket/prefix/ is wanted: a bucket's name, and a prefix of printable ASCII without blanks that ends "
            "in a slash"
        )
    if {"", ".", ".."} & set(found["prefix"].split("/")[:-1]):
        raise ValueError("a prefix with an empty part, . or .. is not accepted")
    return url


def place_of(url: str) -> tuple[str, str]:
    """The bucket and the prefix of a URL."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    return bucket, prefix


class OutputRequest(BaseModel):
    """A folder of the tenant's own bucket into which the outputs are copied, beside Backlot's own copy."""

    model_config = ConfigDict(extra="forbid")
    url: Annotated[str, Field(min_length=1, max_length=URL_CHARS), AfterValidator(check_url)] = Field(
        description="`s3://bucket/prefix/` that the operator allows the tenant; the outputs come to "
        "`<prefix><job id>/<name>`, last the job as `job.json`"
    )


class Try(BaseModel):
    """The outcome of one try."""

    at: datetime = Field(description="time of the outcome")
    detail: str = Field(description="the outcome in words")


class Delivery(BaseModel):
    """The delivery of a succeeded job's outputs and how it stands. Its failure is never the job's."""

    url: str = Field(description="folder that the outputs are copied to, as `output` named it")
    status: Literal["pending", "delivered", "failed"] | None = Field(
        None,
        description="pending, delivered or failed (given up after three days, or at the end of the job's retention); "
        "null before the job has succeeded, and where the state is no longer known",
    )
    attempts: int = Field(0, ge=0, description="tries so far")
    next_try_at: datetime | None = Field(None, description="time of the next try, while pending")
    last_try: Try | None = Field(None, description="outcome of the last try")


def shown(url: str, state: dict[str, str]) -> dict[str, Any]:
    """The fields of a Delivery. `state`: its hash in Redis; {} where there is none."""
    fields: dict[str, Any] = {"url": url}
    if state:
        fields |= {"status": state["status"], "attempts": int(state["attempts"])}
        fields["next_try_at"] = moment_of(state.get("next_ms"))
        if "answer" in state:
            fields["last_try"] = {"at": moment_of(state["answer_ms"]), "detail": json.loads(state["answer"])["detail"]}
    return fields
