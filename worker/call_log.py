"""The log of one attempt as its code writes to it: the logger of its call, warnings, and loggers of libraries.

In a process that several jobs share, a line is an attempt's where the thread that writes it works for that attempt
alone; else it is nobody's, and goes to the worker's log. Knows neither the bucket nor the ledger.
"""

import contextlib
import logging
import threading
import traceback
import warnings
from collections.abc import Iterator

from tasks import errors
from tasks.logs import TALKATIVE
from tasks.registry import KINDS
from worker.live_log import LiveLog
from worker.log_file import LogFile
from worker.log_filter import LogFilter

log = logging.getLogger(__name__)
OURS = {"worker", "tasks", "celery", "kombu", "amqp", "billiard", "redis", "obstore", *TALKATIVE}
"""Packages whose loggers write to the worker's log alone; those of the kinds are the models'."""
WARNINGS = "py.warnings"
"""The logger of warnings; its messages have a line end."""
_working = threading.local()


class CallLog(logging.Logger):
    """The log of one attempt; `Call.log` of its call. Before the attempt begins, and after its end, lines go to the
    worker's log."""

    def __init__(self) -> None:
        super().__init__("call", logging.INFO)
        self._file: LogFile | None = None
        self._filter: LogFilter | None = None
        self._live: LiveLog | None = None
        self._writing = threading.Lock()

    def begin(self, file: LogFile, log_filter: LogFilter) -> None:
        """The attempt writes to this file from now on."""
        self._file, self._filter = file, log_filter

    def end(self) -> None:
        """The attempt writes no more; once this has returned the file may be another's."""
        with self._writing:
            self._file = self._live = None

    def piece(self) -> tuple[str, int]:
        """The lines that are to be told next (LiveLog.piece). Gives back the disk of a long log's middle, too."""
        with self._writing, contextlib.suppress(OSError):
            if self._file and self._filter and self._file.size():
                self._live = self._live or LiveLog(self._file, self._filter)
                self._file.bound()
                return self._live.piece()
        return "", 0

    def sent(self, piece: str) -> None:
        """Notes that the ledger has been told this piece."""
        with self._writing:
            if self._live:
                self._live.sent(piece)

    def handle(self, record: logging.LogRecord) -> None:
        """Writes a line: the level where it is a warning or worse, the message, and a traceback where there is one."""
        if not self.write(line_of(record)):
            log.handle(record)

    def write(self, text: str) -> bool:
        """Appends text. Returns False where the attempt has ended, or the disk is full."""
        with self._writing, contextlib.suppress(OSError):
            if self._file:
                self._file.write(text.encode(errors="backslashreplace"))
                return True
        return False

    def tell(self, error: BaseException) -> None:
        """Writes the traceback behind a model's failure, such as to load; the sentence of any other error says all."""
        cause = error.__cause__ if isinstance(error, (errors.ModelFailed, errors.OutOfMemory)) else error
        if cause is not None and not isinstance(cause, errors.BacklotError):
            self.write("".join(traceback.format_exception(cause)))


def line_of(record: logging.LogRecord) -> str:
    """The record as a line of a log, with its traceback."""
    try:
        told = record.getMessage()
    except Exception as error:  # arguments that do not fit the message
        told = f"{record.msg} ({type(error).__name__})"
    if record.name == WARNINGS:
        return told
    level = f"{record.levelname}: " if record.levelno >= logging.WARNING else ""
    trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info and record.exc_info[1] else ""
    return f"{level}{told}\n{trace}"


@contextlib.contextmanager
def working_for(call_log: logging.Logger | None) -> Iterator[None]:
    """This thread works for the attempt of this log within the block, or for no single one (None)."""
    before = getattr(_working, "log", None)
    _working.log = call_log
    try:
        yield
    finally:
        _working.log = before


def listen() -> None:
    """Has warnings, and libraries' log records, written to the log of the attempt that their thread works for."""
    logging.captureWarnings(True)
    logging.getLogger().addHandler(_Libraries())


def show_warnings_again() -> None:
    """Has each warning shown once more, which Python otherwise shows once a process: any change of the filters does."""
    warnings.simplefilter("default", append=True)


class _Libraries(logging.Handler):
    """Writes what libraries and models log; not what Backlot does."""

    def emit(self, record: logging.LogRecord) -> None:
        call_log = _current()
        if call_log is not None and _is_of_a_model(record.name):
            call_log.write(line_of(record))


def _is_of_a_model(name: str) -> bool:
    first, _, rest = name.partition(".")
    return first not in OURS or (first == "tasks" and rest.partition(".")[0] in KINDS)


def _current() -> CallLog | None:
    found = getattr(_working, "log", None)
    return found if isinstance(found, CallLog) else None
