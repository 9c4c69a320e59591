"""What this start of Redis has lost, put back from the bucket: accepted jobs live again, ended ones stay ended.

Redis holds the truth while it lives; after a flush, or when it comes back with an older memory, the journal's segments
tell what came last. Of an attempt that was under way nothing is put back: the job waits again, and the attempt's token
is known to nobody, so that what it made cannot be committed. All of it may be done twice.

    accepted, not ended, no job.json   back into its line, with its old id, times and Idempotency-Key
    ended, but living in this Redis    its record becomes that of its end
    ended, its job.json not written    job.json is written
    erased                             its objects are trash again
"""

import json
import logging
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import redis

from tasks.bucket.layout import job_json_key, job_prefix
from tasks.bucket.storage import ObjectRefused, Storage
from tasks.errors import BacklotError, LedgerFault, NotFound
from tasks.job import now_ms
from tasks.ledger import Ledger, Record, keys
from tasks.ledger.epoch import RESTORING_S
from tasks.ledger.faults import away
from tasks.ledger.idempotency import IDEMPOTENCY_MS
from tasks.service.intake import UPLOAD_KEPT_S
from tasks.settings import Settings
from worker.keeper import journal, pauses
from worker.keeper.journal import Accepted, Journal, KeyUse
from worker.keeper.skipped import Skipped

log = logging.getLogger(__name__)
LOOKERS, A_CALL = 8, 100
NOT_RECORD = ("type", "sid")
"""What an `ended` entry has beside the fields of the record."""


DAMAGE = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""Errors of an entry that cannot be read; others are ours, and end the restore."""
MANY = 20
"""Entries that can be read and fail while none can be put back: that is no entry's fault, and the epoch is not set."""
PLAIN = re.compile(r"[\w-]+", re.ASCII)
"""A tenant or an id that may be a part of a key in the bucket."""


@dataclass
class Found:
    """What the journal says beyond what this Redis knows, without the jobs themselves: they may be more than fits into
    memory, and are read again, one after the other. `alive` and `erased`: id -> tenant. `late`: ended jobs whose
    job.json may not be written and is wanted, id -> tenant."""

    alive: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    late: dict[str, str] = field(default_factory=dict)
    erased: dict[str, str] = field(default_factory=dict)
    keys_used: dict[str, KeyUse] = field(default_factory=dict)
    retried: set[tuple[str, str]] = field(default_factory=set)


class Restore:
    """For one keeper at a time, before it sets the epoch."""

    def __init__(
        self, settings: Settings, client: redis.Redis, storage: Storage, skipped: Skipped | None = None, token: str = ""
    ) -> None:
        self.token = token or secrets.token_hex(16)
        self.settings, self.redis, self.storage = settings, client, storage
        self.skipped = skipped or Skipped("epoch")
        self.ledger, self._came_ms, self._failed = Ledger(settings, client), 0, 0
        self._submitting = Ledger(settings, client, clock=lambda: self._came_ms)  # to make one a job takes 20 ms

    def run(self) -> dict[str, int]:
        """How many jobs were put back in each way; empty where nothing was lost. The epoch is set then.

        Errors: NotReady where another keeper does it, this is another Redis by then, or Redis is away;
        StorageUnavailable.
        """
        begun, over = self.ledger.begin_restore(self.token), threading.Event()
        if begun is None:
            return {}
        threading.Thread(target=self._prolong, args=(over,), name="restoring", daemon=True).start()
        try:
            with away():
                known = self._known()
                names = journal.segments(self.storage, self.skipped)
                missing = [name for name in names if journal.span(name)[1] > known]
                self._put_back_pauses()
                done = self._put_back(known, missing) if missing else {}
        finally:
            over.set()
        self.ledger.set_epoch(begun)
        log.info("the epoch is set: this start of Redis is in use")
        return done

    def _prolong(self, over: threading.Event) -> None:
        """While it lasts; where that fails, or comes too late, the next verb of the restore is refused."""
        while not over.wait(RESTORING_S / 4):
            try:
                self.ledger.begin_restore(self.token)
            except BacklotError as error:
                log.warning("the restore was not prolonged: %s", error.detail)

    def _put_back_pauses(self) -> None:
        try:
            pauses.put_back(self._write, self.storage)
        except (ValueError, TypeError) as error:
            self.skipped.add(pauses.KEY, error)

    def _known(self) -> journal.Sid:
        """The last entry of the journal that this Redis has had."""
        if not self.redis.exists(keys.JOURNAL):
            return 0, 0
        return journal.number(self.redis.xinfo_stream(keys.JOURNAL)["last-generated-id"])

    def _put_back(self, known: journal.Sid, names: list[str]) -> dict[str, int]:
        found, written, now = Found(), journal.written(self.storage), now_ms()
        for entry in self._entries(known, names):
            self._each(entry, lambda entry=entry: _see(found, entry, written, now))
        for job_id in self._job_jsons(found.alive):
            del found.alive[job_id]
        for job_id in self._job_jsons(found.late):
            del found.late[job_id]
        done = {"queued": 0, "concluded": 0, "job.json": 0, "erased": len(found.erased)}
        writer, unread = Journal(self.ledger, self.storage, self.skipped), self._failed
        for entry in self._entries(known, names):
            self._each(entry, lambda entry=entry: self._put_back_one(found, entry, writer, done))
        failed = self._failed - unread
        if failed >= MANY and not done["queued"] + done["concluded"] + done["job.json"]:
            raise LedgerFault(f"none of {failed} entries of the journal can be put back; the first are in the log")
        for tenant, job_id in found.retried:
            self.skipped.handle(
                f"{tenant}/{job_id}", lambda of=tenant, one=job_id: self._write(("ZREM", keys.dead(of), one))
            )
        for job_id, tenant in found.erased.items():
            self._write(
                ("ZADD", keys.TRASH, now_ms(), job_prefix(tenant, job_id)),
                ("ZADD", keys.RETAINED, "XX", now_ms(), job_id),
            )  # an older memory has its record
        self._keep_keys(list(found.keys_used.values()))
        # the keeper looks for the retention of ended jobs, and for what tenants have
        self._write(("SET", keys.STOCK, now_ms()))
        log.warning("restored from %d segments of the journal: %s", len(names), done)
        return done

    def _entries(self, known: journal.Sid, names: list[str]) -> Iterator[Record]:
        """What came after the last that is known, in order. Lines that cannot be read are passed over, and set aside
        when the segment shrinks."""
        for name in names:
            try:
                for _, entry in journal.lines(self.storage, name):
                    if entry is None:
                        self.skipped.add(name, "has lines that cannot be read")
                    elif journal.number(entry["sid"]) > known:
                        yield entry
            except NotFound:
                continue  # another keeper found nothing in it that is needed

    def _each(self, entry: Record, work: Callable[[], object]) -> None:
        """One entry that cannot be put back is set aside, and keeps the others from nothing."""
        try:
            work()
        except (LedgerFault, *DAMAGE) as error:
            why: Exception = error
        else:
            return
        self._failed += 1
        self.skipped.add(f"{entry['sid']} {entry['id']}", why)
        journal.set_aside(self.storage, f"{entry['sid']}.json", json.dumps(entry).encode())

    def _put_back_one(self, found: Found, entry: Record, writer: Journal, done: dict[str, int]) -> None:
        job_id = entry["id"]
        if entry["type"] == "accepted" and found.alive.pop(job_id, None):
            self._submit(journal.accepted(entry))
            done["queued"] += 1
        elif entry["type"] == "ended" and job_id in found.ended:
            found.ended.discard(job_id)
            if found.late.pop(job_id, None):
                writer.write_or_set_aside(entry["sid"], entry)
                done["job.json"] += 1
            done["concluded"] += self.ledger.conclude(job_id, _record(entry), self.token)

    def _submit(self, accepted: Accepted) -> None:
        """As it came, at the time at which it came."""
        self._came_ms = round(accepted.created_ms)
        ask_ms = now_ms() + UPLOAD_KEPT_S * 1000
        for upload in accepted.fixed.uploads:
            self._write(("ZADD", keys.UPLOADS, ask_ms, f"{accepted.fixed.tenant}/{upload}"))
        self._submitting.submit(accepted.fixed, accepted.idempotency, restoring=self.token)

    def _write(self, *commands: Sequence[str | int]) -> None:
        self.ledger.write(*commands, restoring=self.token)

    def _keep_keys(self, used: list[KeyUse]) -> None:
        """The Idempotency-Key of a job that has ended finds it for the rest of its day."""
        now, sets = now_ms(), []
        for one in used:
            left, key = round(one.created_ms + IDEMPOTENCY_MS - now), one.idempotency
            if left > 0:
                sets.append(
                    (
                        "SET",
                        keys.idempotency(one.tenant, key.digest),
                        f"{one.job_id} {key.fingerprint}",
                        "NX",
                        "PX",
                        left,
                    )
                )
        for first in range(0, len(sets), A_CALL):
            self._write(*sets[first : first + A_CALL])

    def _job_jsons(self, tenants: dict[str, str]) -> set[str]:
        """Which of these jobs (id -> tenant) have a job.json, or its tombstone. One that the bucket does not show
        counts as none: an accepted job is rather done again than lost."""

        def is_there(key: str) -> bool:
            try:
                return self.storage.head(key) is not None
            except ObjectRefused as error:
                self.skipped.add(key, error)
                return False

        with ThreadPoolExecutor(LOOKERS) as pool:
            there = pool.map(is_there, (job_json_key(tenant, job_id) for job_id, tenant in tenants.items()))
            return {job_id for job_id, found in zip(tenants, there, strict=True) if found}


def _see(found: Found, entry: Record, written: journal.Sid, now: float) -> None:
    """Each job as its last entry leaves it. Entries of types that a later release has added are not for us. Errors:
    ValueError, KeyError where the entry cannot be read."""
    job_id, kind = entry["id"], entry["type"]
    if kind == "accepted":
        accepted = journal.accepted(entry)
        tenant = accepted.fixed.tenant
        _check(tenant, job_id)
        if job_id not in found.ended and job_id not in found.erased:
            found.alive[job_id] = tenant
        if accepted.fixed.retry_of:
            found.retried.add((tenant, accepted.fixed.retry_of))
        if accepted.idempotency:
            found.keys_used[job_id] = KeyUse(tenant, job_id, accepted.created_ms, accepted.idempotency)
    elif kind == "key":
        found.keys_used[job_id] = journal.key_use(entry)
    elif kind == "ended":
        found.alive.pop(job_id, None)
        found.ended.add(job_id)
        _check(entry["tenant"], job_id)
        if (
            journal.number(entry["sid"]) > written and job_id not in found.erased and float(entry["retained_ms"]) > now
        ):  # past its retention it is not wanted
            found.late[job_id] = entry["tenant"]
    elif kind == "forgotten":
        found.alive.pop(job_id, None)
        found.late.pop(job_id, None)
        _check(entry["tenant"], job_id)
        found.erased[job_id] = entry["tenant"]


def _check(tenant: str, job_id: str) -> None:
    if not (PLAIN.fullmatch(tenant) and PLAIN.fullmatch(job_id)):
        raise ValueError("names a tenant or a job that cannot be")


def _record(ended: Record) -> Record:
    """The fields of the record among those of the entry; `id` is no field of it."""
    return {name: value for name, value in ended.items() if name not in NOT_RECORD and name != "id"}
