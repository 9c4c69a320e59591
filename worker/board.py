"""The board of a slot: a file with its phase and when that began, for the parent's clocks.

The process that runs the job writes it before each phase and waits for no answer; so it is right also while Redis is
away and before a model that lets no other thread run. It knows neither the ledger nor limits.
"""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

SIZE = 96
"""Bytes of the file."""
NAME = "phase"


@dataclass(frozen=True)
class Doing:
    """The phase of a slot. `since`: seconds of this machine's monotonic clock."""

    token: str = ""
    phase: str = ""
    since: float = 0

    @property
    def for_s(self) -> float:
        return time.monotonic() - self.since


NOTHING_KNOWN = Doing()


class Board:
    """The writing end, of one slot. `folder` is the slot's."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / NAME, os.O_WRONLY | os.O_CREAT, 0o600)
        self.say("-", "-")  # the block is there from now on, however full the disk becomes

    def say(self, token: str, phase: str) -> None:
        """Write the phase, in one write, so that it is never read in part."""
        os.pwrite(self._file, f"{token} {phase} {time.monotonic():.3f}\n".ljust(SIZE).encode(), 0)


def read(folder: Path, slot: str, token: str) -> Doing:
    """The phase of the slot (<worker>:<pid>:<start>:<thread>) in the attempt of this token; else NOTHING_KNOWN.

    `folder` is the worker's.
    """
    _, pid, _, thread = slot.split(":")
    with contextlib.suppress(OSError, ValueError):
        found, phase, since = (folder / pid / thread / NAME).read_text().split()
        if found == token:
            return Doing(found, phase, float(since))
    return NOTHING_KNOWN
