"""The key in the header -> who is calling. The key file is read again when it changes."""

import contextlib
import hmac
import logging
import threading
import time
from pathlib import Path

from flask import Response, g, request
from pydantic import BaseModel, ConfigDict, Field

from api.answers import read_query, services
from api.keyfile import Key, Tenant, digest, read
from tasks.errors import BacklotError, Forbidden, NotReady, Unauthorized, UnknownKey

log = logging.getLogger(__name__)
LOOK_EVERY_S = 0.5
NOTE_EVERY_S = 60
"""How often the ledger hears that a key is in use."""
READING = ("GET", "HEAD")


class Keys:
    """The keys of the file as it is now; of a file that cannot be read, those it had when it could."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Key] = {}
        self._seen: tuple | None = None
        self._looked = float("-inf")
        self._lock = threading.Lock()
        self._noted: dict[str, float] = {}

    def find(self, key: str) -> Key | None:
        """Who holds this key. Errors: NotReady where the file could not be read since the process started."""
        self._refresh()
        if self._seen is None:
            raise NotReady("the API keys cannot be read; the operator's log says why")
        hashed = digest(key)
        known = self._known.get(hashed)
        return known if known and hmac.compare_digest(known.sha256, hashed) else None

    def all(self) -> list[Key]:
        """As the file has them."""
        self._refresh()
        return list(self._known.values())

    def is_to_be_noted(self, key: Key) -> bool:
        """Whether its use was last noted so long ago that it is to be now."""
        now = time.monotonic()
        if now - self._noted.get(key.id, float("-inf")) < NOTE_EVERY_S:
            return False
        self._noted[key.id] = now
        return True

    def _refresh(self) -> None:
        if time.monotonic() - self._looked < LOOK_EVERY_S:
            return
        with self._lock:
            if time.monotonic() - self._looked < LOOK_EVERY_S:
                return  # another thread has just looked
            try:
                stat = self._path.stat()
                seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
                if seen != self._seen:
                    self._known, self._seen = {key.sha256: key for key in read(self._path)}, seen
            except (OSError, ValueError) as error:
                log.error("the key file cannot be used (%s); the keys known before stay", error)
            self._looked = time.monotonic()  # last: until then whoever comes waits for the keys


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
