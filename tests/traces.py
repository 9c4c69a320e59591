"""A check around each test: what the whole process shares is as it was before. A pytest plugin of the suite's own.

A test that leaves a variable, a folder or a signal handler behind changes how others end, by their order and by the
machine. The check puts back what it can, so that one such test is one failure. It knows no test by name.
"""

import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2)
OTHERS = ("PYTEST_", "HYPOTHESIS_")
"""Variables of the test tools; they change with each test."""
AT_IMPORT = ("KMP_", "OMP_", "TORCH", "PYTORCH_", "CUDA_", "TF_", "TRANSFORMERS_", "HF_", "TOKENIZERS_", "MPL")
"""Variables that libraries set for themselves when they are first imported, whichever test that is."""


@pytest.fixture(autouse=True)
def _no_trace() -> Iterator[None]:
    before = shared()
    yield
    left = differences(before, shared())
    if left:
        _put_back(before)
        pytest.fail(f"the test left a trace in the process: {'; '.join(left)}", pytrace=False)


def shared() -> dict[str, Any]:
    """What the tests of one process share, by name; variables as `environment NAME`."""
    found: dict[str, Any] = {
        f"environment {name}": value for name, value in os.environ.items() if not name.startswith(OTHERS)
    }
    found.update({f"handler of {number.name}": signal.getsignal(number) for number in SIGNALS})
    return {
        **found,
        "working folder": os.getcwd(),
        "umask": _umask(),
        "sys.path": tuple(sys.path),
        "level of the root logger": logging.getLogger().level,
        "default timeout of sockets": socket.getdefaulttimeout(),
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """A line for each thing that was added, changed or removed; what an import added is none."""
    told = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        added_by_import = name not in before and name.removeprefix("environment ").startswith(AT_IMPORT)
        if old != new and not added_by_import:
            told.append(f"{name} was {old!r} and is {new!r}")
    return told


def _put_back(before: dict[str, Any]) -> None:
    for name in [name for name in os.environ if not name.startswith(OTHERS + AT_IMPORT)]:
        if f"environment {name}" not in before:
            del os.environ[name]
    os.environ.update(
        {name.removeprefix("environment "): value for name, value in before.items() if name.startswith("environment ")}
    )
    for number in SIGNALS:
        if (handler := before[f"handler of {number.name}"]) is not None:  # None: not set from Python
            signal.signal(number, handler)
    os.chdir(before["working folder"])
    os.umask(before["umask"])
    sys.path[:] = before["sys.path"]
    logging.getLogger().setLevel(before["level of the root logger"])
    socket.setdefaulttimeout(before["default timeout of sockets"])


def _umask() -> int:
    mask = os.umask(0o077)  # it can be read only by being set; files of other threads are private meanwhile
    os.umask(mask)
    return mask
