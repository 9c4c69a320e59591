"""The log of one attempt as its code writes to it: whose a line is, and the tracebacks that a caller sees."""

import logging
import threading
import warnings

import pytest

from tasks.errors import BacklotError, InputUnreachable, ModelFailed, OutOfMemory
from worker.call_log import CallLog, listen, show_warnings_again, working_for
from worker.log_file import LogFile
from worker.log_filter import LogFilter


@pytest.fixture
def file(tmp_path) -> LogFile:
    return LogFile(tmp_path)


@pytest.fixture
def call_log(file, settings) -> CallLog:
    made = CallLog()
    made.begin(file, LogFilter(settings))
    return made


@pytest.fixture
def listening():
    before = list(logging.getLogger().handlers)
    listen()
    yield
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = before


def raised(error: Exception) -> Exception:
    """The error as a worker catches it, behind a cause."""
    try:
        try:
            raise KeyError("the cause")
        except KeyError as cause:
            raise error from cause
    except BacklotError as caught:
        return caught


@pytest.mark.parametrize("error", [ModelFailed("it cannot be loaded"), OutOfMemory("it is large")])
def test_the_traceback_behind_a_models_failure_is_told(call_log, file, error):
    call_log.tell(raised(error))
    assert file.read().first.endswith(b"KeyError: 'the cause'\n")


def test_no_other_error_has_one(call_log, file):
    """That of a fetch would show how the worker reaches its sources."""
    call_log.tell(raised(InputUnreachable("no answer")))
    call_log.tell(ModelFailed("the sentence of a model's own"))
    assert file.size() == 0


def test_a_line_is_the_attempts_whose_thread_writes_it(call_log, file, listening):
    """In a shared process a thread that works for several, or for none, writes to nobody's log."""

    def say(what: str) -> None:
        logging.getLogger("a_library").warning("a line of %s", what)
        show_warnings_again()
        warnings.warn(f"a warning of {what}", stacklevel=1)

    with working_for(call_log):
        say("one")
        with working_for(None):
            say("several")
        other = threading.Thread(target=say, args=["another thread"])
        other.start()
        other.join()
    say("none")
    told = file.read().first.decode()
    assert "WARNING: a line of one\n" in told and "UserWarning: a warning of one\n" in told
    assert not [what for what in ("several", "another", "none") if what in told]


def test_after_the_end_lines_go_to_the_workers_log(call_log, file, caplog):
    call_log.end()
    call_log.warning("too late")
    call_log.tell(ValueError("too late"))
    assert file.size() == 0 and "too late" in caplog.text
    assert call_log.piece() == ("", 0)
