"""The load generator, a process of its own: one request sent again and again over many keep-alive connections.

    echo '{"host": "127.0.0.1", "port": 8080, "path": "/v1/jobs", "headers": {}, "body": "{}"}' \
        | python -m tests.bench.load 5000 32

Bare sockets and one selector, since an HTTP client of Python costs more than the request it measures, and the
generator shares the machine with the server. Each connection has one request under way. Any answer but 202 ends it.
"""

import json
import re
import selectors
import socket
import sys
import time
from dataclasses import dataclass

LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
WARM_UP = 10  # requests a connection that are not counted


@dataclass
class Connection:
    """One keep-alive connection and what it waits for."""

    socket: socket.socket
    sent_at: float = 0
    unread: bytes = b""

    def send(self, message: bytes) -> None:
        self.sent_at, self.unread = time.perf_counter(), b""
        self.socket.sendall(message)

    def answered(self) -> bool:
        """Read what there is; whether the answer is whole. Errors: RuntimeError for any answer but 202."""
        data = self.socket.recv(65536)
        if not data:
            raise RuntimeError("the server closed a keep-alive connection")
        self.unread += data
        head, found, body = self.unread.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not found or length is None or len(body) < int(length[1]):
            return False
        if not head.startswith(b"HTTP/1.1 202"):
            raise RuntimeError(f"not accepted: {self.unread[:1000]!r}")
        return True


def request(host: str, port: int, path: str, headers: dict[str, str], body: str) -> bytes:
    """The message as it goes over the wire."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}:{port}",
        "Content-Type: application/json",
        f"Content-Length: {len(body.encode())}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def drive(address: tuple[str, int], message: bytes, count: int, connections: int) -> list[float]:
    """Send `count` requests that are counted; the start, the end (s), then each one's seconds."""
    selector = selectors.DefaultSelector()
    warm_up, seconds, done, start = WARM_UP * connections, [], 0, 0.0
    left = count + warm_up - connections
    for _ in range(connections):
        connection = Connection(socket.create_connection(address, timeout=30))
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(message)
    while done < count + warm_up:
        ready = selector.select(30)
        if not ready:
            raise RuntimeError("no answer for 30 s")
        for key, _ in ready:
            if not key.data.answered():
                continue
            done += 1
            now = time.perf_counter()
            if done == warm_up:
                start = now
            elif done > warm_up:
                seconds.append(now - key.data.sent_at)
            if left > 0:
                left -= 1
                key.data.send(message)
    return [start, time.perf_counter(), *seconds]


def main() -> None:
    """Arguments: requests, connections; the request as JSON on stdin. Prints the figures as JSON."""
    asked, (count, connections) = json.load(sys.stdin), map(int, sys.argv[1:3])
    start, end, *seconds = drive((asked["host"], asked["port"]), request(**asked), count, connections)
    ordered = sorted(seconds)
    print(
        json.dumps(
            {
                "per_s": count / (end - start),
                "p50_ms": 1000 * ordered[len(ordered) // 2],
                "p99_ms": 1000 * ordered[int(len(ordered) * 0.99)],
            }
        )
    )


if __name__ == "__main__":
    main()
