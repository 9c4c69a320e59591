"""Pools over HTTP, for operators and autoscalers."""

from typing import Literal

from flask import Blueprint, Response
from pydantic import BaseModel

from api.answers import answer, services
from api.auth import require_operator
from tasks.errors import NotFound
from tasks.ledger.pools import Pool, read

routes = Blueprint("pools", __name__, url_prefix="/v1/pools")


class PoolList(BaseModel):
    """All pools of this deployment."""

    object: Literal["list"] = "list"
    data: list[Pool]


@routes.get("")
def list_pools() -> Response:
    require_operator()
    known = services()
    return answer(PoolList(data=[read(known.jobs.ledger, name) for name in known.settings.pools]))


@routes.get("/<name>")
def get(name: str) -> Response:
    require_operator()
    known = services()
    if name not in known.settings.pools:
        raise NotFound(f"there is no pool {name[:64]!r}; there are {', '.join(known.settings.pools)}")
    return answer(read(known.jobs.ledger, name))
