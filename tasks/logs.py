"""Logging set-up of a Backlot process: the level of the settings, no secrets.

httpx logs the whole URL of each request; at debug level the HTTP and S3 libraries log headers with keys and
signatures. Their loggers are held at WARNING.
"""

import contextlib
import logging
import re
import time

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
TALKATIVE = ("httpx", "httpcore", "boto3", "botocore", "s3transfer", "urllib3")
"""Loggers that write secrets below WARNING."""
KEY = re.compile(r"\b(bk_)[A-Za-z0-9_-]{20,}")
UNUSED = ("logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks", "_srcfile")
"""Parts of a record that FORMAT does not show. Without them a line takes a quarter less time (Python's Logging HOWTO,
"Optimization")."""


class _WithoutKeys(logging.Formatter):
    """Masks API keys in every message: callers put them into paths and queries by mistake."""

    _second, _time = 0, ""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return KEY.sub(r"\1***", line) if "bk_" in line else line

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """The time as logging writes it. Logging itself makes the text of a second anew for each line."""
        second = int(record.created)
        if second != self._second:
            self._time, self._second = time.strftime(self.default_time_format, self.converter(second)), second
        return f"{self._time},{int(record.msecs):03}"


def start(level: str) -> None:
    """Starts logging in this process at `level`; the loggers of TALKATIVE at WARNING or higher."""
    for name in UNUSED:
        setattr(logging, name, None)
    logging.basicConfig(level=level, format=FORMAT, force=True)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_WithoutKeys(FORMAT))
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def file() -> int:
    """The descriptor that this process's log goes to; standard error where logging has none."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                found: int = handler.stream.fileno()
                return found
    return 2
