"""Listeners of event streams, a process of its own: bare sockets, some of which read nothing behind the answer's head.

    echo '{"host": "127.0.0.1", "port": 8080, "headers": {}, "jobs": ["job_..."], "slow": 0}' \
        | python -m tests.bench.listeners

It prints `ready` once each has its snapshot, and at the next line on stdin the time (ns since 1970) at which each job's
`done` was there, as JSON.
"""

import json
import resource
import selectors
import socket
import sys
import time

HEAD = "GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: {host}:{port}\r\n{headers}\r\n"
SNAPSHOT, DONE = b"event: snapshot", b"event: done"
TOGETHER = 16
"""Requests under way at one time, which a tenant may have."""
SLOW_BYTES = 2048
"""Receive buffer of a slow listener."""


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    selector, done, left = selectors.DefaultSelector(), {}, set()
    headers = "".join(f"{name}: {value}\r\n" for name, value in asked["headers"].items())
    slow = []
    for number, job in enumerate(asked["jobs"]):
        link = socket.socket()
        if is_slow := number < asked["slow"]:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BYTES)
            slow.append(link)
        link.connect((asked["host"], asked["port"]))
        link.sendall(HEAD.format(job=job, host=asked["host"], port=asked["port"], headers=headers).encode())
        if is_slow:
            link.recv(64)
            continue
        left.add(job)
        selector.register(link, selectors.EVENT_READ, [job, b""])
        while len(left) >= TOGETHER:
            _read(selector, left, done)
    while left:
        _read(selector, left, done)
    print("ready", flush=True)
    selector.register(sys.stdin, selectors.EVENT_READ)
    while _read(selector, left, done):
        pass
    print(json.dumps(done), flush=True)


def _read(selector: selectors.BaseSelector, left: set[str], done: dict[str, int]) -> bool:
    """Reads what is there; False once there is a line on stdin."""
    for key, _ in selector.select(30):
        if key.fileobj is sys.stdin:
            return False
        job, unread = key.data
        data = key.fileobj.recv(65536)
        now = time.time_ns()
        if not data:
            selector.unregister(key.fileobj)
            key.fileobj.close()
            assert job in done, f"the stream of {job} ended before its job: {unread[-300:]!r}"
            continue
        unread += data
        if job in left and b"\n\n" in unread.partition(SNAPSHOT)[2]:
            left.discard(job)
        if DONE in unread:
            done.setdefault(job, now)
        key.data[1] = unread[-4096 if job in left else -len(DONE) :]
    return True


if __name__ == "__main__":
    main()
