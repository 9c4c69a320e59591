"""Aborts broken multipart uploads: their parts are in no listing of the bucket and are paid for until aborted.

A worker or an API process that dies while it stores a large object leaves them. A lifecycle rule of the bucket does
the same (docs/operations.md); a server that cannot list such uploads needs the rule, or has none of them.
"""

import logging
from datetime import UTC, datetime, timedelta
from functools import partial

from tasks.bucket.layout import ARTEFACTS
from tasks.bucket.storage import NotSupported, Storage
from worker.keeper.skipped import Skipped

log = logging.getLogger(__name__)
EVERY_S = 3600
"""Seconds between two rounds."""
OLD = timedelta(days=1)
"""Age from which an upload counts as broken: a job's own limits end every upload of ours before."""
FOLDERS = ("tenants/", ARTEFACTS)
"""Folders where Backlot puts large objects; uploads elsewhere in the bucket are somebody else's."""


class Debris:
    """The broken uploads of one bucket, aborted by one keeper."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._is_supported = True

    def abort(self, skipped: Skipped) -> None:
        """Abort the uploads that were begun a day ago. Errors: StorageUnavailable."""
        if not self._is_supported:
            return
        oldest = datetime.now(UTC) - OLD
        try:
            old = [one for folder in FOLDERS for one in self.storage.unfinished(folder) if one.begun < oldest]
        except NotSupported as error:
            self._is_supported = False
            log.warning("parts of broken uploads are not looked for: %s", error.detail)
            return
        for one in old:
            if not skipped.handle(f"{one.key} {one.upload_id}", partial(self.storage.abort, one)):
                log.info("aborted an upload of %s that was begun at %s", one.key, one.begun)
