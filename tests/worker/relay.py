"""A TCP relay before an S3 server that can be away, and can drop connections in the middle of a body."""

import contextlib
import socket
import threading
from collections.abc import Iterator

BUFFER = 65536


class Relay:
    """`away`: connections are closed at once. `drop` so many more connections once a body has begun to pass."""

    def __init__(self, upstream_port: int) -> None:
        self.away, self.drop, self.refused = False, 0, 0
        self._upstream = upstream_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._upstream)) as behind:
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


@contextlib.contextmanager
def relay(upstream_port: int) -> Iterator[Relay]:
    made = Relay(upstream_port)
    try:
        yield made
    finally:
        made.close()
