"""The processes of one worker as its parent sees them: who is there, who is gone and why, how to end one.

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
"""How long after a process's end to wait for someone to say why; where the kernel tells, it takes no time."""
FORGET_S = 60


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
    """Listens on a Unix socket for the links of the worker's processes. `main` is the Celery process; `bells` how many
    were taken by all that there ever were."""

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
        """Until something happened that the parent should look at, or the time is over."""
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
        """Whether the Celery process has said hello."""
        return any(known.process is self.main for known in self._by_pid.values())

    def is_gone(self, slot: str) -> bool:
        """Whether the process of the slot has ended, and all is known of it that will be."""
        pid, started = _process_of(slot)
        known = self._by_pid.get(pid)
        if known and known.started == started:
            return known.gone_at is not None and bool(known.cause)
        return not _exists(pid, started)

    def cause(self, slot: str) -> str:
        """Why it ended, for a person."""
        known = self._by_pid.get(_process_of(slot)[0])
        return known.cause if known and known.cause else "it is no longer there"

    def memory_mb(self, slot: str) -> float:
        """Resident memory, MiB; 0 where it is gone."""
        try:
            return psutil.Process(_process_of(slot)[0]).memory_info().rss / 2**20
        except psutil.Error:
            return 0

    def send(self, slot: str, **message) -> None:
        """A message to the slot's process; one that does not listen is found out by its limit."""
        known = self._by_pid.get(_process_of(slot)[0])
        if known and known.gone_at is None:
            with contextlib.suppress(OSError):
                known.line.send(json.dumps(message).encode() + b"\n", socket.MSG_DONTWAIT)

    def kill(self, slot: str) -> None:
        """SIGKILL to the slot's process; `is_gone` tells when it has worked."""
        pid, started = _process_of(slot)
        if _exists(pid, started):
            os.kill(pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """SIGKILL to the Celery process and its children, which have a session of their own."""
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
        self._selector.register(line, selectors.EVENT_READ, lambda: self._first(line))

    def _first(self, line: socket.socket) -> bool | None:
        """The hello, from then on the process is known; and what came with it."""
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
        return self._take(known, rest)

    def _read(self, known: _Known) -> bool | None:
        """What a process says; not None where the parent should look."""
        data = _received(known.line)
        if not data:
            self._selector.unregister(known.line)
            known.line.close()
            known.gone_at = time.monotonic()
            if known.process:
                known.process.join(5)
                known.cause = _exit(known.process.exitcode)
            return True if known.process else None
        return self._take(known, data)

    def _take(self, known: _Known, data: bytes) -> bool | None:
        *lines, known.unread = (known.unread + data).split(b"\n")
        return True if [True for line in lines if self._hear(known, line)] else None

    def _hear(self, known: _Known, line: bytes) -> bool:
        """Whether the parent should look. A message that is none is said in the log and costs nothing else."""
        try:
            return self._understand(known, json.loads(line))
        except (ValueError, LookupError, TypeError, AttributeError):
            log.error("process %d said what is no message: %.200r", known.pid, line)
            return False

    def _understand(self, known: _Known, message: dict) -> bool:
        if "serving" in message:
            known.serving = message["serving"]
            self.bells += 1
            return False
        for other in self._by_pid.values():
            if other.serving == message["lost"]:
                other.cause = message["text"].partition(" Job:")[0]
        return True

    def _learn_causes(self) -> bool:
        """Of processes that are gone: the kernel tells while they wait to be reaped, else Celery's main may still."""
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
    """What came; b'' where the other end is gone."""
    try:
        return line.recv(65536)
    except ConnectionError:
        return b""


def _process_of(slot: str) -> tuple[int, int]:
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
    """How a process ended that its parent has not reaped, from /proc (Linux; proc(5), `exit_code`); '' if unknown."""
    try:
        fields = link.stat(pid)
    except OSError:
        return ""
    return _exit(os.waitstatus_to_exitcode(int(fields[49]))) if fields[0] == "Z" else ""
