"""The key in the header -> who is calling, and whose things the call may touch. The keys themselves: keyring.py."""

import contextlib

from flask import Response, g, request
from pydantic import BaseModel, ConfigDict, Field

from api.answers import read_query, services
from api.keyfile import Tenant
from tasks.errors import BacklotError, Forbidden, Unauthorized, UnknownKey

READING = ("GET", "HEAD")


def check_key() -> None:
    """Before every request: whatever lies under /v1 needs a key, but OPTIONS, which a browser asks without one and
    which tells only what the document does. Errors: Unauthorized."""
    if not request.path.startswith("/v1/") or request.method == "OPTIONS":
        return
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized("this needs the header `Authorization: Bearer <key>`")
    found = g.shown = services().keys.find(key.strip())
    if found is None:
        raise UnknownKey("this key is not known here")
    if found.expired():
        raise UnknownKey(f"this key expired at {found.expires_at:%Y-%m-%dT%H:%M:%SZ}")
    g.key = found
    if found.access == "read" and request.method not in READING:
        raise Forbidden("this key may read and do nothing else")


def note_use(answer: Response) -> Response:
    """After every request: the ledger hears now and then that the key is used. Not after a 503, which has waited for
    Redis already."""
    if "key" in g and answer.status_code < 500 and services().keys.is_to_be_noted(g.key):
        with contextlib.suppress(BacklotError):
            services().jobs.ledger.note_use(g.key.id)
    return answer


class Whose(BaseModel):
    """Whose things are meant. An operator may name any tenant; a tenant, itself alone."""

    model_config = ConfigDict(extra="forbid")
    tenant: Tenant | None = Field(None, description="whose; for operators, who may name any tenant")


def tenant() -> str:
    """Whose jobs a new one belongs to."""
    return g.key.tenant


def whose(named: str | None) -> str:
    """The tenant that is named, or the key's own. Errors: Forbidden for another's, but for an operator."""
    g.owner = named or g.key.tenant
    if g.owner != g.key.tenant:
        require_operator()
    return g.owner


def owner(job_id: str) -> str:
    """Whose job is asked for: the key's own tenant's, or for an operator whosever it is. One that Redis knows no more
    (from before a restore) is found with its tenant named in the query. Errors: as `whose`."""
    named = read_query(Whose).tenant
    if named is None and g.key.scope == "operator":
        named = services().jobs.tenant_of(job_id)
    return whose(named)


def require_kind(kind: str | None) -> None:
    """That the key may make jobs of this kind; None: of whatever kind. Errors: Forbidden."""
    kinds = g.key.kinds
    if kinds is not None and kind not in kinds:
        raise Forbidden(f"this key makes jobs of {', '.join(kinds)} alone" + ("" if kind else "; name one of them"))


def require_operator() -> None:
    """Errors: Forbidden for a tenant's key."""
    if g.key.scope != "operator":
        raise Forbidden("this needs an operator's key")
