"""API keys over HTTP, for operators: which there are, and when each was last used. They are made and taken back in the
key file alone (`backlot keys`)."""

from datetime import datetime
from typing import Literal

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from api.answers import answer, services
from api.auth import require_operator
from api.keyfile import Access, Scope
from tasks.ledger import key_uses
from tasks.registry import Kind

routes = Blueprint("keys", __name__, url_prefix="/v1/keys")


class KeyCard(BaseModel):
    """A key, by the beginning of its hash."""

    object: Literal["key"] = "key"
    id: str
    tenant: str
    scope: Scope
    access: Access = Field(description="`read`: it may look and do nothing else")
    kinds: list[Kind] | None = Field(description="of which it may make jobs; null: of all")
    name: str
    created_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="to a minute; null: not since Redis began")


class KeyList(BaseModel):
    """All keys."""

    object: Literal["list"] = "list"
    data: list[KeyCard]


@routes.get("")
def list_keys() -> Response:
    require_operator()
    known = services()
    used = key_uses.read(known.jobs.ledger)
    return answer(
        KeyList(
            data=[
                KeyCard(id=key.id, last_used_at=used.get(key.id), **key.model_dump(exclude={"sha256"}))
                for key in known.keys.all()
            ]
        )
    )
