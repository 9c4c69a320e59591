"""Worker pools over HTTP, for operators and autoscalers: their load and their workers."""

from typing import Literal

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from api.answers import answer, services
from api.auth import require_operator
from tasks.errors import NotFound
from tasks.ledger import keepers
from tasks.ledger.faults import away
from tasks.ledger.keepers import Keepers
from tasks.ledger.pauses import Pause, listed
from tasks.ledger.pools import Pool, Unserved, read, unserved

routes = Blueprint("pools", __name__, url_prefix="/v1/pools")


class PoolList(BaseModel):
    """All pools, with the state of the whole deployment."""

    object: Literal["list"] = "list"
    data: list[Pool] = Field(description="configured pools, and removed ones that still have jobs")
    keeper: Keepers
    paused: list[Pause] = Field(description="pauses in force")
    unserved: list[Unserved] = Field(description="models with waiting jobs that no worker serves")


@routes.get("")
def list_pools() -> Response:
    require_operator()
    known = services()
    ledger = known.jobs.ledger
    pools = [read(ledger, name) for name in ledger.pools(known.settings.pools)]
    pools = [pool for pool in pools if pool.name in known.settings.pools or pool.wanted + pool.held]
    with away():
        paused = listed(ledger.redis)
    return answer(PoolList(data=pools, keeper=keepers.read(ledger), paused=paused, unserved=unserved(ledger)))


@routes.get("/<name>")
def get(name: str) -> Response:
    require_operator()
    known = services()
    if name not in known.settings.pools:
        raise NotFound(f"there is no pool {name[:64]!r}; there are {', '.join(known.settings.pools)}")
    return answer(read(known.jobs.ledger, name))
