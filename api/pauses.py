"""Pauses over HTTP, for operators: start no more jobs of a pool, a model or a tenant, and let the rest run."""

from typing import Literal

from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field

from api.answers import answer, read_json, services
from api.auth import require_operator
from tasks.errors import NotFound
from tasks.keyfile import TENANT
from tasks.ledger import _away
from tasks.ledger.pauses import Pause, listed

routes = Blueprint("pauses", __name__, url_prefix="/v1/pauses")


class PauseRequest(BaseModel):
    """Why, for those whose jobs wait."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field("", max_length=500, description="as callers whose jobs wait are told")


class PauseList(BaseModel):
    """All pauses that are in force."""

    object: Literal["list"] = "list"
    data: list[Pause]


@routes.get("")
def list_pauses() -> Response:
    require_operator()
    return answer(_all())


@routes.put("/<scope>/<path:name>")
def pause(scope: str, name: str) -> Response:
    """What is paused already keeps its reason."""
    require_operator()
    _check(scope, name)
    services().jobs.ledger.pause(f"{scope}/{name}", read_json(PauseRequest).reason)
    return answer(_all())


@routes.delete("/<scope>/<path:name>")
def resume(scope: str, name: str) -> Response:
    """Also where it was not paused, or is no longer known."""
    require_operator()
    services().jobs.ledger.resume(f"{scope}/{name}")
    return answer(_all())


def _all() -> PauseList:
    with _away():
        return PauseList(data=listed(services().jobs.ledger.redis))


def _check(scope: str, name: str) -> None:
    known = services()
    there = {"pool": known.settings.pools, "model": list(known.jobs.registry.by_key)}
    if scope == "tenant" and TENANT.fullmatch(name):
        return
    if scope not in there or name not in there[scope]:
        raise NotFound(f"there is no {scope[:20]} {name[:100]!r} to pause; scopes are pool, model (kind/name) and tenant")
