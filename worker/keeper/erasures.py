"""Erases all data of a tenant where an operator asked for it: jobs, outputs, uploads, models, journal, quotas,
usage.

A round cancels what waits or runs, forgets what has ended, and once no job is left deletes everything else. Rounds go
on until one finds nothing, as a worker that was canceled may still write. Then the erasure is marked done.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from redis.exceptions import LockError

from tasks.bucket.layout import ARTEFACTS
from tasks.bucket.storage import Storage
from tasks.errors import Conflict, NotFound
from tasks.job import Status
from tasks.ledger import Ledger, Record, keys
from tasks.reduced import to_forget
from tasks.service import erasure
from tasks.service.erasure import Erasure
from worker.keeper import segments, usage
from worker.keeper.entries import number
from worker.keeper.replies import text, text_or, texts
from worker.keeper.skipped import Skipped

EVERY_S = 2
"""Seconds between two rounds."""
LOCK_S = 60
"""Seconds until another keeper may erase a tenant whose keeper died."""
JOBS_A_ROUND = 500
"""Jobs of a tenant that one round cancels or forgets."""
SCAN_COUNT = 1000
"""Entries of one read of Redis, about."""
INDEXES = (keys.UPLOADS, keys.ARCHIVED, keys.TOMBSTONES, keys.SCHEDULES, keys.SETTLING)
"""Lists for all tenants whose members are <tenant>/<id>."""
FORGOTTEN = "forgotten"
"""The type of journal entries that hold ids alone; they stay until Redis cannot return with the job."""


class Erasures:
    """The erasures of one keeper; a lock keeps two keepers from counting the same.

    Errors of everything: NotReady, RedisError, StorageUnavailable.
    """

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self.ledger, self.redis, self.storage = ledger, ledger.redis, storage

    def round(self, skipped: Skipped) -> None:
        """Erase what is found of each tenant whose erasure is under way."""
        for one in erasure.under_way(self.storage):
            lock = self.redis.lock(f"{keys.ERASING}:{one.tenant}", timeout=LOCK_S)
            if lock.acquire(blocking=False):
                try:
                    skipped.handle(one.name, partial(self.erase, one))
                finally:
                    with contextlib.suppress(LockError):
                        lock.release()

    def erase(self, asked: Erasure) -> Erasure:
        """Erase what is found now. The erasure is done where nothing was found."""
        found = asked.model_copy()
        left = self._jobs(found) or self._unwritten(found.tenant)
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
        """Cancel or forget jobs of the tenant. Returns True while any is left."""
        index = keys.tenant_jobs(found.tenant)
        for job_id in texts(self.redis.zrange(index, 0, JOBS_A_ROUND - 1)):
            with contextlib.suppress(NotFound, Conflict):  # somebody was first
                found.jobs += self._job(found.tenant, job_id)
        return bool(self.redis.zcard(index))

    def _job(self, tenant: str, job_id: str) -> int:
        """Cancel or forget one job. Returns 1 where its record has gone."""
        (record,) = self.ledger.snapshot(lambda together: together.hgetall(keys.job(job_id)))
        if not record:
            return int(self.ledger.write(("ZREM", keys.tenant_jobs(tenant), job_id))[0])
        if record.get("status") in {status.value for status in Status if not status.final}:
            self.ledger.cancel(tenant, job_id)
            return 0
        self.ledger.write(("DEL", keys.dependents(tenant, job_id)))  # they are all canceled
        self.ledger.forget(to_forget(record, job_id))
        return 1

    def _unwritten(self, tenant: str) -> bool:
        """True while the stream has entries of the tenant that wait for a segment or a job.json.

        Segments with such entries are not rewritten yet.
        """
        after = text_or(self.redis.get(keys.WRITTEN), "0-0")
        while entries := self.redis.xrange(keys.JOURNAL, min=f"({after}", count=SCAN_COUNT):
            for sid, fields in entries:
                entry = {text(name): text(value) for name, value in (fields or {}).items()}
                if _is_of(tenant, entry, b""):
                    return True
                after = text(sid)
        return False

    def _objects(self, found: Erasure) -> None:
        """Delete all objects of the tenant and empty its trash, so that no tombstone is put afterwards."""
        prefix = f"tenants/{found.tenant}/"
        found.keys += self._remove_members(keys.TRASH, prefix)
        for folder in (prefix, f"{ARTEFACTS}{found.tenant}/", usage.folder_of(found.tenant)):
            seen = list(self.storage.list(folder))
            if seen:
                self.storage.delete_prefix(folder)
                found.objects += len(seen)
                found.bytes += sum(one.bytes for one in seen)

    def _entries(self, found: Erasure) -> None:
        """Delete the tenant's keys and list members in Redis, jobs aside."""
        tenant = found.tenant
        for index in INDEXES:
            found.keys += self._remove_members(index, f"{tenant}/")
        for counts in (keys.STORED, keys.HELD, keys.UNDELIVERED):
            found.keys += self.redis.hdel(counts, tenant)
        for tenants in keys.OWED.values():
            self.redis.zrem(tenants, tenant)
        found.keys += usage.forget(self.ledger, tenant)
        for pattern in keys.of_tenant(tenant):
            for name in self.redis.scan_iter(match=pattern, count=SCAN_COUNT):
                found.keys += self.redis.delete(name)

    def _remove_members(self, index: str, prefix: str) -> int:
        members = texts(member for member, _ in self.redis.zscan_iter(index, match=f"{prefix}*", count=SCAN_COUNT))
        return self.redis.zrem(index, *members) if members else 0

    def _journal(self, found: Erasure) -> None:
        """Remove the tenant's lines from segments whose ends all have a job.json; `_unwritten` has seen the others."""
        written = number(text_or(self.redis.get(keys.WRITTEN), "0-0"))
        for name in segments.names(self.storage):
            if segments.span(name)[1] <= written:
                self._remove_lines(found, name)
        for seen in list(self.storage.list(segments.UNREADABLE)):
            self._remove_lines(found, seen.key)

    def _remove_lines(self, found: Erasure, name: str) -> None:
        with contextlib.suppress(NotFound):  # another duty was first
            lines = list(segments.lines(self.storage, name))
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
    """True for an entry of the tenant, or an unreadable line that names it."""
    if entry is None:
        return re.search(rb'\\*"tenant\\*": ?\\*"%s\\*"' % tenant.encode(), line) is not None
    return entry["type"] != FORGOTTEN and tenant in _tenants(entry)


def _tenants(entry: Record) -> Iterator[str]:
    yield entry.get("tenant", "")
    with contextlib.suppress(KeyError, ValueError, TypeError):
        yield json.loads(entry["fixed"])["tenant"]
