"""Pauses over HTTP, for operators: pauses and resumes the start of jobs of a pool, a model or a tenant."""

import re
from collections.abc import Container
from typing import Literal

from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field

from api.answers import answer, read_body, services
from api.auth import require_operator
from tasks.errors import NotFound
from tasks.ledger.faults import away
from tasks.ledger.pauses import Pause, listed

routes = Blueprint("pauses", __name__, url_prefix="/v1/pauses")


class PauseRequest(BaseModel):
    """A pause to be made."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field("", max_length=500, pattern=r"^[^\x00-\x1f]*$", description="told to callers whose jobs wait")


class PauseList(BaseModel):
    """All pauses in force."""

    object: Literal["list"] = "list"
    data: list[Pause] = Field(description="pauses of pools, models and tenants")


@routes.get("")
def list_pauses() -> Response:
    require_operator()
    return answer(_all())


@routes.put("/pool/<name>")
def pause_pool(name: str) -> Response:
    return _pause("pool", name, services().settings.pools)


@routes.put("/model/<kind>/<name>")
def pause_model(kind: str, name: str) -> Response:
    return _pause("model", f"{kind}/{name}", services().jobs.registry.by_key)


@routes.put("/tenant/<tenant>")
def pause_tenant(tenant: str) -> Response:
    """Pauses a tenant, even one that has submitted nothing yet."""
    return _pause("tenant", tenant, _tenants(tenant))


@routes.delete("/pool/<name>")
def resume_pool(name: str) -> Response:
    return _resume("pool", name, services().settings.pools)


@routes.delete("/model/<kind>/<name>")
def resume_model(kind: str, name: str) -> Response:
    return _resume("model", f"{kind}/{name}", services().jobs.registry.by_key)


@routes.delete("/tenant/<tenant>")
def resume_tenant(tenant: str) -> Response:
    return _resume("tenant", tenant, _tenants(tenant))


def _pause(scope: str, name: str, known: Container[str]) -> Response:
    """Pauses and answers all pauses. A pause in force keeps its reason. Errors: NotFound; those of read_body."""
    require_operator()
    asked = read_body(PauseRequest)
    if name not in known:
        raise NotFound(f"there is no {scope} {name[:100]!r}")
    services().jobs.ledger.pause(f"{scope}/{name}", asked.reason)
    return answer(_all())


def _resume(scope: str, name: str, known: Container[str]) -> Response:
    """Ends the pause, if there is one, and answers all pauses. Errors: NotFound where nothing has that name."""
    require_operator()
    if name not in known and not any((one.scope, one.name) == (scope, name) for one in _all().data):
        raise NotFound(f"there is no {scope} {name[:100]!r}")
    services().jobs.ledger.resume(f"{scope}/{name}")
    return answer(_all())


def _tenants(name: str) -> list[str]:
    """The known tenants, as far as this name goes: every well-formed name counts as known."""
    return [name] if re.fullmatch("[a-z0-9-]{1,40}", name) else []


def _all() -> PauseList:
    with away():
        return PauseList(data=listed(services().jobs.ledger.redis))
