"""Empties the trash: prefixes left by attempts without a commit, erased jobs and unused uploads.

Only the prefix of one job, attempt or upload is ever deleted; an entry of another shape is skipped. It does not know
why a prefix was put into the trash.
"""

import re

from tasks.bucket.layout import job_json_key
from tasks.bucket.storage import Storage
from tasks.ids import now_ms
from tasks.ledger import Ledger, keys
from tasks.service.archive import Tombstone
from worker.keeper.retention import TOMBSTONE_KEPT_MS, tenant_and_id
from worker.keeper.skipped import AT_ONCE, Skipped

UPLOAD_RETRY_MS = 24 * 3600 * 1000
"""Delay until an upload is looked at again that a job still names."""
RECONCILING_MS = 2000
"""Delay until a prefix of a job is looked at again while the bucket is reconciled."""
PREFIX = re.compile(r"tenants/([^/]+)/(jobs|uploads)/([^/]+)/(?:([^/]+)/)?")


class Trash:
    """The trash duties of one keeper. Errors of each: NotReady, StorageUnavailable, RedisError."""

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self.ledger, self.redis, self.storage = ledger, ledger.redis, storage

    def trash_uploads(self, skipped: Skipped) -> None:
        """Trash due uploads that no job names any more."""
        skipped.handle_due(self.redis, keys.UPLOADS, self._trash_upload)

    def empty(self, skipped: Skipped) -> None:
        """Delete the objects under each prefix in the trash. A deleted job leaves a tombstone."""
        skipped.handle_due(self.redis, keys.TRASH, self._empty, AT_ONCE)

    def _trash_upload(self, member: str) -> None:
        tenant, upload = tenant_and_id(member)
        if self._is_named(tenant, upload):
            self.redis.zadd(keys.UPLOADS, {member: now_ms() + UPLOAD_RETRY_MS})
        else:
            self.redis.zadd(keys.TRASH, {f"tenants/{tenant}/uploads/{upload}/": now_ms()})
            self.redis.zrem(keys.UPLOADS, member)

    def _empty(self, prefix: str) -> None:
        named = PREFIX.fullmatch(prefix)
        if named is None:
            raise ValueError("no prefix of a job, an attempt or an upload")
        tenant, room, name, folder = named.groups()
        if room == "jobs" and self.redis.exists(keys.STOCK):
            # once the bucket is reconciled it is known whose outputs other jobs list
            self.redis.zadd(keys.TRASH, {prefix: now_ms() + RECONCILING_MS}, xx=True)
            return
        is_in_use = (
            bool(folder) and self._is_committed(name, folder) if room == "jobs" else self._is_named(tenant, name)
        )
        cited = self.ledger.let_go(tenant, name) if folder is None and room == "jobs" else ""
        if not is_in_use:
            if cited:
                self._delete_beside(prefix, prefix + cited + "/")
            else:
                self.storage.delete_prefix(prefix)
            if folder is None:
                self._put_tombstone(tenant, room, name, bool(cited))
        self.redis.zrem(keys.TRASH, prefix)

    def _delete_beside(self, prefix: str, kept: str) -> None:
        """Delete all objects under a prefix but those under `kept`."""
        others = [seen.key for seen in self.storage.list(prefix) if not seen.key.startswith(kept)]
        if others:
            self.storage.delete(*others)

    def _put_tombstone(self, tenant: str, room: str, name: str, is_cited: bool) -> None:
        """Count a deleted job or upload no longer; put the tombstone of a job. `is_cited`: its outputs stay."""
        if not is_cited:
            self.ledger.count(tenant, name, 0)
        if room == "jobs":
            self.storage.put_bytes(job_json_key(tenant, name), Tombstone.of(name), "application/json")
            self.redis.zadd(keys.TOMBSTONES, {f"{tenant}/{name}": now_ms() + TOMBSTONE_KEPT_MS})

    def _is_named(self, tenant: str, upload: str) -> bool:
        """True while a job names the upload."""
        (jobs,) = self.ledger.snapshot(lambda together: together.exists(keys.upload_jobs(tenant, upload)))
        return bool(jobs)

    def _is_committed(self, job_id: str, folder: str) -> bool:
        """True where a record says that the attempt of this folder has committed: then its objects stay.

        Such a folder should never be in the trash.
        """
        (record,) = self.ledger.snapshot(lambda together: together.hgetall(keys.job(job_id)))
        committed = [name for name, word in record.items() if name.startswith("t:") and word == "succeeded"]
        return any(folder.endswith(token[-8:]) for token in committed)
