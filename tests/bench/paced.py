"""A caller at a steady rate, a process of its own: one request sent at fixed times, answered or not.

    echo '{"host": "127.0.0.1", "port": 8080, "path": "/v1/jobs", "headers": {}, "body": "{}"}' \
        | python -m tests.bench.paced 100 10

A request's time counts from the moment at which it was due, so that a server that stands still is not asked less.
"""

import json
import selectors
import socket
import sys
import time

from tests.bench.load import Connection, request

CONNECTIONS = 16
WARM_UP_S = 1.0


def drive(address: tuple[str, int], message: bytes, rate: float, seconds: float) -> list[float]:
    """The seconds of each request after the first WARM_UP_S."""
    selector, idle, took = selectors.DefaultSelector(), [], []
    for _ in range(CONNECTIONS):
        connection = Connection(socket.create_connection(address, timeout=30))
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        idle.append(connection)
    start, count, sent = time.perf_counter(), round(rate * (WARM_UP_S + seconds)), 0
    while len(took) < count:
        now, due = time.perf_counter(), start + sent / rate
        if sent < count and idle and now >= due:
            connection = idle.pop(0)  # each in turn, so that both processes of the API are asked
            connection.send(message)
            connection.sent_at = due
            sent += 1
            continue
        waits = due - now if sent < count and idle else 30
        ready = selector.select(max(0.0, waits))
        if not ready and waits == 30:
            raise RuntimeError("no answer for 30 s")
        for key, _ in ready:
            if key.data.answered():
                took.append(time.perf_counter() - key.data.sent_at)
                idle.append(key.data)
    return took[round(rate * WARM_UP_S) :]


def main() -> None:
    """Arguments: requests a second, seconds; the request as JSON on stdin. Prints the figures as JSON."""
    asked, (rate, seconds) = json.load(sys.stdin), map(float, sys.argv[1:3])
    ordered = sorted(drive((asked["host"], asked["port"]), request(**asked), rate, seconds))
    print(json.dumps({"p50_ms": 1000 * ordered[len(ordered) // 2], "p99_ms": 1000 * ordered[int(len(ordered) * 0.99)]}))


if __name__ == "__main__":
    main()
