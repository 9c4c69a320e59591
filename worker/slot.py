"""A slot: a place where one job runs at a time. It has folders of its own, empty between jobs, a board, and a log file.

It knows neither jobs nor the ledger.
"""

import logging
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from worker.board import Board
from worker.log_file import LogFile

log = logging.getLogger(__name__)


@dataclass
class Slot:
    """`folder` is made for the slot. `inputs` and `outputs` are the folders of the current job."""

    name: str
    folder: Path
    rooms: int = 0
    claims: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.board = Board(self.folder)
        self.log = LogFile(self.folder)
        self._move()

    @property
    def inputs(self) -> Path:
        """The folder of inputs. It is emptied only behind a job that asked for it: most have nothing to fetch."""
        self._asked = True
        return self._inputs

    def next_token(self) -> str:
        """A random token. Tokens ascend within the slot, so that a claim that arrives late cannot undo a newer one."""
        self.claims += 1
        return f"{self.claims:08x}{random.SystemRandom().getrandbits(96):024x}"

    def tidy(self, was_stopped: bool) -> None:
        """Empty the folders, or move to new ones; never raises.

        Leftover work of a job that was stopped may still write into its folders, so the slot moves to new ones. It
        moves also where it cannot empty the old ones.
        """
        try:
            if not was_stopped:
                self._empty()
                return
        except OSError as error:
            log.warning("the folders of a job could not be emptied: %s", error)
        shutil.rmtree(self.outputs.parent, ignore_errors=True)
        try:
            self._move()
        except OSError:  # the next job says why it cannot write
            log.exception("no new folders for a slot")

    def _empty(self) -> None:
        for folder in (self._inputs, self.outputs) if self._asked else (self.outputs,):
            for left in os.scandir(folder) if os.listdir(folder) else ():
                if left.is_dir(follow_symlinks=False):
                    shutil.rmtree(left.path)
                else:
                    os.unlink(left.path)
        self._asked = False

    def _move(self) -> None:
        self.rooms += 1
        room = self.folder / str(self.rooms)
        self._inputs, self.outputs = room / "inputs", room / "outputs"
        self._asked = False
        self._inputs.mkdir(parents=True)
        self.outputs.mkdir()
