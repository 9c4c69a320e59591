"""Changes a file of secrets: one process at a time, replaced as a whole, mode 0600. It knows nothing of the content."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """No other process changes the file meanwhile. Makes its folder. Errors: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def replace(path: Path, text: str) -> None:
    """Replaces the file by another with this text. Errors: OSError."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False) as new:
        new.write(text)
        new.flush()
        os.fsync(new.fileno())
    os.replace(new.name, path)  # tempfile made it 0600


def version(path: Path) -> tuple[int, int, int]:
    """A value that differs once the file has changed. Errors: OSError."""
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
