"""The processes of one worker as its parent sees them: which live, which died and why; it ends them.

It knows process ids and connections; not jobs, not limits.
"""

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from worker import link

log = logging.getLogger(__name__)
CAUSE_S = 1
"""Seconds after a process's end in which Celery may tell its cause; the kernel tells at once."""
FORGET_S = 60
"""Seconds after a process's end until it is forgotten."""


@dataclass
class _Known:
    pid: int
    started: int
    line: socket.socket
    serving: str | None = None
    process: BaseProcess | None = None
    gone_at: float | None = None
    cause: str = ""
    unread: bytes = b""


class Processes:
    """Listens on a Unix socket for the links of the worker's processes.

    main   the Celery process
    bells  doorbells taken so far by all processes
    """

    main: BaseProcess
    bells: int = 0

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, lambda: self._woken.recv(64))
        self._by_pid: dict[int, _Known] = {}

    def wait(self, timeout_s: float) -> None:
        """Wait until something needs the parent, or the time is over."""
        until = time.monotonic() + timeout_s
        while (left := until - time.monotonic()) > 0:
            if any(known.gone_at and not known.cause for known in self._by_pid.values()):
                left = min(left, 0.05)
            looked = False
            for key, _ in self._selector.select(left):
                looked = key.data() is not None or looked
            if self._learn_causes() or looked:
                return

    def wake(self) -> None:
        """End a wait; safe from signal handlers and other threads."""
        with contextlib.suppress(BlockingIOError):  # full: it is awake
            self._waker.send(b"!")

    def is_up(self) -> bool:
        """True once the Celery process has said hello."""
        return any(known.process is self.main for known in self._by_pid.values())

    def is_gone(self, slot: str) -> bool:
        """True where the process of the slot has ended and its cause is settled."""
        pid, started = process_of(slot)
        known = self._by_pid.get(pid)
        if known and known.started == started:
            return known.gone_at is not None and bool(known.cause)
        return not _exists(pid, started)

    def cause(self, slot: str) -> str:
        """The cause of the end of the slot's process, for a person."""
        known = self._by_pid.get(process_of(slot)[0])
        return known.cause if known and known.cause else "it is no longer there"

    def memory_mb(self, slot: str) -> float:
        """Resident memory, MiB; 0 where it is gone."""
        try:
            return psutil.Process(process_of(slot)[0]).memory_info().rss / 2**20
        except psutil.Error:
            return 0

    def send(self, slot: str, **message: object) -> None:
        """Send a message to the slot's process. A process that does not listen meets its limit."""
        known = self._by_pid.get(process_of(slot)[0])
        if known and known.gone_at is None:
            with contextlib.suppress(OSError):
                known.line.send(json.dumps(message).encode() + b"\n", socket.MSG_DONTWAIT)

    def kill(self, slot: str) -> None:
        """Send SIGKILL to the slot's process; `is_gone` tells when it is dead."""
        pid, started = process_of(slot)
        if _exists(pid, started):
            os.kill(pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """Send SIGKILL to the Celery process and its children, which have a session of their own."""
        for known in self._by_pid.values():
            if known.gone_at is None and _exists(known.pid, known.started):
                os.kill(known.pid, signal.SIGKILL)
        self.main.kill()
        self.main.join()

    def close(self) -> None:
        self._selector.close()
        self._listener.close()

    def _accept(self) -> None:
        line, _ = self._listener.accept()
        self._selector.register(line, selectors.EVENT_READ, lambda: self._read_hello(line))

    def _read_hello(self, line: socket.socket) -> bool | None:
        """Read a hello, from which on the process is known, and the messages behind it."""
        data = _received(line)
        self._selector.unregister(line)
        if not data:
            line.close()
            return None
        head, _, rest = data.partition(b"\n")
        try:
            hello = json.loads(head)
            known = _Known(hello["pid"], hello["started"], line)
        except (ValueError, LookupError, TypeError):
            log.error("a process said no hello, but %.200r", head)
            line.close()
            return None
        known.process = self.main if known.pid == self.main.pid else None
        self._by_pid[known.pid] = known
        self._selector.register(line, selectors.EVENT_READ, lambda: self._read(known))
        return self._split(known, rest)

    def _read(self, known: _Known) -> bool | None:
        """Read messages of a process. Returns True where the parent should look."""
        data = _received(known.line)
        if not data:
            self._selector.unregister(known.line)
            known.line.close()
            known.gone_at = time.monotonic()
            if known.process:
                known.process.join(5)
                known.cause = _exit(known.process.exitcode)
            return True if known.process else None
        return self._split(known, data)

    def _split(self, known: _Known, data: bytes) -> bool | None:
        *lines, known.unread = (known.unread + data).split(b"\n")
        return True if [True for line in lines if self._handle_line(known, line)] else None

    def _handle_line(self, known: _Known, line: bytes) -> bool:
        """Handle one line; a malformed one is logged. Returns True where the parent should look."""
        try:
            return self._handle_message(known, json.loads(line))
        except (ValueError, LookupError, TypeError, AttributeError):
            log.error("process %d said what is no message: %.200r", known.pid, line)
            return False

    def _handle_message(self, known: _Known, message: link.Message) -> bool:
        if "serving" in message:
            known.serving = message["serving"]
            self.bells += 1
            return False
        for other in self._by_pid.values():
            if other.serving == message["lost"]:
                other.cause = message["text"].partition(" Job:")[0]
        return True

    def _learn_causes(self) -> bool:
        """Find the causes of ended processes: from the kernel until they are reaped, else from Celery."""
        now, found = time.monotonic(), False
        for known in list(self._by_pid.values()):
            if known.gone_at and now - known.gone_at > FORGET_S:
                del self._by_pid[known.pid]
            elif known.gone_at and not known.cause:
                known.cause = _exit_of_zombie(known.pid)
                if not known.cause and (now - known.gone_at > CAUSE_S or not self.main.is_alive()):
                    known.cause = "it died without a word"
                found = found or bool(known.cause)
        return found


def _received(line: socket.socket) -> bytes:
    """The received bytes; b'' where the other end is gone."""
    try:
        return line.recv(65536)
    except ConnectionError:
        return b""


def process_of(slot: str) -> tuple[int, int]:
    """pid and start time from <worker>:<pid>:<start>:<thread>."""
    _, pid, started, _ = slot.split(":")
    return int(pid), int(started)


def _exists(pid: int, started: int) -> bool:
    try:
        return link.started(pid) == started and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _exit(code: int | None) -> str:
    if code is None:
        return "it is no longer there"
    if code < 0:
        return f"it was ended by signal {-code} ({signal.Signals(-code).name})"
    return f"it exited with status {code}"


def _exit_of_zombie(pid: int) -> str:
    """The end of a process that its parent has not reaped (proc(5), `exit_code`; Linux); '' where unknown."""
    try:
        fields = link.stat(pid)
    except OSError:
        return ""
    return _exit(os.waitstatus_to_exitcode(int(fields[49]))) if fields[0] == "Z" else ""
