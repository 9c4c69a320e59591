"""Decodes untrusted files in a sandboxed process: no credentials, no privileges, no way to open a file or a socket or
to touch another process, a bound on memory. A decoder that crashes ends its own process and fails its own job alone.

    PICTURES = Decoder("tasks.caption.pictures:decoded")    # def decoded(file) -> Iterator[bytes]
    for piece in PICTURES.stream(path): ...                 # DECODES_WITH = ("PIL",): packages the function needs

    caller -- file, pipe, options --> host (python -m tasks.decoding NAME) -- fork --> a child a file, confined: decodes
       ^--------------------------------------- pieces by the pipe ----------------------------'

The host is started at first use, has an environment without our settings, and ends with its caller.
"""

import contextlib
import importlib
import json
import logging
import os
import pkgutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pydantic import JsonValue

from tasks import errors, logs
from tasks.confinement import confine, drop_capabilities, no_new_privileges

log = logging.getLogger(__name__)
MEMORY_BYTES = 2 * 1024**3
"""Bytes of address space that decoding one file may take: 50 million pixels with transparency take 0.6 GiB."""
HEAD = struct.Struct("!cQ")
"""Header of each message on the pipe: its type (PIECE, DONE, ...) and the length of its body in bytes."""
PIECE, DONE, REFUSED, BROKEN = b"P", b"D", b"R", b"B"
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Variables of the caller's environment that the host inherits."""
REFUSALS = (errors.InvalidInput, errors.TooLarge, errors.UnsupportedMedia)
"""Errors that a decoder may raise about a file; any other is a defect."""
ENDED = "the file ends the process that decodes it: it is damaged, or made to do so"
OPTIONS_BYTES = 4096
"""Bytes that the options of a file may have as JSON."""
THREADS = "threads"
"""Argument of a host whose children may start threads."""
CONTROL = 0
"""File descriptor of the socket on which the host receives its caller's requests."""


class Decoder:
    """A function <module>:<name> from an open binary file, and options by name, to pieces of bytes, run apart.
    For any number of threads. `threads`: its library starts threads of its own, which are confined as it is."""

    def __init__(self, function: str, threads: bool = False) -> None:
        self.function, self.threads = function, threads
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._owner = 0

    def stream(self, path: Path, **options: JsonValue) -> Iterator[bytes]:
        """The pieces as they come; a caller that stops early ends the decoding. `options` are JSON of OPTIONS_BYTES at
        most, which the function gets as arguments.

        Errors: those of REFUSALS that the function raised; InvalidInput where decoding ended its process; TooLarge
        where it wanted more than MEMORY_BYTES; RuntimeError with what else was raised.
        """
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as answers:
            try:
                with path.open("rb") as file:
                    self._ask(json.dumps(options).encode(), file.fileno(), writing)
            finally:
                os.close(writing)
            while piece := _next(answers):
                yield piece

    def _ask(self, options: bytes, file: int, pipe: int) -> None:
        """Hand the file to the host; to a new one where the last has ended."""
        assert len(options) <= OPTIONS_BYTES
        with self._lock:
            for fresh in (False, True):
                control = self._control
                if fresh or control is None or self._owner != os.getpid():
                    control = self._start()
                try:
                    socket.send_fds(control, [options], [file, pipe])
                    if control.recv(1):
                        return
                except OSError as error:
                    log.warning("the decoder %s is gone (%s)", self.function, error)
            raise errors.ModelFailed(f"the decoder {self.function} does not start", retryable=True)

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self._control = ours
        self._owner = os.getpid()
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        env = {
            **kept,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        with theirs:
            subprocess.Popen(
                [sys.executable, "-m", __name__, self.function, *([THREADS] if self.threads else [])],
                env=env,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=logs.file(),  # not the log of the job that needed it first
                cwd="/",
                start_new_session=True,
            )
        return ours


def _next(answers: BinaryIO) -> bytes | None:
    """The next piece, None after the last. What comes is as little trusted as the file that was decoded."""
    head = answers.read(HEAD.size)
    what, size = HEAD.unpack(head) if len(head) == HEAD.size else (b"", 0)
    body = answers.read(size) if size <= MEMORY_BYTES else b""
    if what not in (PIECE, DONE, REFUSED, BROKEN) or len(body) < size:
        raise errors.InvalidInput(ENDED)
    if what == REFUSED:
        raise _refusal(body)
    if what == BROKEN:
        raise RuntimeError(body.decode(errors="replace")[:500])
    return body if what == PIECE else None


def _refusal(body: bytes) -> errors.BacklotError:
    try:
        told = json.loads(body)
        name, detail = told["error"], told["detail"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return errors.InvalidInput(ENDED)
    error = {known.__name__: known for known in REFUSALS}.get(name) if isinstance(name, str) else None
    return error(detail) if error and isinstance(detail, str) else errors.InvalidInput(ENDED)


# -- the host and its children


def serve(function: Callable[..., Iterator[bytes]], threads: bool) -> None:
    """Fork a child for each file that the caller hands over, until the caller is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    no_new_privileges()
    drop_capabilities()
    with socket.socket(fileno=CONTROL) as control:
        while True:
            options, files, _, _ = socket.recv_fds(control, OPTIONS_BYTES, 2)
            if not options:
                return
            if os.fork() == 0:
                _decode(partial(function, **json.loads(options)), threads, *files)
            for file in files:
                os.close(file)
            control.send(b"!")


def _decode(function: Callable[[BinaryIO], Iterator[bytes]], threads: bool, source: int, target: int) -> None:
    """Runs one child from confinement to exit: decodes `source`, writes messages to `target`."""
    try:
        with os.fdopen(source, "rb") as file, os.fdopen(target, "wb", buffering=0) as out:
            os.close(CONTROL)
            confine(MEMORY_BYTES, threads)
            for what, body in _answers(function, file):
                _write(out, HEAD.pack(what, len(body)))
                _write(out, body)
    except BrokenPipeError:
        pass  # the caller has stopped reading
    finally:
        os._exit(0)


def _answers(function: Callable[[BinaryIO], Iterator[bytes]], file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    try:
        for piece in function(file):
            yield PIECE, piece
        yield DONE, b""
    except REFUSALS as error:
        yield REFUSED, json.dumps({"error": type(error).__name__, "detail": error.detail}).encode()
    except MemoryError:
        detail = f"decoding the file takes more than the {MEMORY_BYTES // 1024**2:,} MiB that it may"
        yield REFUSED, json.dumps({"error": "TooLarge", "detail": detail}).encode()
    except BrokenPipeError:
        raise
    except Exception as error:
        yield BROKEN, f"{type(error).__name__}: {error}"[:500].encode()


def _write(out: BinaryIO, data: bytes) -> None:
    left = memoryview(data).cast("B")
    while left:
        left = left[out.write(left) :]


def import_whole(package: str) -> None:
    """Imports every module of a package: a confined child can open no file to import one later."""
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        with contextlib.suppress(ImportError):  # the module needs a library that is not installed
            importlib.import_module(found.name)


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    decoder = importlib.import_module(module)
    for package in decoder.DECODES_WITH:
        import_whole(package)
    serve(getattr(decoder, name), THREADS in sys.argv[2:])
