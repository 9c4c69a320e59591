"""Checkpoints: the state of an attempt, kept in the bucket, from which the next attempt goes on.

An algorithm may save as often as it likes: it leaves its newest state here and goes on. One thread of the process
writes what was left, of each attempt every few seconds at most, and then notes in the ledger where it lies. A save that
fails is said in the log, and costs nothing but the work since the last one.

A model in C that holds the GIL for seconds lets that thread run for moments only, too short for a write. So where the
thread has been late, a save waits for its write, for a second at most.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tasks.apart import BUCKETS
from tasks.bucket.layout import checkpoint_key
from tasks.bucket.storage import Storage
from tasks.errors import BacklotError
from tasks.ledger import Ledger
from worker.attempt import Attempt

log = logging.getLogger(__name__)
EVERY_S = 3.0
"""Seconds between two writes of an attempt, and from its first save to the first: a shorter job costs nothing."""
ROUND_S = 0.25
"""Seconds between two rounds of the writing thread."""
WRITING = "-"
"""Recorded in place of a key while an attempt writes its first checkpoint."""
LATE_S = 0.5
"""Seconds by which a round must be late for saves to wait."""
GIVE_WAY_S = 1.0
"""Longest wait of a save for its write."""
GIVE_WAY_FOR_S = 30.0
"""Seconds after a late round in which saves wait."""


@dataclass
class _Saver:
    """`data`: what the attempt left, not written yet; `due`: when it may be; 0 before its first save; `noted`: the
    ledger knows of it."""

    attempt: Attempt
    due: float = 0
    data: bytes | None = None
    noted: bool = False


class Checkpoints:
    """The checkpoints of one process's attempts."""

    def __init__(self, storage: Storage, ledger: Ledger) -> None:
        self.storage, self.ledger = storage, ledger
        self._savers: dict[str, _Saver] = {}
        self._ask, self._done, self._late = threading.Event(), threading.Event(), -GIVE_WAY_FOR_S
        threading.Thread(target=self._rounds, name="checkpoints", daemon=True).start()

    def of(self, attempt: Attempt) -> tuple[Callable[[bytes], None], Callable[[], bytes | None]]:
        """The `save` and `saved` of a Call (tasks/algorithm.py). Neither raises."""
        saver = self._savers[attempt.claimed.token] = _Saver(attempt)
        return partial(self._save, saver), partial(self._saved, attempt)

    def forget(self, attempt: Attempt) -> None:
        """Forget an attempt that has ended."""
        self._savers.pop(attempt.claimed.token, None)

    def write(self) -> None:
        """Write the due checkpoints; an attempt that was asked to stop needs none."""
        for saver in list(self._savers.values()):
            if saver.data is not None and time.monotonic() >= saver.due and not saver.attempt.stopped():
                data, saver.data = saver.data, None
                self._write(saver, data)
                saver.due = time.monotonic() + EVERY_S

    def _save(self, saver: _Saver, data: bytes) -> None:
        now = time.monotonic()
        saver.due = saver.due or now + EVERY_S  # from here, not from the claim: it may have waited long for its turn
        saver.data = data
        if now >= saver.due and now - self._late < GIVE_WAY_FOR_S:
            self._done.clear()
            self._ask.set()
            self._done.wait(GIVE_WAY_S)

    def _write(self, saver: _Saver, data: bytes) -> None:
        """Write one checkpoint; the ledger is told before and after, so that no object is left unknown."""
        fixed, claimed = saver.attempt.fixed, saver.attempt.claimed
        key = checkpoint_key(fixed.tenant, fixed.id, claimed.number, claimed.token)
        try:
            if not saver.noted and self.ledger.report(fixed.id, claimed.token, checkpoint=WRITING) == "lost":
                return
            saver.noted = True
            self.storage.put_bytes(key, data, "application/octet-stream")
            self.ledger.report(fixed.id, claimed.token, checkpoint=key)
        except BacklotError as error:
            log.warning("%s: a checkpoint was not kept: %s", fixed.id, error.detail)

    def _saved(self, attempt: Attempt) -> bytes | None:
        key = attempt.claimed.record.get("checkpoint")
        try:
            return BUCKETS.call(partial(self.storage.get_bytes, key), attempt.check) if key and key != WRITING else None
        except BacklotError as error:
            log.warning("%s: work begins anew, for its checkpoint cannot be read: %s", attempt.fixed.id, error.detail)
            return None

    def _rounds(self) -> None:
        while True:
            start = time.monotonic()
            self._ask.wait(ROUND_S)
            self._ask.clear()
            if time.monotonic() - start > ROUND_S + LATE_S:
                self._late = time.monotonic()
            try:
                self.write()
            except Exception:  # a defect here costs checkpoints, never a job
                log.exception("checkpoints were not written")
            self._done.set()
