"""API keys over HTTP, for operators: lists them with their last use. Keys are made and revoked in the key file alone
(`backlot keys`)."""

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
    """An API key, without its secret."""

    object: Literal["key"] = "key"
    id: str = Field(description="beginning of the key's SHA-256")
    tenant: str = Field(description="tenant of the key")
    scope: Scope = Field(description="`tenant`: the tenant's own jobs; `operator`: all tenants' and operators' routes")
    access: Access = Field(description="`full`, or `read`: the key may read and do nothing else")
    kinds: list[Kind] | None = Field(description="kinds of jobs that it may submit; null: all")
    name: str = Field(description="name for people")
    created_at: datetime | None = Field(description="time of its making; null where the file does not tell")
    expires_at: datetime | None = Field(description="time from which it is refused; null: never")
    last_used_at: datetime | None = Field(description="time of its last use, to a minute; null: none in Redis' memory")


class KeyList(BaseModel):
    """All API keys."""

    object: Literal["list"] = "list"
    data: list[KeyCard] = Field(description="keys in the file's order")


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
