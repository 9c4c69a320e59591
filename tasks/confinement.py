"""What a process gives up before it reads what strangers sent: privileges, new files and sockets, unbounded memory.

It knows the operating system alone. Linux gives all of it; elsewhere what cannot be given up is kept, without a word.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 1, 38, 24
CAPABILITY_VERSION_3 = 0x20080522
LAST_CAPABILITY = 63
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def no_new_privileges() -> None:
    """No program that is started from here on gains any by its file (setuid, capabilities); proc(5), `NoNewPrivs`."""
    if _libc:
        _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def drop_capabilities() -> None:
    """Root without any is root in name: capabilities(7)."""
    if not _libc or os.geteuid() != 0:
        return
    for capability in range(LAST_CAPABILITY + 1):
        _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _libc.capset(header, (ctypes.c_uint32 * 6)())


def confine(memory_bytes: int) -> None:
    """No new file, socket, pipe or core; no file grows; `memory_bytes` of address space beyond what there is; the end
    of the parent is this process' end. What is open stays open."""
    if _libc:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with contextlib.suppress(OSError, ValueError):  # macOS has no such limit
        most = _address_space() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        resource.setrlimit(limit, (0, 0))


def _address_space() -> int:
    """Bytes that this process has mapped; proc(5), /proc/<pid>/statm."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()
