"""Deletes artefacts a retention after they were made: a job that needs one again makes it anew.

It looks at the bucket alone and deletes by whole keys, never by a prefix.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import partial

from tasks.bucket.layout import ARTEFACTS
from tasks.bucket.storage import Storage
from worker.keeper.skipped import Skipped

EVERY_S = 3600
"""Seconds between two rounds."""
KEY = re.compile(ARTEFACTS + r"[^/]+/[^/]+/[^/]+\.tar")


def delete_old(storage: Storage, retention_s: float, skipped: Skipped) -> None:
    """Delete artefacts older than `retention_s`. A key of another shape is skipped. Errors: StorageUnavailable."""
    oldest = datetime.now(UTC) - timedelta(seconds=retention_s)
    for seen in list(storage.list(ARTEFACTS)):
        if seen.modified < oldest:
            skipped.handle(seen.key, partial(_delete, storage, seen.key))


def _delete(storage: Storage, key: str) -> None:
    if not KEY.fullmatch(key):
        raise ValueError("no artefact's key")
    storage.delete(key)
