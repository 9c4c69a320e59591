"""A TCP proxy before Redis that loses replies.

After `cut()`, the next answer to an FCALL or an EVALSHA is dropped and its connection closed.
"""

import contextlib
import socket
import threading

from tests.between import BUFFER, Between

RUNNING = (b"\r\nFCALL\r\n", b"\r\nEVALSHA\r\n")


class Proxy(Between):
    """`lost` holds the replies that never reached the client, `asked` counts the scripts sent."""

    def __init__(self, upstream: int) -> None:
        self._cut = threading.Event()
        self._losing: socket.socket | None = None
        self.lost: list[bytes] = []
        self.asked = 0
        super().__init__(upstream)

    def cut(self) -> None:
        self._cut.set()

    def _serve(self, client: socket.socket) -> None:
        """One request, one reply: redis-py does not send the next before."""
        with client, self.behind() as redis:
            threading.Thread(target=self._answers, args=(redis, client), daemon=True).start()
            while request := client.recv(BUFFER):
                asks = any(command in request for command in RUNNING)
                self.asked += asks
                if asks and self._cut.is_set():
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
