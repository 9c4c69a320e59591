"""Slow clients by the hundred: connections that are opened, told something of a request, and never finish it.

    with Slow(url, "half heads", 64): ...

One thread drips for all of them. Each sort with and without a key, where it sends one.
"""

import contextlib
import resource
import selectors
import socket
import threading
import time
from collections.abc import Iterator

import httpx

SORTS = ("silent", "half heads", "half bodies", "dripping bodies", "chunks without an end", "HTTP/2 prefaces")
DRIP_EVERY_S = 0.5


class Slow:
    """`count` connections of a sort. `open`: how many the server has not closed."""

    def __init__(self, url: str, sort: str, count: int, key: str = "") -> None:
        host, port = url.removeprefix("http://").split(":")
        self._address, self._sort, self._count = (host, int(port)), sort, count
        self._first = _first(sort, key)
        self._sockets: list[socket.socket] = []
        self._over = threading.Event()
        self._dripping = threading.Thread(target=self._drip, name="slow clients", daemon=True)
        self.answers: list[bytes] = []
        """What came back before a connection was closed, each from its first byte."""

    def __enter__(self) -> "Slow":
        allow_files(self._count + 1000)
        for _ in range(self._count):
            line = socket.create_connection(self._address, timeout=10)
            self._sockets.append(line)
            with contextlib.suppress(OSError):  # refused, and closed, already
                line.sendall(self._first)
            line.setblocking(False)
        self._dripping.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._dripping.join(10)
        for line in self._sockets:
            line.close()

    @property
    def open(self) -> int:
        return len(self._sockets)

    def _drip(self) -> None:
        """Read what comes, so that a close is seen; a byte now and then where the sort says so."""
        got = dict.fromkeys(self._sockets, b"")
        with selectors.DefaultSelector() as selector:
            for line in self._sockets:
                selector.register(line, selectors.EVENT_READ)
            due = time.monotonic()
            while not self._over.is_set() and got:
                for ready, _ in selector.select(0.1):
                    line = ready.fileobj
                    with contextlib.suppress(BlockingIOError):
                        part = b""
                        with contextlib.suppress(ConnectionError):
                            part = line.recv(65536)
                        got[line] += part
                        if not part:
                            selector.unregister(line)
                            self._sockets.remove(line)
                            self.answers.append(got.pop(line))
                            line.close()
                if self._sort == "dripping bodies" and time.monotonic() >= due:
                    due = time.monotonic() + DRIP_EVERY_S
                    for line in list(self._sockets):
                        with contextlib.suppress(OSError):
                            line.send(b"x")


def _first(sort: str, key: str) -> bytes:
    known = f"Authorization: Bearer {key}\r\n" if key else ""
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n{known}Content-Type: application/json\r\n"
    return {
        "silent": b"",
        "half heads": head.encode(),
        "HTTP/2 prefaces": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "half bodies": f"{head}Content-Length: 10000\r\n\r\n".encode() + b"{" * 5000,
        "dripping bodies": f"{head}Content-Length: 10000\r\n\r\n".encode(),
        "chunks without an end": f'{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{"a":\r\n'.encode(),
    }[sort]


def allow_files(count: int) -> None:
    """The soft limit on this process's open files, raised where it is lower. Errors: OSError above the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def looks(url: str, key: str, over: threading.Event, every_s: float = 0.01) -> Iterator[tuple[str, float]]:
    """What somebody else sees meanwhile: ("healthz" or "poll", ms) for one after the other, until `over`. Errors:
    httpx's, for whatever is not answered 200 within 10 s."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=10) as http:
        body = {"kind": "generate", "input": {"prompt": "x"}, "start_at": _in_an_hour()}
        job = http.post("/v1/jobs", json=body).json()
        while not over.wait(every_s):
            for name, path in (("healthz", "/healthz"), ("poll", job["links"]["self"])):
                start = time.perf_counter()
                http.get(path).raise_for_status()
                yield name, (time.perf_counter() - start) * 1000


def _in_an_hour() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
