"""Free TCP ports on this machine: the ones asked for where nobody has them, else others."""

import socket
from collections.abc import Collection

from deploy.local.servers import LOOPBACK

TRIES = 100  # neighbours of the wanted port, before the system may pick any


def free_port(wanted: int, besides: Collection[int] = ()) -> int:
    """The wanted port, or the nearest above it that is free and not among `besides`."""
    for port in range(wanted, min(wanted + TRIES, 65536)):
        if port not in besides and is_free(port):
            return port
    with socket.socket() as anywhere:
        anywhere.bind((LOOPBACK, 0))
        return int(anywhere.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a server may listen there: nobody answers, and the system would allow it.

    Both are asked, since macOS allows a second listener beside one that listens on all addresses.
    """
    with socket.socket() as client:
        client.settimeout(0.5)
        if client.connect_ex((LOOPBACK, port)) == 0:
            return False
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, else TIME_WAIT looks taken
        try:
            server.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
