"""Erases all of a tenant whose erasure was asked for: jobs, outputs, uploads, models, journal, quotas; then says so.

A look cancels what waits or runs, forgets what has ended, and once no job is left deletes everything else. It is done
again and again until it finds nothing, as a worker that was canceled may write for a moment yet.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from redis.exceptions import LockError

from tasks.bucket.layout import ARTEFACTS
from tasks.bucket.storage import Storage
from tasks.errors import Conflict, NotFound
from tasks.job import Status
from tasks.ledger import Ledger, Record, keys
from tasks.reduced import to_forget
from tasks.service import erasure
from tasks.service.erasure import Erasure
from worker.keeper import journal
from worker.keeper.skipped import Skipped

LOCK_S = 60
A_FEW, A_SCAN = 500, 1000
EVERY_S = 2
INDEXES = (keys.UPLOADS, keys.ARCHIVED, keys.TOMBSTONES)
"""Lists for all tenants whose members are <tenant>/<id>."""
FORGOTTEN = "forgotten"
"""An entry of the journal that holds ids alone, and stays until Redis cannot come back with the job."""


class Erasures:
    """One keeper's; a lock keeps two from counting the same. Errors of everything: NotReady, RedisError,
    StorageUnavailable."""

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self.ledger, self.redis, self.storage = ledger, ledger.redis, storage

    def round(self, skipped: Skipped) -> None:
        """A look at each tenant that is to be erased."""
        for one in erasure.under_way(self.storage):
            lock = self.redis.lock(f"{keys.ERASING}:{one.tenant}", timeout=LOCK_S)
            if lock.acquire(blocking=False):
                try:
                    skipped.handle(one.name, lambda one=one: self.look(one))
                finally:
                    with contextlib.suppress(LockError):
                        lock.release()

    def look(self, asked: Erasure) -> Erasure:
        """Erase what is there now; it is done where nothing was."""
        found = asked.model_copy()
        left = self._jobs(found) or self._to_come(found.tenant)
        if not left:
            self._entries(found)
            self._objects(found)
            self._journal(found)
        if not left and found == asked:
            self.ledger.ready()  # a Redis that was flushed meanwhile has nothing to find, and its jobs come back
            found.done, found.completed_at = True, datetime.now(UTC)
        found.save(self.storage)
        return found

    def _jobs(self, found: Erasure) -> bool:
        """Cancel or forget each; whether any is left."""
        index = keys.tenant_jobs(found.tenant)
        for job_id in self.redis.zrange(index, 0, A_FEW - 1):
            (record,) = self.ledger.at_once(lambda together, id=job_id: together.hgetall(keys.job(id)))
            with contextlib.suppress(NotFound, Conflict):  # somebody was first
                found.jobs += self._job(found.tenant, job_id, record)
        return bool(self.redis.zcard(index))

    def _job(self, tenant: str, job_id: str, record: Record) -> int:
        if not record:
            return self.ledger.write(("ZREM", keys.tenant_jobs(tenant), job_id))[0]
        if record.get("status") in {status.value for status in Status if not status.final}:
            self.ledger.cancel(tenant, job_id)
            return 0
        self.ledger.forget(to_forget(record, job_id))
        return 1

    def _to_come(self, tenant: str) -> bool:
        """Whether the journal has entries of the tenant that lie in no segment, or in one that waits for a job.json and
        so is not touched yet."""
        after = self.redis.get(keys.WRITTEN) or "0-0"
        while entries := self.redis.xrange(keys.JOURNAL, min=f"({after}", count=A_SCAN):
            if any(_is_of(tenant, entry, b"") for _, entry in entries):
                return True
            after = entries[-1][0]
        return False

    def _objects(self, found: Erasure) -> None:
        """All under the tenant's prefixes; its trash goes off the list, so that no tombstone is put after."""
        prefix = f"tenants/{found.tenant}/"
        found.keys += self._remove_members(keys.TRASH, prefix)
        for folder in (prefix, f"{ARTEFACTS}{found.tenant}/"):
            seen = list(self.storage.list(folder))
            if seen:
                self.storage.delete_prefix(folder)
                found.objects += len(seen)
                found.bytes += sum(one.bytes for one in seen)

    def _entries(self, found: Erasure) -> None:
        """What Redis has of the tenant beside jobs."""
        tenant = found.tenant
        for index in INDEXES:
            found.keys += self._remove_members(index, f"{tenant}/")
        found.keys += self.redis.hdel(keys.STORED, tenant) + self.redis.hdel(keys.HELD, tenant)
        for pattern in keys.of_tenant(tenant):
            for name in self.redis.scan_iter(match=pattern, count=A_SCAN):
                found.keys += self.redis.delete(name)

    def _remove_members(self, index: str, prefix: str) -> int:
        members = [member for member, _ in self.redis.zscan_iter(index, match=f"{prefix}*", count=A_SCAN)]
        return self.redis.zrem(index, *members) if members else 0

    def _journal(self, found: Erasure) -> None:
        """Its lines in segments all of whose ends have led to a job.json; the others have none of its (`_to_come`)."""
        written = journal.number(self.redis.get(keys.WRITTEN) or "0-0")
        for name in journal.segments(self.storage):
            if journal.span(name)[1] <= written:
                self._leave_out(found, name)
        for seen in list(self.storage.list(journal.UNREADABLE)):
            self._leave_out(found, seen.key)

    def _leave_out(self, found: Erasure, name: str) -> None:
        with contextlib.suppress(NotFound):  # another duty was first
            lines = list(journal.lines(self.storage, name))
            kept = [line for line, entry in lines if not _is_of(found.tenant, entry, line)]
            if len(kept) < len(lines):
                found.journal_entries += len(lines) - len(kept)
                self._rewrite(name, kept)

    def _rewrite(self, name: str, lines: list[bytes]) -> None:
        if lines:
            self.storage.put_bytes(name, b"\n".join(lines), "application/jsonl")
        else:
            self.storage.delete(name)


def _is_of(tenant: str, entry: Record | None, line: bytes) -> bool:
    """Of a line that cannot be read it is enough that it names the tenant."""
    if entry is None:
        return re.search(rb'\\*"tenant\\*": ?\\*"%s\\*"' % tenant.encode(), line) is not None
    return entry["type"] != FORGOTTEN and tenant in _tenants(entry)


def _tenants(entry: Record) -> Iterator[str]:
    yield entry.get("tenant", "")
    with contextlib.suppress(KeyError, ValueError, TypeError):
        yield json.loads(entry["fixed"])["tenant"]
