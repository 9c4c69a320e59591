"""Interruptible connections for httpcore: while they wait, they call `check` four times a second.

This file knows sockets and TLS, nothing of HTTP or of what is fetched.
"""

import errno
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import httpcore

T = TypeVar("T")
CHECK_EVERY_S = 0.25
"""Seconds between two calls of `check` while a connection waits."""
_READ, _WRITE = select.POLLIN, select.POLLOUT


class Connections(httpcore.NetworkBackend):
    """A network backend that calls `check` before each step and every CHECK_EVERY_S while one waits.

    An exception of `check` ends the connection.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connects to `host`, an address and not a name. Errors: httpcore.ConnectTimeout, httpcore.ConnectError."""
        with _mapped(httpcore.ConnectTimeout, httpcore.ConnectError):
            line = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            stream = _Stream(line, self._check)
            try:
                line.setblocking(False)
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                stream.step(lambda: _connect(line, (host, port)), _WRITE, timeout)
            except BaseException:
                line.close()
                raise
        return stream


class _Stream(httpcore.NetworkStream):
    """One connected socket, never blocking."""

    def __init__(self, line: socket.socket, check: Callable[[], None]) -> None:
        self._line, self._check = line, check

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _mapped(httpcore.ReadTimeout, httpcore.ReadError):
            return self.step(lambda: self._line.recv(max_bytes), _READ, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = memoryview(buffer)
        with _mapped(httpcore.WriteTimeout, httpcore.WriteError):
            while left:
                left = left[self.step(partial(self._line.send, left), _WRITE, timeout) :]

    def close(self) -> None:
        self._line.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        with _mapped(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                line = ssl_context.wrap_socket(
                    self._line, server_hostname=server_hostname, do_handshake_on_connect=False
                )
                sealed = _Stream(line, self._check)
                self._line = line  # which owns the descriptor now, also where the handshake fails
                sealed.step(line.do_handshake, _READ, timeout)
            except BaseException:
                self.close()
                raise
        return sealed

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._line if isinstance(self._line, ssl.SSLSocket) else None
        return {"socket": self._line, "is_readable": False}.get(info)  # a connection is used once

    def step(self, do: Callable[[], T], waits_for: int, timeout: float | None) -> T:
        """Returns what `do` does once the socket is ready. Errors: TimeoutError, OSError, any that `check` raises."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            self._check()
            try:
                return do()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                event = _READ if isinstance(error, ssl.SSLWantReadError) else _WRITE
            except BlockingIOError:
                event = waits_for
            left = CHECK_EVERY_S if end is None else min(CHECK_EVERY_S, end - time.monotonic())
            if left <= 0:
                raise TimeoutError
            ready = select.poll()
            ready.register(self._line, event)
            ready.poll(left * 1000)


def _connect(line: socket.socket, address: tuple[str, int]) -> None:
    """Starts the connect at the first call, polls it at later ones. Errors: BlockingIOError until it is done."""
    error = line.connect_ex(address)
    if error not in (0, errno.EISCONN):
        raise OSError(error, os.strerror(error))  # BlockingIOError for EINPROGRESS and EALREADY


@contextmanager
def _mapped(timeout: type[Exception], other: type[Exception]) -> Iterator[None]:
    """Converts socket errors to httpcore's."""
    try:
        yield
    except TimeoutError as error:
        raise timeout(str(error)) from error
    except OSError as error:
        raise other(str(error)) from error
