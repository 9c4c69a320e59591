"""Standard output and error of a process that runs one job at a time: the job's while it runs, else the worker's log.

Descriptors 1 and 2 are turned to the job's file, so that C libraries and processes that the model starts write there
too. Nothing of it is buffered in Python, so a process that is killed in mid-line leaves what it had written. Knows no
job.
"""

import contextlib
import ctypes
import io
import logging
import os
import sys
import threading

OUT, ERR = 1, 2
LINE_BUFFERED = 1
"""Mode _IOLBF of setvbuf(3) in glibc and musl."""


class _Standard(io.TextIOWrapper):
    """One of sys.stdout and sys.stderr, unbuffered. A thread that an earlier job began writes to the worker's log."""

    def __init__(self, stdio: "Stdio", file: int) -> None:
        raw = open(file, "wb", buffering=0, closefd=False)  # noqa: SIM115 - it lives as long as the process
        super().__init__(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
        self._stdio = stdio

    def write(self, text: str) -> int:
        if threading.current_thread() in self._stdio.strangers:
            return self._stdio.worker_log.write(text)
        return super().write(text)


class Stdio:
    """Made once, in the process, after its logging has begun: loggers go on writing to the worker's log.

    strangers   the threads that were there before the job that runs, except its own
    worker_log  the standard error that the process was started with
    """

    def __init__(self) -> None:
        self._worker = os.dup(ERR)
        self.worker_log = open(self._worker, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
        self.strangers: set[threading.Thread] = set()
        self._c = ctypes.CDLL(None)
        _flush()
        _redirect_loggers(self.worker_log)
        if sys.platform == "linux":
            self._c.setvbuf(ctypes.c_void_p.in_dll(self._c, "stdout"), None, LINE_BUFFERED, 0)
        self._out, self._err = _Standard(self, OUT), _Standard(self, ERR)
        sys.__stdout__, sys.__stderr__ = self._out, self._err  # type: ignore[misc]  # the first ones are buffered

    def turn_to(self, file: int) -> None:
        """Turns both to a job's file, whatever the job before has done to them. Errors: OSError."""
        self.strangers = set(threading.enumerate())
        self.strangers.discard(threading.current_thread())
        os.dup2(file, OUT)
        os.dup2(file, ERR)
        if self._out.closed:
            self._out = _Standard(self, OUT)
        if self._err.closed:
            self._err = _Standard(self, ERR)
        sys.stdout, sys.stderr = self._out, self._err

    def turn_back(self) -> None:
        """Turns both to the worker's log, once what C libraries have buffered is in the job's file. Errors: OSError."""
        self._c.fflush(None)
        os.dup2(self._worker, OUT)
        os.dup2(self._worker, ERR)


def has_children() -> bool:
    """True where this process has a child, or the system cannot tell: it may still hold the job's file."""
    if not hasattr(os, "waitid"):
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _flush() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()  # type: ignore[union-attr]


def _redirect_loggers(stream: io.TextIOWrapper) -> None:
    """Has each logger that writes to standard output or error write to `stream`."""
    known = [logging.getLogger(), *map(logging.getLogger, list(logging.Logger.manager.loggerDict))]
    for logger in known:
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and _file_of(handler.stream) in (OUT, ERR):
                handler.setStream(stream)


def _file_of(stream: object) -> int | None:
    with contextlib.suppress(AttributeError, ValueError, OSError):
        file: int = stream.fileno()  # type: ignore[attr-defined]
        return file
    return None
