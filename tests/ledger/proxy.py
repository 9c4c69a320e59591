"""A TCP proxy before Redis that loses replies.

After `cut()`, the next answer to an EVALSHA is dropped and its connection closed.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator

BUFFER = 65536


class Proxy:
    """`lost` holds the replies that never reached the client, `asked` counts the scripts sent."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream = upstream_port
        self._cut = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._losing: socket.socket | None = None
        self.lost: list[bytes] = []
        self.asked = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._cut.set()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One request, one reply: redis-py does not send the next before."""
        with client, socket.create_connection(("127.0.0.1", self._upstream)) as redis:
            threading.Thread(target=self._answers, args=(redis, client), daemon=True).start()
            while request := client.recv(BUFFER):
                self.asked += b"EVALSHA" in request
                if b"EVALSHA" in request and self._cut.is_set():
                    self._cut.clear()
                    self._losing = redis
                redis.sendall(request)

    def _answers(self, redis: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while reply := redis.recv(BUFFER):
                if self._losing is redis:
                    self._losing = None
                    self.lost.append(reply)
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(reply)


@contextlib.contextmanager
def losing_replies(upstream_port: int) -> Iterator[Proxy]:
    proxy = Proxy(upstream_port)
    try:
        yield proxy
    finally:
        proxy.close()
