"""How a process of Backlot logs: where it starts, once; at the level of the settings, without what
libraries may not say.

httpx logs the whole URL of each request, and the libraries of HTTP and S3, asked for details, headers: keys
and signatures.
"""

import logging
import re

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
TALKATIVE = ("httpx", "httpcore", "boto3", "botocore", "s3transfer", "urllib3")


KEY = re.compile(r"\b(bk_)[A-Za-z0-9_-]{20,}")


class _WithoutKeys(logging.Formatter):
    """An API key is taken out of whatever is said: callers put them into paths and queries by mistake."""

    def format(self, record: logging.LogRecord) -> str:
        return KEY.sub(r"\1***", super().format(record))


def start(level: str) -> None:
    """Log from now on, in this process, at `level`; those who talk of secrets, warnings at most."""
    logging.basicConfig(level=level, format=FORMAT, force=True)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_WithoutKeys(FORMAT))
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
