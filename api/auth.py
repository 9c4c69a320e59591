"""Authenticates requests by API key, and authorizes them by its scope, access and kinds. The keys: keyring.py.

It leaves what it finds in the request (dispatch.py).
"""

import contextlib

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from api.answers import read_query, services
from api.dispatch import KEY, asked
from api.keyfile import Key, Tenant
from tasks.errors import BacklotError, Forbidden, Unauthorized, UnknownKey

READ_METHODS = ("GET", "HEAD")


def check_key() -> None:
    """Authenticates every request under /v1 except OPTIONS, which browsers send without a key and which tells no more
    than the document. Errors: Unauthorized, UnknownKey; Forbidden where a read-only key would write."""
    request = asked()
    if not request.path.startswith("/v1/") or request.method == "OPTIONS":
        return
    found: Key | None = request.environ.get(KEY)
    if found is None:
        scheme, _, key = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorized("this needs the header `Authorization: Bearer <key>`")
        found = request.services.keys.find(key.strip())
    if found is None:
        raise UnknownKey("this key is not known here")
    request.shown = found
    if found.expired():
        raise UnknownKey(f"this key expired at {found.expires_at:%Y-%m-%dT%H:%M:%SZ}")
    request.key = found
    if found.access == "read" and request.method not in READ_METHODS:
        raise Forbidden("this key may read and do nothing else")


def note_use(answer: Response) -> Response:
    """Notes in the ledger that the key is in use. Skipped after a 503, which has already waited for Redis."""
    request = asked()
    key, keys = request.key, request.services.keys
    if key is not None and answer.status_code < 500 and keys.is_to_be_noted(key):
        with contextlib.suppress(BacklotError):
            request.services.jobs.ledger.note_use(key.id)
    return answer


class Whose(BaseModel):
    """The tenant of a query. An operator may name any tenant; a tenant only itself."""

    model_config = ConfigDict(extra="forbid")
    tenant: Tenant | None = Field(None, description="tenant, default the key's own; operators may name another")


def caller() -> Key:
    """The key of this request, which check_key has accepted."""
    key = asked().key
    if key is None:
        raise Unauthorized("this needs the header `Authorization: Bearer <key>`")
    return key


def tenant() -> str:
    """The key's tenant, which owns what this request makes."""
    return caller().tenant


def whose(named: str | None) -> str:
    """The named tenant, or the key's own. Errors: Forbidden where a tenant names another."""
    owner: str = named or caller().tenant
    asked().owner = owner
    if owner != caller().tenant:
        require_operator()
    return owner


def owner(job_id: str, query: Whose | None = None) -> str:
    """The tenant that owns the job: the key's own, or for an operator any. A job from before a restore, unknown to
    Redis, is found where the query names its tenant. `query`: as it was read, where it has more. Errors: as `whose`."""
    named = (query or read_query(Whose)).tenant
    if named is None and caller().scope == "operator":
        named = services().jobs.tenant_of(job_id)
    return whose(named)


def require_kind(kind: str | None) -> None:
    """Checks that the key may submit jobs of this kind; None: of every kind. Errors: Forbidden."""
    kinds = caller().kinds
    if kinds is not None and kind not in kinds:
        raise Forbidden(f"this key makes jobs of {', '.join(kinds)} alone" + ("" if kind else "; name one of them"))


def require_operator() -> None:
    """Checks the key's scope. Errors: Forbidden for a tenant's key."""
    if caller().scope != "operator":
        raise Forbidden("this needs an operator's key")
