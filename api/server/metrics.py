"""Prometheus metrics of the API: each process counts into files, and the parent process serves the sums.

PROMETHEUS_MULTIPROC_DIR must be set before prometheus_client is imported, which then chooses where numbers are kept;
so only the bridge and `python -m api` import this file. Knows no request.
"""

import contextlib
import os
import shutil
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
GRANIAN_EVERY_S = 1
"""Seconds between two collections of granian's own metrics."""
LISTENING = "0A"
"""State of a listening socket in /proc/net/tcp; its rx_queue counts the connections that wait to be accepted."""


class Counts:
    """The counters and gauges of one process."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge

        def gauge(name: str, what: str) -> Gauge:
            return Gauge(name, what, multiprocess_mode="livesum")

        self._requests = Counter("backlot_http_requests", "Requests answered, by status", ["status"])
        self._by_status: dict[int, Any] = {}
        self._late = Counter("backlot_http_late_bodies", "Request bodies that were cut off for being too slow")
        self.held = gauge("backlot_http_held_requests", "Requests that wait for a job")
        self.streams = gauge("backlot_http_event_streams", "Event streams that are open")
        self.spooled = gauge("backlot_http_spooled_bytes", "Bytes of request bodies held, or promised room")
        self.working = gauge("backlot_http_requests_under_way", "Requests taken in and not answered, held ones aside")

    def answered(self, status: int) -> None:
        """Counts an answer with this HTTP status."""
        if status not in self._by_status:
            self._by_status[status] = self._requests.labels(status)
        self._by_status[status].inc()
        if status == 408:
            self._late.inc()


@contextlib.contextmanager
def served(host: str, port: int, api_port: int, granian_port: int, connections: int) -> Iterator[int]:
    """Serves /metrics of all processes on this address (port 0: any) while the block runs; gives the port."""
    directory = os.environ[DIRECTORY] = tempfile.mkdtemp(prefix="backlot-metrics-")

    class Page(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            page = _page(directory, api_port, granian_port, connections) if self.path == "/metrics" else b""
            self.send_response(200 if page else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: Any) -> None:
            """Logs nothing, because scrapes are frequent."""

    server = ThreadingHTTPServer((host, port), Page)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


def _page(directory: str, api_port: int, granian_port: int, connections: int) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

    for file in Path(directory).glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not _alive(pid):
            mark_process_dead(pid, directory)  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
    registry = CollectorRegistry()
    MultiProcessCollector(registry, directory)  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
    registry.register(_Connections(api_port, connections))
    page = generate_latest(registry)
    with contextlib.suppress(OSError):
        page += urllib.request.urlopen(f"http://127.0.0.1:{granian_port}/", timeout=2).read() + b"\n"
    return page


class _Connections:
    """Metrics of connections that the parent knows: the limit, and those that wait to be accepted."""

    def __init__(self, port: int, most: int) -> None:
        self._port, self._most = port, most

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        yield GaugeMetricFamily(
            "backlot_http_connections_max", "Connections that a process holds at most", value=self._most
        )
        if (waiting := _waiting_to_be_accepted(self._port)) is not None:
            yield GaugeMetricFamily(
                "backlot_http_connections_waiting",
                "Connections that no process has accepted: all hold as many as they may, or are busy",
                value=waiting,
            )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _waiting_to_be_accepted(port: int) -> int | None:
    """Connections that wait at all listeners on the port; None where the system does not tell."""
    found = None
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    found = (found or 0) + int(fields[4].rpartition(":")[2], 16)
    return found
