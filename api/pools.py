"""Pools over HTTP, for operators and autoscalers."""

from typing import Literal

from flask import Blueprint, Response
from pydantic import BaseModel

from api.answers import answer, services
from api.auth import require_operator
from tasks.errors import NotFound
from tasks.ledger import keepers
from tasks.ledger.keepers import Keepers
from tasks.ledger.pools import Pool, read

routes = Blueprint("pools", __name__, url_prefix="/v1/pools")


class PoolList(BaseModel):
    """All pools of this deployment, and the keepers of all of them."""

    object: Literal["list"] = "list"
    data: list[Pool]
    keeper: Keepers


@routes.get("")
def list_pools() -> Response:
    require_operator()
    known = services()
    ledger = known.jobs.ledger
    return answer(PoolList(data=[read(ledger, name) for name in known.settings.pools], keeper=keepers.read(ledger)))


@routes.get("/<name>")
def get(name: str) -> Response:
    require_operator()
    known = services()
    if name not in known.settings.pools:
        raise NotFound(f"there is no pool {name[:64]!r}; there are {', '.join(known.settings.pools)}")
    return answer(read(known.jobs.ledger, name))
