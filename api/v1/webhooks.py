"""Webhooks over HTTP: the tenant's signing secrets, shown and rotated. A job's own webhook is in jobs.py."""

import logging
from typing import Literal

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from api.answers import answer, read_query, services
from api.auth import Whose, caller, whose
from tasks.errors import Forbidden, NotReady
from tasks.webhook_secrets import Secret

log = logging.getLogger(__name__)
routes = Blueprint("webhooks", __name__, url_prefix="/v1/webhooks")


class WebhookSecrets(BaseModel):
    """The secrets that sign the tenant's webhooks. Every message has a signature by each of them."""

    object: Literal["list"] = "list"
    data: list[Secret] = Field(description="valid secrets, the newest first; two at most")


@routes.get("/secret")
def read_secrets() -> Response:
    tenant = _whose()
    return answer(WebhookSecrets(data=services().jobs.webhooks.secrets.of(tenant)))


@routes.post("/secret")
def rotate() -> Response:
    """Makes a new secret. Errors: NotReady where the file cannot be written."""
    tenant = _whose()
    try:
        return answer(WebhookSecrets(data=services().jobs.webhooks.secrets.rotate(tenant)), 201)
    except (OSError, ValueError) as error:
        log.error("the file of webhook secrets cannot be changed (%s)", error)
        raise NotReady("the signing secrets cannot be changed now; the operator's log says why") from error


def _whose() -> str:
    """The tenant of the query, or the key's own. Errors: Forbidden for a key that may read alone."""
    if caller().access == "read":
        raise Forbidden("this key may read jobs; signing secrets are for keys with full access")
    return whose(read_query(Whose).tenant)
