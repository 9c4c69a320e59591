"""How much memory a call takes at its peak, measured in a process of its own that has already imported the libraries.

The process may map ROOM_MIB more than it has, so that what a limit lets through is a MemoryError there and not the
end of the machine.
"""

import multiprocessing
import re
import resource
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tasks.errors import BacklotError

PRELOADED = [
    "tasks.caption.pictures",
    "tasks.transcribe.audio",
    "tasks.recommend.tables",
    "tasks.bucket.fetch",
    "tasks.bucket.storage",
    __name__,
]
ROOM_MIB = 3072
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(PRELOADED)


@dataclass(frozen=True)
class Measured:
    """What the call gave, or the error of ours that it raised, and by how many MiB its process grew."""

    answer: Any
    error: BacklotError | None
    mib: float


def measured(call: Callable[..., Any], *args: Any) -> Measured:
    """Run it there; an error that is none of ours fails the test. What it is given and gives must be picklable."""
    ours, theirs = _server.Pipe()
    process = _server.Process(target=_run, args=(theirs, call, args))
    process.start()
    theirs.close()
    try:
        answer, error, mib = ours.recv()
    finally:
        process.join()
    assert error is None or isinstance(error, BacklotError), error
    return Measured(answer, error, mib)


def _run(line: Connection, call: Callable[..., Any], args: tuple) -> None:
    before, mapped = _status("VmRSS"), _status("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, ((mapped + ROOM_MIB * 1024) * 1024,) * 2)
    answer, error = None, None
    try:
        answer = call(*args)
    except BaseException as raised:
        error = raised if isinstance(raised, BacklotError) else f"{type(raised).__name__}: {raised}"
    line.send((answer, error, (_status("VmHWM") - before) / 1024))


def _status(name: str) -> int:
    """KiB, of this process."""
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
