"""Keeps the log of each attempt in the bucket: Logs in the process that runs it; LeftLogs in the parent, where that
process was killed or a thread does not come back.

A log that is empty costs nothing: no call of Redis or of the bucket. It knows neither leases nor limits.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tasks.bucket.layout import log_key
from tasks.bucket.storage import Storage
from tasks.errors import NotReady
from tasks.ledger import Held, Ledger, keys
from tasks.ledger.faults import away
from tasks.settings import Settings
from worker import board, log_file, stdio
from worker.attempt import Attempt
from worker.call_log import listen, show_warnings_again, working_for
from worker.keeping import Keeping
from worker.log_file import LogFile
from worker.log_filter import LogFilter

log = logging.getLogger(__name__)
WAIT_S = 1.0
"""Seconds for which the end of an attempt waits for its log to be in the bucket."""
LEAVE_S = 5.0
"""Seconds for which a worker that stops waits for logs."""


class Logs:
    """The logs of one process's attempts. `shared`: its slots are threads, so that its standard output is nobody's."""

    def __init__(self, settings: Settings, storage: Storage, shared: bool) -> None:
        self._filter = LogFilter(settings)
        self._keeping = Keeping(lambda: storage)
        self._stdio = None if shared else stdio.Stdio()
        listen()

    @contextlib.contextmanager
    def of(self, attempt: Attempt, file: LogFile) -> Iterator[None]:
        """Has all that is written within the block in the attempt's log; a failure of the model with its traceback."""
        attempt.log.begin(file, self._filter)
        show_warnings_again()
        try:
            if self._stdio:
                self._stdio.turn_to(file.file)
            with working_for(attempt.log):
                yield
        except Exception as error:
            attempt.log.tell(error)
            raise
        finally:
            if self._stdio:
                self._stdio.turn_back()
            attempt.log.end()
            self._keep(attempt, file)

    def _keep(self, attempt: Attempt, file: LogFile) -> None:
        """Keeps the log, and lets the next attempt begin with a file that nobody else writes to."""
        fixed, claimed = attempt.fixed, attempt.claimed
        try:
            written = file.read() if file.size() else None
            if written or (self._stdio and stdio.has_children()):
                file.renew()
            if written:
                key = log_key(fixed.tenant, fixed.id, claimed.number, claimed.token)
                self._keeping.keep(key, self._filter.whole(written)).wait(WAIT_S)
        except Exception:  # a log never costs its job
            log.exception("the log of %s attempt %d is lost", fixed.id, claimed.number)
            file.renew()


class Left(NamedTuple):
    """The log that an attempt has left: the key of its object, and its text."""

    key: str
    text: str


class LeftLogs:
    """The logs that attempts of one worker have left. `folder`: the worker's."""

    def __init__(self, settings: Settings, ledger: Ledger, folder: Path) -> None:
        self._ledger, self._folder = ledger, folder
        self._filter = LogFilter(settings)
        self._keeping = Keeping(lambda: _storage(settings))

    def bound(self, held: Held) -> None:
        """Gives back the disk of a long log's middle."""
        log_file.bound(self._of(held))

    def left_by(self, held: Held) -> Left | None:
        """The log that the attempt has left; None where it wrote nothing, or keeps it itself. Asked before its end is
        written, as the record then forgets the attempt. Errors: NotReady."""
        try:
            return self._left_by(held)
        except NotReady:
            raise
        except Exception:  # a log never keeps a job from its end
            log.exception("the log of %s is lost", held.job_id)
            return None

    def _left_by(self, held: Held) -> Left | None:
        written = log_file.read(self._of(held))
        if written is None or board.read(self._folder, held.slot, held.token) is board.NOTHING_KNOWN:
            return None  # the slot has gone on to another job, whose log it is
        with away():
            tenant, number, token = self._ledger.redis.hmget(keys.job(held.job_id), "tenant", "starts", "token")
        if tenant is None or number is None or token != held.token:
            return None
        return Left(log_key(tenant, held.job_id, int(number), held.token), self._filter.whole(written))

    def keep(self, left: Left | None) -> None:
        """Keeps a log; does not wait for it."""
        if left:
            self._keeping.keep(left.key, left.text)

    def finish(self) -> None:
        self._keeping.finish(LEAVE_S)

    def _of(self, held: Held) -> Path:
        _, pid, _, thread = held.slot.split(":")
        return self._folder / pid / thread


def _storage(settings: Settings) -> Storage:
    """Imported for the first log that is left: the parent needs no bucket otherwise."""
    from tasks.bucket.direct import DirectStorage

    return DirectStorage(settings)
