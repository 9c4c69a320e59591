"""The keys that callers may use: those of the key file, which is read again when it changes.

It knows the file and the clock; it knows no request (auth.py).
"""

import hmac
import logging
import threading
import time
from pathlib import Path

from api.keyfile import Key, digest, read
from tasks.errors import NotReady

log = logging.getLogger(__name__)
LOOK_EVERY_S = 0.5
NOTE_EVERY_S = 60
"""How often the ledger hears that a key is in use."""


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
