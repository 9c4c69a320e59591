"""A TCP proxy that a fault can be let through: before Redis, and before the S3 server.

gate.cut()          every open connection is closed now
gate.close_for(s)   nobody gets through: connections are refused
gate.lose_reply()   the next reply to a script is dropped and its connection closed: it was done, nobody knows
gate.hold_pops()    what a blocking pop brings is kept back: the item has left the list and reaches nobody
gate.fail_every(n)  each n-th HTTP request is answered with 503 SlowDown, without being passed on
gate.break_uploads(n)  the next n bodies are cut off in the middle
gate.slow(s)        each HTTP request waits so long
"""

import contextlib
import itertools
import socket
import threading
import time

from tests.between import BUFFER, Between

REFUSAL = b"<Error><Code>SlowDown</Code><Message>please wait</Message></Error>"
SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(REFUSAL), REFUSAL)
)
CONTINUE = b"HTTP/1.1 100"
BODIED = (b"PUT ", b"POST ")
VERBS = (b"GET ", b"HEAD ", b"DELETE ", *BODIED)


class Gate(Between):
    """`faults` counts what it did to whom."""

    def __init__(self, upstream: int) -> None:
        self.faults = self.kept_back = 0
        self._lines: set[socket.socket] = set()
        self._closed_until = self._slow_s = 0.0
        self._losing = self._breaking = 0
        self._holding = False
        self._every, self._requests = 0, itertools.count(1)
        self._lock = threading.Lock()
        super().__init__(upstream)

    def cut(self) -> None:
        self.faults += 1
        for line in list(self._lines):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def close_for(self, seconds: float) -> None:
        self._closed_until = time.monotonic() + seconds
        self.cut()

    def lose_reply(self) -> None:
        self._losing += 1

    def hold_pops(self, on: bool = True) -> None:
        self._holding = on

    def fail_every(self, n: int) -> None:
        """0: none any more."""
        self._every = n

    def break_uploads(self, n: int) -> None:
        self._breaking = n

    def slow(self, seconds: float) -> None:
        self._slow_s = seconds

    def __exit__(self, *_) -> None:
        super().__exit__()
        self.cut()

    def _serve(self, client: socket.socket) -> None:
        if time.monotonic() < self._closed_until:
            client.close()
            return
        with contextlib.suppress(OSError), client, self.behind() as behind:
            self._lines |= {client, behind}
            line = _Line(client, behind)
            threading.Thread(target=self._replies, args=(line,), daemon=True).start()
            while data := client.recv(BUFFER):
                if not self._pass_request(line, data):
                    break
                behind.sendall(data)
            behind.shutdown(socket.SHUT_RDWR)
            self._lines -= {client, behind}

    def _pass_request(self, line: "_Line", data: bytes) -> bool:
        """Whether this piece of what the client sends goes on."""
        line.asks_script = b"FCALL" in data or b"EVALSHA" in data
        line.pops = b"BRPOP" in data
        starts = data.startswith(VERBS)
        if starts and self._slow_s:
            time.sleep(self._slow_s)
        if starts and self._every and next(self._requests) % self._every == 0:
            self.faults += 1
            line.client.sendall(SLOW_DOWN)
            return False
        if self._breaking and (line.in_body or (starts and data.startswith(BODIED))):
            if line.in_body or len(data) == BUFFER:  # some of the body has passed
                with self._lock:
                    self._breaking -= 1
                self.faults += 1
                return False
            line.in_body = True
        return True

    def _replies(self, line: "_Line") -> None:
        with contextlib.suppress(OSError):
            while data := line.behind.recv(BUFFER):
                if self._losing and line.asks_script:
                    with self._lock:
                        self._losing -= 1
                    self.faults += 1
                    break
                if self._holding and line.pops and b"doorbell" in data:
                    self.kept_back += 1
                    continue
                line.in_body = line.in_body and data.startswith(CONTINUE)
                line.client.sendall(data)
        with contextlib.suppress(OSError):
            line.client.shutdown(socket.SHUT_RDWR)


class _Line:
    """One connection through the gate, and what it is about."""

    def __init__(self, client: socket.socket, behind: socket.socket) -> None:
        self.client, self.behind = client, behind
        self.asks_script = self.pops = self.in_body = False
