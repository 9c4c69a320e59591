"""What is past its time goes: records, uploads, what the bucket alone knows, trash, artefacts. Each may be done twice.

Nothing is deleted but by the prefix of one job, attempt or upload, or by its own key: an entry of another shape is
skipped, whatever it says.
"""

import re
from datetime import UTC, datetime, timedelta

from tasks.bucket.layout import ARTEFACTS, job_json_key, job_prefix
from tasks.bucket.storage import Storage
from tasks.job import now_ms
from tasks.ledger import Ledger, keys
from tasks.reduced import to_forget
from tasks.service.archive import Tombstone
from worker.keeper.skipped import A_FEW, Skipped

UPLOAD_ASK_AGAIN_MS = 24 * 3600 * 1000
TOMBSTONE_MS = 30 * 24 * 3600 * 1000
MEMBER = re.compile(r"([^/]+)/([^/]+)")
PREFIX = re.compile(r"tenants/([^/]+)/(jobs|uploads)/([^/]+)/(?:([^/]+)/)?")
ARTEFACT = re.compile(ARTEFACTS + r"[^/]+/[^/]+/[^/]+\.tar")


class Clearing:
    """One keeper's. Each duty has its own `Skipped`. Errors of every duty: NotReady, StorageUnavailable, RedisError."""

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self.ledger, self.redis, self.storage = ledger, ledger.redis, storage

    def forget_old_jobs(self, skipped: Skipped) -> None:
        """Records past their retention; also one that is damaged, if it says whose it is."""

        def forget(job_id: str) -> None:
            record = self.ledger.record(job_id)
            if record:
                self.ledger.forget(to_forget(record, job_id))
            else:
                self.redis.zrem(keys.RETAINED, job_id)

        skipped.handle_due(self.redis, keys.RETAINED, forget)

    def ask_for_uploads(self, skipped: Skipped) -> None:
        """Uploads that no job names any more."""

        def ask(member: str) -> None:
            tenant, upload = _parts(member)
            if self._is_named(tenant, upload):
                self.redis.zadd(keys.UPLOADS, {member: now_ms() + UPLOAD_ASK_AGAIN_MS})
            else:
                self.redis.zadd(keys.TRASH, {f"tenants/{tenant}/uploads/{upload}/": now_ms()})
                self.redis.zrem(keys.UPLOADS, member)

        skipped.handle_due(self.redis, keys.UPLOADS, ask)

    def end_archived(self, skipped: Skipped) -> None:
        """Ended jobs that only the bucket knows, past their retention."""

        def end(member: str) -> None:
            self.redis.zadd(keys.TRASH, {job_prefix(*_parts(member)): now_ms()})
            self.redis.zrem(keys.ARCHIVED, member)

        skipped.handle_due(self.redis, keys.ARCHIVED, end)

    def drop_tombstones(self, skipped: Skipped) -> None:
        """A month after they were put."""

        def drop(member: str) -> None:
            self.storage.delete_prefix(job_prefix(*_parts(member)))
            self.redis.zrem(keys.TOMBSTONES, member)

        skipped.handle_due(self.redis, keys.TOMBSTONES, drop)

    def empty_trash(self, skipped: Skipped) -> None:
        """Delete what attempts without a commit, erased jobs and old uploads left. Of a job a tombstone stays."""
        skipped.handle_due(self.redis, keys.TRASH, self._empty)

    def drop_artefacts(self, skipped: Skipped) -> None:
        """What jobs had kept to use again, a retention after it was made: it can be made anew."""
        oldest = datetime.now(UTC) - timedelta(seconds=self.ledger.settings.retention_s)

        def drop(key: str) -> None:
            if not ARTEFACT.fullmatch(key):
                raise ValueError("no artefact's key")
            self.storage.delete(key)

        for seen in list(self.storage.list(ARTEFACTS)):
            if seen.modified < oldest:
                skipped.handle(seen.key, lambda seen=seen: drop(seen.key))

    def recount_records(self, skipped: Skipped) -> None:
        """What counts of a tenant's records although they are gone: a release that did not count has forgotten them."""
        skipped.handle_each(self.redis.hkeys(keys.HELD), self._recount)

    def _recount(self, tenant: str) -> None:
        cursor = None
        while cursor != 0:
            cursor, some = self.redis.hscan(keys.held(tenant), cursor or 0, count=A_FEW)
            there = self.ledger.at_once(lambda together, some=some: [together.exists(keys.job(id)) for id in some])
            for job_id, is_there in zip(some, there, strict=True):
                if not is_there:
                    self.ledger.count(tenant, job_id, 0, keys.HELD)

    def _empty(self, prefix: str) -> None:
        named = PREFIX.fullmatch(prefix)
        if named is None:
            raise ValueError("no prefix of a job, an attempt or an upload")
        tenant, what, name, folder = named.groups()
        if not (what == "jobs" and folder and self._is_committed(name, folder)) and not (
            what == "uploads" and self._is_named(tenant, name)
        ):
            self.storage.delete_prefix(prefix)
            if folder is None:
                self._bury(tenant, what, name)
        self.redis.zrem(keys.TRASH, prefix)

    def _bury(self, tenant: str, what: str, name: str) -> None:
        """The whole of it was deleted: it counts no longer, and of a job a tombstone stays."""
        self.ledger.count(tenant, name, 0)
        if what == "jobs":
            self.storage.put_bytes(job_json_key(tenant, name), Tombstone.of(name), "application/json")
            self.redis.zadd(keys.TOMBSTONES, {f"{tenant}/{name}": now_ms() + TOMBSTONE_MS})

    def _is_named(self, tenant: str, upload: str) -> bool:
        (jobs,) = self.ledger.at_once(lambda together: together.exists(keys.upload_jobs(tenant, upload)))
        return bool(jobs)

    def _is_committed(self, job_id: str, folder: str) -> bool:
        """Whether the folder is that of the attempt which a record says has committed; it never should be, and then its
        objects stay."""
        (record,) = self.ledger.at_once(lambda together: together.hgetall(keys.job(job_id)))
        committed = [name for name, word in record.items() if name.startswith("t:") and word == "succeeded"]
        return any(folder.endswith(token[-8:]) for token in committed)


def _parts(member: str) -> tuple[str, str]:
    """Tenant and id. Errors: ValueError."""
    named = MEMBER.fullmatch(member)
    if named is None:
        raise ValueError("not <tenant>/<id>")
    return named[1], named[2]
