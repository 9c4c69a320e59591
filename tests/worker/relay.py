"""A TCP relay before an S3 server that can be away, and can drop connections in the middle of a body."""

import contextlib
import socket
import threading

from tests.between import BUFFER, Between


class Relay(Between):
    """`away`: connections are closed at once. `drop` so many more connections once a body has begun to pass."""

    def __init__(self, upstream: int) -> None:
        self.away, self.drop, self.refused = False, 0, 0
        super().__init__(upstream)
        self.url = f"http://127.0.0.1:{self.port}"

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, self.behind() as behind:
            threading.Thread(target=self._answers, args=(behind, client), daemon=True).start()
            while data := client.recv(BUFFER):
                if self.away:
                    self.refused += 1
                    return
                behind.sendall(data)
                if self.drop and len(data) == BUFFER:
                    self.drop -= 1
                    return

    def _answers(self, behind: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := behind.recv(BUFFER):
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)
