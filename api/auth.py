"""The key in the header -> who is calling. The key file is read again when it changes."""

import hmac
import logging
import threading
import time
from pathlib import Path

from flask import g, request

from api.answers import services
from api.keyfile import Key, digest, read
from tasks.errors import Forbidden, NotReady, Unauthorized, UnknownKey

log = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0


class Keys:
    """The keys of the file as it is now; of a file that cannot be read, those it had when it could."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Key] = {}
        self._seen: tuple | None = None
        self._looked = float("-inf")
        self._lock = threading.Lock()

    def find(self, key: str) -> Key | None:
        """Who holds this key. Errors: NotReady where the file could not be read since the process started."""
        self._refresh()
        if self._seen is None:
            raise NotReady("the API keys cannot be read; the operator's log says why")
        hashed = digest(key)
        known = self._known.get(hashed)
        return known if known and hmac.compare_digest(known.sha256, hashed) else None

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
    found = services().keys.find(key.strip())
    if found is None:
        raise UnknownKey("this key is not known here")
    g.key = found


def tenant() -> str:
    """Whose jobs these are."""
    return g.key.tenant


def require_operator() -> None:
    """Errors: Forbidden for a tenant's key."""
    if g.key.scope != "operator":
        raise Forbidden("this needs an operator's key")
