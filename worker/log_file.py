"""The file that takes up what one attempt writes, in the folder of its slot. It knows neither jobs nor the bucket.

A file, not a pipe: writing to it waits for no reader, and it outlives the process that writes. It grows as long as the
model writes; `bound` gives back the disk between the part that is kept of the beginning and that of the end.
"""

import contextlib
import ctypes
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)
NAME = "log"
FIRST_BYTES = 128 * 1024
"""Bytes that are kept of a log's beginning."""
LAST_BYTES = 128 * 1024
"""Bytes that are kept of its end."""
SLACK_BYTES = 1024 * 1024
"""Bytes by which a file outgrows both before its middle is given back."""
KEEP_SIZE, PUNCH_HOLE = 1, 2
"""Modes of fallocate(2)."""
BLOCK = 4096


@dataclass(frozen=True)
class Written:
    """The kept parts of what was written, and the bytes between them that were left out."""

    first: bytes
    left_out: int = 0
    last: bytes = b""


class LogFile:
    """The writing end, of one slot."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self.file = self._open()

    def size(self) -> int:
        """Bytes written."""
        return os.fstat(self.file).st_size

    def write(self, data: bytes) -> None:
        """Appends bytes. Errors: OSError, of a full disk."""
        while data:
            data = data[os.write(self.file, data) :]

    def read(self) -> Written:
        """The kept parts. Errors: OSError."""
        return _read(self.file)

    def part(self, at: int, most: int) -> bytes:
        """At most `most` bytes behind the first `at`. Errors: OSError."""
        return os.pread(self.file, most, at)

    def bound(self) -> None:
        _bound(self.file)

    def renew(self) -> None:
        """Goes on with an empty file of its own: whoever still has the old one writes to nobody. Never raises."""
        try:
            self._path.unlink(missing_ok=True)
            renewed = self._open()
        except OSError as error:
            log.warning("no new file for a slot's logs, so they are dropped: %s", error)
            renewed = os.open(os.devnull, os.O_RDWR)
        os.close(self.file)
        self.file = renewed

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)


def read(folder: Path) -> Written | None:
    """The kept parts of the log in a slot's folder, for another process; None where nothing was written."""
    try:
        with (folder / NAME).open("rb") as log:
            written = _read(log.fileno())
    except OSError:
        return None
    return written if written.first else None


def bound(folder: Path) -> None:
    """Gives back the disk of the middle of the log in a slot's folder, for another process."""
    with contextlib.suppress(OSError), (folder / NAME).open("r+b", buffering=0) as log:
        _bound(log.fileno())


def _read(file: int) -> Written:
    size = os.fstat(file).st_size
    left_out = size - FIRST_BYTES - LAST_BYTES
    if left_out <= 0:
        return Written(os.pread(file, size, 0))
    return Written(os.pread(file, FIRST_BYTES, 0), left_out, os.pread(file, LAST_BYTES, FIRST_BYTES + left_out))


def _bound(file: int) -> None:
    """Punches a hole where the kernel can (Linux, and most file systems); elsewhere the file stays as it is."""
    stat = os.fstat(file)
    if _fallocate is None or stat.st_blocks * 512 <= FIRST_BYTES + LAST_BYTES + SLACK_BYTES:
        return
    length = (stat.st_size - LAST_BYTES - FIRST_BYTES) // BLOCK * BLOCK
    _fallocate(file, PUNCH_HOLE | KEEP_SIZE, ctypes.c_int64(FIRST_BYTES), ctypes.c_int64(length))


_fallocate = getattr(ctypes.CDLL(None), "fallocate64", None) if sys.platform == "linux" else None
