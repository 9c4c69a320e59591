"""Webhooks over HTTP: the tenant's signing secrets, shown and rotated, and its default webhook. A job's own is in
jobs.py."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Literal

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from api.answers import answer, read_body, read_query, services
from api.auth import Whose, caller, whose
from tasks.errors import Forbidden, NotReady
from tasks.webhook import Event, WebhookRequest
from tasks.webhook_secrets import Secret

log = logging.getLogger(__name__)
routes = Blueprint("webhooks", __name__, url_prefix="/v1/webhooks")


class WebhookSecrets(BaseModel):
    """The secrets that sign the tenant's webhooks. Every message has a signature by each of them."""

    object: Literal["list"] = "list"
    data: list[Secret] = Field(description="valid secrets, the newest first; two at most")


class WebhookDefault(BaseModel):
    """The webhook of the tenant's jobs that name none; batches and their lines have no default."""

    object: Literal["webhook_default"] = "webhook_default"
    url: str | None = Field(description="URL of the receiver, without its query; null where there is no default")
    events: list[Event] = Field(description="events that are sent")


@routes.get("/secret")
def read_secrets() -> Response:
    tenant = _whose()
    return answer(WebhookSecrets(data=services().jobs.webhooks.secrets.of(tenant)))


@routes.post("/secret")
def rotate() -> Response:
    """Makes a new secret. Errors: NotReady where the file cannot be written."""
    tenant = _whose()
    with _changing():
        return answer(WebhookSecrets(data=services().jobs.webhooks.secrets.rotate(tenant)), 201)


@routes.get("/default")
def read_default() -> Response:
    return answer(_default(_whose()))


@routes.put("/default")
def set_default() -> Response:
    """Sets the default. Errors: NotReady where the file cannot be written."""
    tenant = _whose()
    wanted = services().jobs.webhooks.check(tenant, read_body(WebhookRequest))
    with _changing():
        services().jobs.webhooks.secrets.set_default(tenant, wanted)
    return answer(_default(tenant))


@routes.delete("/default")
def remove_default() -> Response:
    """Removes the default. Errors: NotReady where the file cannot be written."""
    tenant = _whose()
    with _changing():
        services().jobs.webhooks.secrets.set_default(tenant, None)
    return Response(status=204)


def _default(tenant: str) -> WebhookDefault:
    found = services().jobs.webhooks.secrets.default(tenant)
    return WebhookDefault(url=found and found.url.partition("?")[0], events=found.events if found else [])


@contextlib.contextmanager
def _changing() -> Iterator[None]:
    """Errors: NotReady where the file cannot be changed."""
    try:
        yield
    except (OSError, ValueError) as error:
        log.error("the file of webhook secrets cannot be changed (%s)", error)
        raise NotReady("webhook secrets and defaults cannot be changed now; the operator's log says why") from error


def _whose() -> str:
    """The tenant of the query, or the key's own. Errors: Forbidden for a key that may read alone."""
    if caller().access == "read":
        raise Forbidden("this key may read jobs; signing secrets and the default webhook are for keys with full access")
    return whose(read_query(Whose).tenant)
