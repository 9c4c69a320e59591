"""The socket that this process listens on, for what granian has no option for: a caller that does not take its answer.

granian has a deadline for a head and none for an answer, so whoever asks and never reads would hold a connection for
good. Linux has one (TCP_USER_TIMEOUT), which connections inherit from their listener. Knows no request.
"""

import contextlib
import os
import socket


def cut_off_who_does_not_read(after_s: float) -> bool:
    """A connection that takes nothing of what waits for it for so long is ended from now on. Whether a listener was
    found; where the system has no such option, there is nothing to do."""
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
