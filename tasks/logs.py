"""Logging set-up of a Backlot process: the level of the settings, no secrets.

httpx logs the whole URL of each request; at debug level the HTTP and S3 libraries log headers with keys and
signatures. Their loggers are held at WARNING.
"""

import logging
import re

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
TALKATIVE = ("httpx", "httpcore", "boto3", "botocore", "s3transfer", "urllib3")
"""Loggers that write secrets below WARNING."""
KEY = re.compile(r"\b(bk_)[A-Za-z0-9_-]{20,}")


class _WithoutKeys(logging.Formatter):
    """Masks API keys in every message: callers put them into paths and queries by mistake."""

    def format(self, record: logging.LogRecord) -> str:
        return KEY.sub(r"\1***", super().format(record))


def start(level: str) -> None:
    """Starts logging in this process at `level`; the loggers of TALKATIVE at WARNING or higher."""
    logging.basicConfig(level=level, format=FORMAT, force=True)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_WithoutKeys(FORMAT))
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
