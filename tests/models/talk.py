"""Writes to its log, in the way that its prompt's first word says; what it writes stands behind it."""

import ctypes
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

from tasks.algorithm import Algorithm
from tests.models.noop import answer

LIBRARY = logging.getLogger("a_library")


class Model(Algorithm):
    @classmethod
    def load(cls, weights, device):
        return cls()

    def run(self, calls):
        for call in calls:
            way, _, rest = call.inputs["prompt"].partition(" ")
            globals()[way](call, rest)
        return [answer("told") for _ in calls]


def silent(call, rest):
    pass


def out(call, rest):
    print(rest)


def err(call, rest):
    print(rest, file=sys.stderr)


def descriptors(call, rest):
    os.write(1, f"one {rest}\n".encode())
    os.write(2, f"two {rest}\n".encode())


def c(call, rest):
    """By the buffer of C's printf, without a line end."""
    ctypes.CDLL(None).printf(b"%s", rest.encode())


def child(call, rest):
    subprocess.run(["echo", rest], check=True)


def logger(call, rest):
    call.log.info("%s", rest)
    call.log.warning("beware of %s", rest)
    LIBRARY.info("a library says %s", rest)
    logging.getLogger("worker.made_up").warning("not the caller's: %s", rest)


def warn(call, rest):
    warnings.warn(rest, stacklevel=1)


def fail(call, rest):
    print("before", file=sys.stderr)
    raise ValueError(f"{rest} {call.workdir}")


def close(call, rest):
    sys.stdout.close()
    os.close(2)


def binary(call, rest):
    os.write(1, bytes(range(256)) + b"\n" + rest.encode() + b"\n")


def much(call, rest):
    """As many MiB, in lines of a hundred bytes; the most disk that its log took stands in the result's place."""
    print("the first line")
    line, log = "x" * 99 + "\n", os.fstat(1)
    most = 0
    for _ in range(int(rest)):
        os.write(1, (line * 10486).encode()[: 1 << 20])
        log = os.fstat(1)
        most = max(most, log.st_blocks * 512)
    print("\nthe last line")
    call.report(0.5, f"{most}")


def late(call, rest):
    """A thread and a process that write after the end, until the file that `rest` names is there."""
    print("in time")
    end = Path(rest)

    def write():
        while not end.exists():
            print("LATE THREAD")
            time.sleep(0.01)

    threading.Thread(target=write, daemon=True).start()
    loop = f"while [ ! -e {end} ]; do echo LATE PROCESS; sleep 0.01; done"
    subprocess.Popen(["sh", "-c", loop])


def hang(call, rest):
    """Writes without a line end, and listens to nothing."""
    sys.stdout.write(rest)
    call.log.info("also by the logger")
    time.sleep(60)


def die(call, rest):
    sys.stdout.write(rest)
    os.kill(os.getpid(), 9)


def slowly(call, rest):
    """A line each tenth of a second, until the file that `rest` names is there."""
    number = 0
    while not Path(rest).exists() and not call.canceled():
        number += 1
        call.log.info("line %d", number)
        time.sleep(0.1)
