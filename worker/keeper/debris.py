"""Parts of uploads that broke off: they lie in no list of the bucket and are paid for until somebody aborts them.

A worker or an API process that dies while it stores a large object leaves them. A lifecycle rule of the bucket does
the same (docs/operations.md); a server that cannot list them needs one, or has none.
"""

import logging
from datetime import UTC, datetime, timedelta

from tasks.bucket.layout import ARTEFACTS
from tasks.bucket.storage import NotSupported, Storage
from worker.keeper.skipped import Skipped

log = logging.getLogger(__name__)
EVERY_S = 3600
OLD = timedelta(days=1)
"""No upload of ours takes so long: a job's own limits end it before."""
FOLDERS = ("tenants/", ARTEFACTS)
"""Where Backlot puts large objects; what others begin elsewhere in the bucket is theirs."""


class Debris:
    """One keeper's."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._is_supported = True

    def abort(self, skipped: Skipped) -> None:
        """Those that were begun a day ago. Errors: StorageUnavailable."""
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
            if not skipped.handle(f"{one.key} {one.upload_id}", lambda one=one: self.storage.abort(one)):
                log.info("aborted an upload of %s that was begun at %s", one.key, one.begun)
