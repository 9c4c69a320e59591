"""The webhook of a job: its request, its place in the record, and its state as callers see it.

It knows no HTTP and no secret (webhook_secrets.py); who sends it is the keeper.
"""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tasks.inputs import check_source

Event = Literal["started", "progress", "completed"]
URL_CHARS = 2048
"""Longest URL of a webhook, characters."""


def check_url(url: str) -> str:
    """The URL with its host in small letters. Errors: ValueError with the fault."""
    check_source(url)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("a webhook is sent to https://host/path alone")
    if parts.fragment or any(letter.isspace() for letter in url) or not url.isascii():
        raise ValueError("a webhook's URL has no blanks, no #fragment and no letters beyond ASCII; encode them")
    return parts._replace(netloc=parts.netloc.lower()).geturl()


class WebhookRequest(BaseModel):
    """A receiver that is told of the job by POST, signed by Standard Webhooks with the tenant's secrets
    (`/v1/webhooks/secret`)."""

    model_config = ConfigDict(extra="forbid")
    url: Annotated[str, Field(min_length=1, max_length=URL_CHARS), AfterValidator(check_url)] = Field(
        description="https URL of the receiver; shown without its query"
    )
    events: list[Event] = Field(
        ["completed"],
        min_length=1,
        max_length=3,
        description="events that are sent: `completed`, a final status, which is sent again until it is delivered; "
        "`started`, its first start, and `progress`, once a minute at most, which are sent once, without a promise",
    )

    def as_field(self) -> str:
        """The field `webhook` of the record: a letter an event, then the URL."""
        return f"{''.join(event[0] for event in self.events)} {self.url}"


class Answer(BaseModel):
    """The outcome of one try."""

    at: datetime = Field(description="time of the answer, or of giving up on one")
    status: int | None = Field(None, description="HTTP status; null where none came")
    detail: str = Field(description="the outcome in words")


class Webhook(BaseModel):
    """The job's webhook and how it stands. Its failure is never the job's."""

    url: str = Field(description="URL of the receiver, without its query")
    events: list[str] = Field(description="events that are sent")
    status: Literal["pending", "delivered", "failed", "off"] | None = Field(
        None,
        description="state of `completed`: pending, delivered, failed (given up after three days) or off (the receiver "
        "answered 410); null before the job's end, and where the state is no longer known",
    )
    attempts: int = Field(0, ge=0, description="tries of `completed` so far")
    next_try_at: datetime | None = Field(None, description="time of the next try, while pending")
    last_answer: Answer | None = Field(None, description="outcome of the last try")


def shown(url: str, events: list[str], state: dict[str, str]) -> dict[str, Any]:
    """The fields of a Webhook. `state`: its hash in Redis; {} where there is none."""
    fields: dict[str, Any] = {"url": url.partition("?")[0], "events": events}
    if state:
        fields |= {"status": state["status"], "attempts": int(state["attempts"])}
        fields["next_try_at"] = moment_of(state.get("next_ms"))
        if "answer" in state:
            fields["last_answer"] = {"at": moment_of(state["answer_ms"]), **json.loads(state["answer"])}
    return fields


def moment_of(ms: str | None) -> datetime | None:
    """A time of the state, where it has it."""
    return None if ms is None else datetime.fromtimestamp(float(ms) / 1000, UTC)
