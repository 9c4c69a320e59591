"""Answers batches in a process of its own: who reads thousands of lines holds Python's lock, for which every other
caller of an API process would wait.

    environ["wsgi.input"] and a socket --> python -m api.server.aside: the same Flask app --> frames of the answer

The process starts with the first batch, has a lower priority, and ends with its parent, or IDLE_S after its last batch.
It finds callers' keys and everything else as the other processes do. This file knows no line and no job.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any

from api.dispatch import BODY
from api.server.wire import OF_ALL, Refused
from tasks import logs
from tasks.settings import Settings

log = logging.getLogger(__name__)
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
PATH, JSON = "/v1/batches", "application/json"
IDLE_S = 60.0
"""Seconds without a batch after which the process ends."""
START_S = 30.0
"""Seconds within which a process takes a request; a new one has to import the app."""
NICE = 5
"""Added to the process's niceness: other callers' requests go first where the cores are short."""
SWITCH_S = 0.0005
"""Seconds after which Python switches threads: who sends lines to Redis would wait 5 ms for the one that reads them."""
TRIES = 2
"""Processes that are asked: the first may have ended just then."""
TAKEN = b"."
"""Says that the process has taken a request. Without it, none of the request was done."""
LENGTH_BYTES = 4
"""Bytes of a frame's length. A frame of 0 bytes ends an answer."""
FRAME_BYTES = 64 * 1024


class Aside:
    """A WSGI app that hands batches to the process, and all else to `app`."""

    def __init__(self, app: App, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._lock = threading.Lock()
        self._process: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not _is_long(environ):
            return self._app(environ, start_response)
        link = self._ask(environ)
        head = _frame(link)
        if not head:
            link.close()
            raise Refused(
                503,
                "the process that reads batches ended; send the batch again with its Idempotency-Key",
                code="not_ready",
                retry_after_s=1,
            )
        status, headers = json.loads(head)
        start_response(status, [(name, value) for name, value in headers])
        return _rest(link)

    def close(self) -> None:
        """Ends the process."""
        with self._lock:
            self._end()

    def _ask(self, environ: dict[str, Any]) -> socket.socket:
        """The socket on which the answer comes. Errors: Refused."""
        asked = json.dumps({name: value for name, value in environ.items() if isinstance(value, str)}).encode()
        with self._on_disk(environ) as body:
            for _ in range(TRIES):
                control = self._control()
                ours, theirs = socket.socketpair()
                with theirs:
                    ours.settimeout(START_S)
                    try:
                        socket.send_fds(control, [TAKEN], [theirs.fileno(), body.fileno()])
                        theirs.close()  # else nobody would see that the process has ended
                        ours.sendall(len(asked).to_bytes(LENGTH_BYTES, "big") + asked)
                        if ours.recv(1) == TAKEN:
                            ours.settimeout(None)
                            return ours
                    except OSError as error:
                        log.warning("the process that reads batches does not answer (%s)", error)
                ours.close()
                self._forget(control)
        raise Refused(503, "batches cannot be read at this time", code="overloaded", retry_after_s=5)

    def _on_disk(self, environ: dict[str, Any]) -> IO[bytes]:
        """The body as a file that another process can read."""
        body: IO[bytes] = environ["wsgi.input"]
        if environ.get(BODY) is None:
            return os.fdopen(os.dup(body.fileno()), "rb")
        copy = tempfile.TemporaryFile(dir=self._settings.spool_dir)  # noqa: SIM115 (the caller closes it)
        copy.write(environ[BODY])
        copy.flush()
        return copy

    def _control(self) -> socket.socket:
        """The socket of the process, which is started where there is none. Errors: OSError."""
        with self._lock:
            if self._process and self._process[0].poll() is not None:
                self._end()
            if self._process is None:
                ours, theirs = socket.socketpair()
                with theirs:
                    argv = [sys.executable, "-m", "api.server.aside"]
                    # a session of its own: a signal to the group of the API reaches this process's parent alone
                    process = subprocess.Popen(argv, stdin=theirs.fileno(), start_new_session=True)
                threading.Thread(target=process.wait, name="waits for the batches' process", daemon=True).start()
                self._process = process, ours
            return self._process[1]

    def _forget(self, control: socket.socket) -> None:
        """Ends the process with this socket, where it is still the one in use."""
        with self._lock:
            if self._process and self._process[1] is control:
                self._end()

    def _end(self) -> None:
        if self._process:
            process, control = self._process
            self._process = None
            control.close()
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_long(environ: dict[str, Any]) -> bool:
    """True for a batch that lies on disk, and for one that names an upload."""
    if environ["PATH_INFO"] != PATH or environ["REQUEST_METHOD"] != "POST" or "wsgi.input" not in environ:
        return False
    media_type = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    return environ.get(BODY, b"") is None or media_type == JSON


def _frame(link: socket.socket) -> bytes | None:
    """The next frame, b"" for the last; None where the other side ended before it."""
    length = _exactly(link, LENGTH_BYTES)
    return _exactly(link, int.from_bytes(length, "big")) if length else None


def _exactly(link: socket.socket, count: int) -> bytes | None:
    parts, left = [], count
    while left:
        part = link.recv(min(left, FRAME_BYTES))
        if not part:
            return None
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _rest(link: socket.socket) -> Iterator[bytes]:
    with link:
        while part := _frame(link):
            yield part
        if part is None:
            raise ConnectionError("the process that reads batches ended in the middle of an answer")


def main() -> None:
    """Serves requests that come as file descriptors over stdin, a socket: that of the answer, and the body."""
    settings = Settings.of_environment()
    logs.start(settings.log_level)
    os.nice(NICE)
    sys.setswitchinterval(SWITCH_S)
    from api import create_app

    app = create_app(settings)
    control = socket.socket(fileno=os.dup(0))
    control.settimeout(IDLE_S)
    threads, under_way = ThreadPoolExecutor(settings.http_threads, "batches"), set[Future[None]]()
    while True:
        under_way = {future for future in under_way if not future.done()}
        try:
            came, files, *_ = socket.recv_fds(control, 1, 2)
        except TimeoutError:
            if not under_way:
                return
            continue
        if not came:
            os._exit(0)  # the parent has ended, and with it every caller's connection
        under_way.add(threads.submit(_serve, app, socket.socket(fileno=files[0]), os.fdopen(files[1], "rb")))


def _serve(app: App, link: socket.socket, body: IO[bytes]) -> None:
    """Answers one request. A caller that leaves ends its answer, and no line that is recorded."""
    with link, body:
        try:
            length = _exactly(link, LENGTH_BYTES) or b""
            environ = {**OF_ALL, **json.loads(_exactly(link, int.from_bytes(length, "big")) or b"{}")}
            link.sendall(TAKEN)
            body.seek(0)
            for part in app(environ | {"wsgi.input": body}, lambda *head: _send(link, json.dumps(head[:2]).encode())):
                _send(link, part)
            _send(link, b"", last=True)
        except OSError:
            log.info("the caller of a batch has left")
        except Exception:
            log.exception("a batch met a defect")


def _send(link: socket.socket, frame: bytes, last: bool = False) -> None:
    if frame or last:
        link.sendall(len(frame).to_bytes(LENGTH_BYTES, "big") + frame)


if __name__ == "__main__":
    main()
