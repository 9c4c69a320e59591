"""The keys that callers may use: those of the key file, which is read again when it changes.

It knows the file and the clock; it knows no request (auth.py).
"""

import hmac
import logging
import threading
import time
from pathlib import Path

from api.keyfile import Key, digest, read
from tasks import secret_file
from tasks.errors import NotReady

log = logging.getLogger(__name__)
REREAD_S = 0.5
"""Seconds between two looks for a changed key file."""
NOTE_EVERY_S = 60
"""Seconds between two notes in the ledger that a key is in use."""


class Keys:
    """The keys of the key file. While the file cannot be read, the keys read last stay valid."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Key] = {}
        self._file_version: tuple[int, int, int] | None = None
        self._checked = float("-inf")
        self._lock = threading.Lock()
        self._noted: dict[str, float] = {}

    def find(self, key: str) -> Key | None:
        """The key with this secret. Errors: NotReady while the file was never read since the process started."""
        self._refresh()
        if self._file_version is None:
            raise NotReady("the API keys cannot be read; the operator's log says why")
        hashed = digest(key)
        known = self._known.get(hashed)
        return known if known and hmac.compare_digest(known.sha256, hashed) else None

    def all(self) -> list[Key]:
        """All keys, in the file's order."""
        self._refresh()
        return list(self._known.values())

    def is_to_be_noted(self, key: Key) -> bool:
        """True once every NOTE_EVERY_S for each key: its use is then noted in the ledger."""
        if self.is_noted(key):
            return False
        self._noted[key.id] = time.monotonic()
        return True

    def is_noted(self, key: Key) -> bool:
        """True where the key's use was noted within NOTE_EVERY_S."""
        return time.monotonic() - self._noted.get(key.id, float("-inf")) < NOTE_EVERY_S

    def _refresh(self) -> None:
        if time.monotonic() - self._checked < REREAD_S:
            return
        with self._lock:
            if time.monotonic() - self._checked < REREAD_S:
                return  # another thread has just checked
            try:
                version = secret_file.version(self._path)
                if version != self._file_version:
                    self._known, self._file_version = {key.sha256: key for key in read(self._path)}, version
            except (OSError, ValueError) as error:
                log.error("the key file cannot be used (%s); the keys known before stay", error)
            self._checked = time.monotonic()  # last, so that other threads wait at the lock until the keys are read
