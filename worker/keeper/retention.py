"""Ends jobs that are past their retention: records in Redis, jobs that only the bucket knows, tombstones.

It reads lists of due members and deletes by the prefix of one job. Objects of ended jobs go to the trash (trash.py).
"""

import re

from tasks.bucket.layout import job_json_key, job_prefix
from tasks.bucket.storage import Storage
from tasks.ids import now_ms
from tasks.ledger import Ledger, keys
from tasks.reduced import to_forget
from worker.keeper.skipped import AT_ONCE, Skipped

TOMBSTONE_KEPT_MS = 30 * 24 * 3600 * 1000
NEEDED_MS = 60_000
"""Delay until a job is looked at again that is a source of one that has not ended."""
MEMBER = re.compile(r"([^/]+)/([^/]+)")


class Retention:
    """The retention duties of one keeper. Errors of each: NotReady, StorageUnavailable, RedisError."""

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self.ledger, self.redis, self.storage = ledger, ledger.redis, storage

    def forget_jobs(self, skipped: Skipped) -> None:
        """Forget records past their retention, a damaged one too if it names its tenant."""
        skipped.handle_due(self.redis, keys.RETAINED, self._forget)

    def trash_archived(self, skipped: Skipped) -> None:
        """Trash ended jobs that only the bucket knows, past their retention."""
        skipped.handle_due(self.redis, keys.ARCHIVED, self._trash)

    def delete_tombstones(self, skipped: Skipped) -> None:
        """Delete tombstones that are TOMBSTONE_KEPT_MS old."""
        skipped.handle_due(self.redis, keys.TOMBSTONES, self._delete_tombstone, AT_ONCE)

    def _forget(self, job_id: str) -> None:
        record = self.ledger.record(job_id)
        if record and "needed" in record and self.ledger.is_needed(record["tenant"], job_id):
            self.redis.zadd(keys.RETAINED, {job_id: now_ms() + NEEDED_MS}, xx=True)
        elif record:
            self.ledger.forget(to_forget(record, job_id))
        else:
            self.redis.zrem(keys.RETAINED, job_id)

    def _trash(self, member: str) -> None:
        if self.ledger.is_needed(*tenant_and_id(member)):
            self.redis.zadd(keys.ARCHIVED, {member: now_ms() + NEEDED_MS}, xx=True)
            return
        self.redis.zadd(keys.TRASH, {job_prefix(*tenant_and_id(member)): now_ms()})
        self.redis.zrem(keys.ARCHIVED, member)

    def _delete_tombstone(self, member: str) -> None:
        tenant, job_id = tenant_and_id(member)
        if self.ledger.let_go(tenant, job_id):  # other jobs list its outputs
            self.storage.delete(job_json_key(tenant, job_id))
        else:
            self.storage.delete_prefix(job_prefix(tenant, job_id))
            self.ledger.count(tenant, job_id, 0)
        self.redis.zrem(keys.TOMBSTONES, member)


def tenant_and_id(member: str) -> tuple[str, str]:
    """The parts of a member <tenant>/<id>. Errors: ValueError."""
    named = MEMBER.fullmatch(member)
    if named is None:
        raise ValueError("not <tenant>/<id>")
    return named[1], named[2]
