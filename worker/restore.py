"""What this start of Redis has lost, put back from the bucket: accepted jobs live again, ended ones stay ended.

Redis holds the truth while it lives; after a flush, or when it comes back with an older memory, the journal's segments
tell what came last. Of an attempt that was under way nothing is put back: the job waits again, and the attempt's token
is known to nobody, so that what it made cannot be committed. All of it may be done twice.

    accepted, not ended, no job.json   back into its line, with its old id, times and Idempotency-Key
    ended, but living in this Redis    its record becomes that of its end
    ended, its job.json not written    job.json is written
    erased                             its objects are trash again
"""

import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import redis
from redis.exceptions import LockError

from tasks.errors import NotReady
from tasks.intake import UPLOAD_KEPT_S
from tasks.job import now_ms
from tasks.ledger import IDEMPOTENCY_MS, Ledger, Record, _away, keys, uploads
from tasks.settings import Settings
from tasks.storage import Storage, job_json_key, job_prefix
from worker import journal
from worker.journal import Accepted, Journal, KeyUse

log = logging.getLogger(__name__)
LOCK_S = 60
LOOKERS, A_PIPELINE = 8, 1000
NOT_RECORD = ("type", "sid")
"""What an `ended` entry has beside the fields of the record."""


@dataclass
class Found:
    """What the journal says beyond what this Redis knows."""

    alive: dict[str, Accepted] = field(default_factory=dict)
    ended: dict[str, Record] = field(default_factory=dict)
    erased: dict[str, str] = field(default_factory=dict)
    keys_used: dict[str, KeyUse] = field(default_factory=dict)
    retried: set[tuple[str, str]] = field(default_factory=set)


class Restore:
    """For one keeper at a time, before it sets the epoch."""

    def __init__(self, settings: Settings, client: redis.Redis, storage: Storage) -> None:
        self.settings, self.redis, self.storage = settings, client, storage
        self.ledger = Ledger(settings, client)

    def run(self) -> dict[str, int]:
        """How many jobs were put back in each way; empty where nothing was lost.

        Errors: NotReady where another keeper does it, or Redis is away; StorageUnavailable.
        """
        lock = self.redis.lock(keys.RESTORING, timeout=LOCK_S)
        with _away():
            if not lock.acquire(blocking=False):
                raise NotReady("another keeper puts back what Redis has lost")
            try:
                known = self._known()
                missing = [name for name in journal.segments(self.storage) if journal.span(name)[1] > known]
                return self._put_back(known, missing) if missing else {}
            finally:
                try:
                    lock.release()
                except LockError:
                    log.warning("restoring took longer than its lock; another keeper may have done the same")

    def _known(self) -> journal.Sid:
        """The last entry of the journal that this Redis has had."""
        if not self.redis.exists(keys.JOURNAL):
            return 0, 0
        return journal.number(self.redis.xinfo_stream(keys.JOURNAL)["last-generated-id"])

    def _put_back(self, known: journal.Sid, names: list[str]) -> dict[str, int]:
        found = _beyond(known, (entry for name in names for entry in journal.read(self.storage, name)))
        has_job_json = self._job_jsons({id: one.fixed.tenant for id, one in found.alive.items()})
        done = {"queued": 0, "concluded": 0, "job.json": 0, "erased": len(found.erased)}
        for job_id, accepted in found.alive.items():
            if job_id not in has_job_json:
                self._submit(accepted)
                done["queued"] += 1
        for job_id, ended in found.ended.items():
            done["concluded"] += self.ledger.conclude(job_id, _record(ended))
        for tenant, job_id in found.retried:
            self.redis.zrem(keys.dead(tenant), job_id)
        done["job.json"] = self._write_job_json(found)
        for job_id, tenant in found.erased.items():
            self.redis.zadd(keys.TRASH, {job_prefix(tenant, job_id): now_ms()})
            self.redis.zadd(keys.RETAINED, {job_id: now_ms()}, xx=True)  # an older memory has its record
        self._keep_keys(list(found.keys_used.values()))
        self.redis.set(keys.STOCK, "")  # the keeper looks for the retention of ended jobs and for what tenants have
        log.warning("restored from %d segments of the journal: %s", len(names), done)
        return done

    def _submit(self, accepted: Accepted) -> None:
        """As it came, at the time at which it came."""
        ledger = Ledger(self.settings, self.redis, clock=lambda: round(accepted.created_ms))
        for upload in accepted.fixed.uploads:
            uploads.note(self.redis, accepted.fixed.tenant, upload, time.time() + UPLOAD_KEPT_S)
        ledger.submit(accepted.fixed, accepted.idempotency, restoring=True)

    def _write_job_json(self, found: Found) -> int:
        """Of the jobs that ended so late that theirs may not have been written; not of those past their retention."""
        since, now = journal.written(self.storage), now_ms()
        late = {job_id: entry for job_id, entry in found.ended.items()
                if journal.number(entry["sid"]) > since and float(entry["retained_ms"]) > now
                and job_id not in found.erased}
        there = self._job_jsons({job_id: entry["tenant"] for job_id, entry in late.items()})
        writer = Journal(self.ledger, self.storage)
        for job_id, entry in late.items():
            if job_id not in there:
                writer.write(entry)
        return len(late) - len(there)

    def _keep_keys(self, used: list[KeyUse]) -> None:
        """The Idempotency-Key of a job that has ended finds it for the rest of its day."""
        now = now_ms()
        for first in range(0, len(used), A_PIPELINE):
            with self.redis.pipeline(transaction=False) as pipeline:
                for one in used[first:first + A_PIPELINE]:
                    left, key = round(one.created_ms + IDEMPOTENCY_MS - now), one.idempotency
                    if left > 0:
                        pipeline.set(keys.idempotency(one.tenant, key.digest), f"{one.job_id} {key.fingerprint}",
                                     nx=True, px=left)
                pipeline.execute()

    def _job_jsons(self, tenants: dict[str, str]) -> set[str]:
        """Which of these jobs (id -> tenant) have a job.json, or its tombstone."""
        with ThreadPoolExecutor(LOOKERS) as pool:
            heads = pool.map(lambda one: self.storage.head(job_json_key(one[1], one[0])), tenants.items())
            return {job_id for job_id, head in zip(tenants, heads, strict=True) if head}


def _beyond(known: journal.Sid, entries: Iterable[Record]) -> Found:
    """Entries that came after the last that is known; each job as its last entry leaves it."""
    found = Found()
    for entry in entries:
        job_id = entry["id"]
        if journal.number(entry["sid"]) <= known:
            continue
        if entry["type"] == "accepted":
            accepted = journal.accepted(entry)
            if job_id not in found.ended and job_id not in found.erased:
                found.alive[job_id] = accepted
            if accepted.fixed.retry_of:
                found.retried.add((accepted.fixed.tenant, accepted.fixed.retry_of))
            if accepted.idempotency:
                found.keys_used[job_id] = KeyUse(
                    accepted.fixed.tenant, job_id, accepted.created_ms, accepted.idempotency)
        elif entry["type"] == "key":
            found.keys_used[job_id] = journal.key_use(entry)
        else:
            found.alive.pop(job_id, None)
            if entry["type"] == "ended":
                found.ended[job_id] = entry
            else:
                found.erased[job_id] = entry["tenant"]
    return found


def _record(ended: Record) -> Record:
    """The fields of the record among those of the entry; `id` is no field of it."""
    return {name: value for name, value in ended.items() if name not in NOT_RECORD and name != "id"}
