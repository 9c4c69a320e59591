"""The line between a worker's parent and the processes that run jobs: JSON messages on a Unix socket.

A process says hello when it starts. The end of its connection tells its death at once, whatever killed it. The parent
sends stops, nothing else.
"""

import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

log = logging.getLogger(__name__)
PR_SET_PDEATHSIG = 1
Message = dict[str, Any]


class Link:
    """A process's end. `on_message` is called with each message from the parent, on a thread of its own."""

    def __init__(self, path: Path, role: str, on_message: Callable[[Message], None]) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._sending = threading.Lock()
        self.send(hello=role, pid=os.getpid(), started=started(os.getpid()))
        threading.Thread(target=self._listen, args=(on_message,), name="link", daemon=True).start()

    def send(self, **message: object) -> None:
        with self._sending:
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def _listen(self, on_message: Callable[[Message], None]) -> None:
        with contextlib.suppress(OSError), self._socket.makefile("rb") as lines:  # a reset is an end as well
            for line in lines:
                try:
                    on_message(json.loads(line))
                except Exception:  # one bad message; the parent says again what matters
                    log.exception("a message of the parent's was not understood: %.200r", line)
        # the parent is gone: without it no lease is renewed and no limit kept
        os.kill(os.getpid(), signal.SIGKILL)


def started(pid: int) -> int:
    """The start time of a process: with the pid it names the process for good. Errors: psutil.Error.

    On Linux in clock ticks since the boot (proc(5), `starttime`): the time of day that psutil makes of them is another
    in a process that was started after the clock was set. Elsewhere in ms since 1970.
    """
    if sys.platform != "linux":
        return round(psutil.Process(pid).create_time() * 1000)
    try:
        return int(stat(pid)[19])
    except OSError as error:
        raise psutil.NoSuchProcess(pid) from error


def stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat behind the name (proc(5)), `state` first. Errors: OSError."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that made it ends (Linux; elsewhere the link does)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
