"""A TCP server that stands between a client and a server on the loopback: what the tests' proxies have in common."""

import contextlib
import socket
import threading

BUFFER = 65536


class Between:
    """`port` is its own, `upstream` that of the server behind it. Ends with its `with`; subclasses say what passes."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One connection, on a thread of its own."""
        raise NotImplementedError

    def behind(self) -> socket.socket:
        """A connection to the server."""
        return socket.create_connection(("127.0.0.1", self.upstream))
