"""Sandbox of a process that reads untrusted bytes: it drops privileges, new files and sockets, unbounded memory, and on
Linux every system call that computing does not need.

It knows the operating system alone. On Linux all of it applies; other systems silently skip what they do not have.
"""

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
import sys

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_SET_SECCOMP = 1, 38, 24, 22
CAPABILITY_VERSION_3 = 0x20080522
LAST_CAPABILITY = 63
CALLS = {  # machine: (AUDIT_ARCH_*, the numbers of the calls that are left; asm/unistd.h)
    "x86_64": (
        0xC000003E,
        {
            "read": 0,
            "write": 1,
            "close": 3,
            "fstat": 5,
            "lseek": 8,
            "mmap": 9,
            "mprotect": 10,
            "munmap": 11,
            "brk": 12,
            "rt_sigaction": 13,
            "rt_sigprocmask": 14,
            "rt_sigreturn": 15,
            "sched_yield": 24,
            "mremap": 25,
            "madvise": 28,
            "nanosleep": 35,
            "getpid": 39,
            "exit": 60,
            "gettimeofday": 96,
            "getppid": 110,
            "sigaltstack": 131,
            "gettid": 186,
            "futex": 202,
            "sched_getaffinity": 204,
            "restart_syscall": 219,
            "clock_gettime": 228,
            "clock_nanosleep": 230,
            "exit_group": 231,
            "newfstatat": 262,
            "getrandom": 318,
            "membarrier": 324,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "close": 57,
            "lseek": 62,
            "read": 63,
            "write": 64,
            "newfstatat": 79,
            "fstat": 80,
            "exit": 93,
            "exit_group": 94,
            "futex": 98,
            "nanosleep": 101,
            "clock_gettime": 113,
            "clock_nanosleep": 115,
            "sched_getaffinity": 123,
            "sched_yield": 124,
            "restart_syscall": 128,
            "sigaltstack": 132,
            "rt_sigaction": 134,
            "rt_sigprocmask": 135,
            "rt_sigreturn": 139,
            "gettimeofday": 169,
            "getpid": 172,
            "getppid": 173,
            "gettid": 178,
            "brk": 214,
            "munmap": 215,
            "mremap": 216,
            "mmap": 222,
            "mprotect": 226,
            "madvise": 233,
            "getrandom": 278,
            "membarrier": 283,
        },
    ),
}
THREADS = {  # machine: the calls with which a thread begins: clone, clone3, and what a new thread asks for first
    "x86_64": (56, 435, {"set_robust_list": 273, "rseq": 334}),
    "aarch64": (220, 435, {"set_robust_list": 99, "rseq": 293}),
}
THREAD_FLAGS = 0x3D0F00
"""Flags of clone(2) with which glibc starts a thread: the memory, files, signals and process are all shared."""
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


def confine(memory_bytes: int, threads: bool = False) -> None:
    """No new file, socket, pipe or core; no file grows; `memory_bytes` of address space beyond what there is; the end
    of the parent is this process' end; of system calls those of CALLS alone, the others answer EPERM: it signals,
    traces and starts no process, and names no file. What is open stays open. For a process without new privileges.

    `threads`: the process may start threads, which are confined as it is.
    """
    if _libc:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with contextlib.suppress(OSError, ValueError):  # macOS has no such limit
        most = _address_space() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        resource.setrlimit(limit, (0, 0))
    _leave_calls(threads)


def _leave_calls(threads: bool) -> None:
    """seccomp(2), mode filter: a program of classic BPF over `struct seccomp_data` (number at 0, architecture at 4)."""
    arch, numbers = CALLS.get(platform.machine(), (0, {}))
    if not _libc or not numbers or sys.maxsize < 2**32:  # a Python of 32 bits has other numbers
        return
    load, equal, give = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    refuse, unknown, allow = 0x00050001, 0x00050026, 0x7FFF0000  # SECCOMP_RET_ERRNO with EPERM, ENOSYS; ..._ALLOW
    steps = [(load, 0, 0, 4), (equal, 1, 0, arch), (give, 0, 0, refuse), (load, 0, 0, 0)]
    clone, clone3, first = THREADS[platform.machine()]
    for number in (*numbers.values(), *(first.values() if threads else ())):
        steps += [(equal, 0, 1, number), (give, 0, 0, allow)]
    if threads:  # clone3 has its flags in memory, where no filter looks; glibc then takes clone, whose flags are at 16
        steps += [(equal, 0, 1, clone3), (give, 0, 0, unknown), (equal, 0, 3, clone), (load, 0, 0, 16)]
        steps += [(equal, 0, 1, THREAD_FLAGS), (give, 0, 0, allow)]
    steps.append((give, 0, 0, refuse))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    _libc.prctl(PR_SET_SECCOMP, 2, program, 0, 0)


def _address_space() -> int:
    """Bytes that this process has mapped; proc(5), /proc/<pid>/statm."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()
