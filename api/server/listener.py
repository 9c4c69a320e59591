"""Sets TCP_USER_TIMEOUT on the listening socket, so that Linux ends connections whose caller never reads the answer.

granian has a deadline for a request's head and none for an answer. Connections inherit the option from their listener.
Knows no request.
"""

import contextlib
import os
import socket


def end_stalled_connections(after_s: float) -> bool:
    """Makes the kernel end connections that accept no byte for so many seconds. True where a listener was found, or
    where the system has no such option."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None or not os.path.isdir("/proc/self/fd"):
        return True
    found = False
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile
            if not os.readlink(f"/proc/self/fd/{number}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(number))) as known:
                if known.family in (socket.AF_INET, socket.AF_INET6) and known.getsockopt(
                    socket.SOL_SOCKET, socket.SO_ACCEPTCONN
                ):
                    known.setsockopt(socket.IPPROTO_TCP, option, round(after_s * 1000))
                    found = True
    return found
