"""Starts the API's processes under granian: `python -m api`. Settings come from the environment.

This file has all of granian's options, and knows no request. HTTP/2 is off, because with it granian never closes silent
connections. `http_idle_s` is granian's deadline for a request's head, and so for the next request of a kept connection.
"""

import logging
import multiprocessing
import resource
import socket
import sys

import click
from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings

from api.server import metrics
from api.server.wire import HEAD_MAX_BYTES
from tasks import logs
from tasks.models_file import Misconfigured
from tasks.settings import Settings

log = logging.getLogger("api")
APP = "api.server.bridge:bridge"
"""The factory of the ASGI app that each process serves."""
BACKLOG = 4096
"""Connections that the kernel keeps waiting to be accepted."""
OTHER_FILES = 512
"""Open files of a process beside its connections: Redis, the bucket, spooled bodies."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option("--processes", type=click.IntRange(1), default=2, show_default=True)
def main(host: str, port: int, processes: int) -> None:
    """Serve the API until SIGTERM."""
    try:
        settings = Settings.of_environment()
        settings.registry()
    except Misconfigured as error:
        sys.exit(str(error))
    logs.start(settings.log_level)
    for line in Settings.misspelt():
        log.warning("%s", line)
    multiprocessing.set_start_method("spawn")  # a forked child would inherit the locks and sockets of our threads
    connections = _connections(settings.http_connections)
    granian_port = _free_port()
    with metrics.served(settings.metrics_host, settings.http_metrics_port, port, granian_port, connections) as at:
        log.info("metrics at http://%s:%d/metrics", settings.metrics_host, at)
        Granian(
            APP,
            host,
            port,
            interface=Interfaces.ASGI,
            factory=True,
            workers=processes,
            loop=Loops.asyncio,
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKLOG,
            backpressure=connections,
            http1_settings=HTTP1Settings(
                header_read_timeout=round(settings.http_idle_s * 1000), max_buffer_size=HEAD_MAX_BYTES
            ),
            respawn_failed_workers=True,
            workers_kill_timeout=round(settings.http_grace_s),
            log_access=False,
            metrics_enabled=True,
            metrics_scrape_interval=metrics.GRANIAN_EVERY_S,
            metrics_port=granian_port,
        ).serve()


def _connections(wanted: int) -> int:
    """The connections that a process can hold. Raises the limit of open files as far as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted + OTHER_FILES
    allowed = most if hard == resource.RLIM_INFINITY else min(hard, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < most:
        log.warning(
            "the system allows %d open files, so a process holds %d connections, not %d",
            hard,
            allowed - OTHER_FILES,
            wanted,
        )
    return max(1, allowed - OTHER_FILES)


def _free_port() -> int:
    """A free port of this machine for granian's own metrics, which metrics.py adds to ours."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
