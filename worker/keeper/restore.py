"""Restores from the bucket what this start of Redis has lost: accepted jobs live again, ended jobs stay ended.

Redis holds the truth while it lives. After a flush, or when it returns with an older memory, the journal's segments
tell what came last. A running attempt is not restored: its job waits again, and nobody knows the attempt's token, so
its outputs cannot be committed. Every step may be done twice.

    accepted, not ended, no job.json   enqueued again, with its old id, times and Idempotency-Key
    amended                            changed again as it was
    ended, but living in this Redis    its record becomes that of its end
    living here, but has a job.json    its record becomes that of its job.json (outlived.py)
    ended, its job.json not written    job.json is written
    ended, its webhook not told        the webhook is owed again; a delivery likewise
    erased                             its objects are trash again
    a schedule                         it is put back as it was left
    ended                              its usage is counted, once (usage.py)
    a batch                            its record and its counts are put back (restore_batches.py)
"""

import contextlib
import json
import logging
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from tasks.bucket.layout import job_json_key, job_prefix
from tasks.bucket.storage import ObjectRefused, Storage
from tasks.errors import BacklotError, Conflict, LedgerFault, NotFound
from tasks.ids import now_ms
from tasks.job import Fixed
from tasks.ledger import Ledger, Record, keys
from tasks.ledger.client import Client
from tasks.ledger.epoch import RESTORING_S
from tasks.ledger.faults import away
from tasks.ledger.idempotency import IDEMPOTENCY_MS
from tasks.ledger.owed import OF_A_JOB, What
from tasks.service.archive import Archive
from tasks.service.chains import Chains
from tasks.service.intake import UPLOAD_KEPT_S
from tasks.settings import Settings
from worker.keeper import entries, outlived, pauses, schedules, segments
from worker.keeper.entries import Accepted, KeyUse, Sid
from worker.keeper.journal import Entry, Journal
from worker.keeper.restore_batches import SeenBatches
from worker.keeper.skipped import Skipped
from worker.keeper.usage import Usage

log = logging.getLogger(__name__)
HEAD_THREADS = 32
"""Threads that ask the bucket for job.json."""
COMMANDS_A_CALL = 100
JOB_JSONS_A_CALL = 100
"""Ends whose job.json are written together."""
NOT_RECORD = ("type", "sid", "id")
"""Fields of an `ended` entry that are no fields of the record."""
DAMAGE = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""Errors of an entry that cannot be read; other errors are ours and end the restore."""
ALL_FAILED_ENTRIES = 20
"""Readable entries that may fail while none is restored; with more no entry is to blame, and the epoch is not set."""
NAMES: dict[What, str] = {"webhook": "webhooks", "delivery": "deliveries"}
"""Names under which the restore counts what is owed again."""
PLAIN = re.compile(r"[\w-]+", re.ASCII)
"""A tenant or an id that may be a part of a key in the bucket."""


@dataclass
class Found:
    """The journal's findings beyond what this Redis knows; ids alone, as the jobs may not fit into memory.

    alive      accepted and not ended: id -> tenant
    ended      ids
    late       ended, its job.json wanted and perhaps not written: id -> tenant
    untold     ended with a webhook, or a delivery, that is not told: ids
    erased     id -> tenant
    keys_used  id -> the Idempotency-Key that made it
    retried    (tenant, id) of jobs that a person has retried
    batches    what is known of batches
    chained    accepted and not ended jobs that name others, which are put back last: ids
    """

    alive: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    late: dict[str, str] = field(default_factory=dict)
    untold: dict[What, set[str]] = field(default_factory=lambda: {what: set() for what in OF_A_JOB})
    erased: dict[str, str] = field(default_factory=dict)
    keys_used: dict[str, KeyUse] = field(default_factory=dict)
    retried: set[tuple[str, str]] = field(default_factory=set)
    batches: SeenBatches = field(default_factory=SeenBatches)
    chained: set[str] = field(default_factory=set)


class Restore:
    """One restore, done by one keeper at a time before it sets the epoch. `token` fences its writes."""

    def __init__(
        self, settings: Settings, client: Client, storage: Storage, skipped: Skipped | None = None, token: str = ""
    ) -> None:
        self.token = token or secrets.token_hex(16)
        self.settings, self.redis, self.storage = settings, client, storage
        self.skipped = skipped or Skipped("epoch")
        self.ledger, self._came_ms, self._failed = Ledger(settings, client), 0, 0
        self.chains = Chains(self.ledger, Archive(self.ledger, storage))
        self._late: list[Entry] = []  # ends whose job.json is still to be written
        self._submitting = Ledger(settings, client, clock=lambda: self._came_ms)  # to make one a job takes 20 ms

    def run(self) -> dict[str, int]:
        """Restore, then set the epoch. Returns the number of jobs by what was done; empty where nothing was lost.

        Errors: NotReady where another keeper restores, this is another Redis by then, or Redis is away;
        StorageUnavailable.
        """
        begun, over = self.ledger.begin_restore(self.token), threading.Event()
        if begun is None:
            return {}
        threading.Thread(target=self._prolong, args=(over,), name="restoring", daemon=True).start()
        try:
            with away():
                known = self._known()
                names = segments.names(self.storage, self.skipped)
                missing = [name for name in names if segments.span(name)[1] > known]
                self._put_back_pauses()
                Usage(self.ledger, self.storage, Skipped("usage")).restore(bool(missing), self._write)
                older = known != (0, 0) and (bool(missing) or segments.written(self.storage) > known)
                done = self._put_back(known, missing) if missing else {}
                if older and (count := outlived.conclude(self.ledger, self.storage, self.token, self.skipped)):
                    done["concluded"] = done.get("concluded", 0) + count
                    self._write(("SET", keys.STOCK, now_ms()))
                    log.warning("%d jobs of an older memory had ended, by their job.json", count)
        finally:
            over.set()
        self.ledger.set_epoch(begun)
        log.info("the epoch is set: this start of Redis is in use")
        return done

    def _prolong(self, over: threading.Event) -> None:
        """Renew the fence until the restore is over; once that fails, the next verb of the restore is refused."""
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

    def _known(self) -> Sid:
        """The last journal entry that this Redis has had."""
        if not self.redis.exists(keys.JOURNAL):
            return 0, 0
        return entries.number(self.redis.xinfo_stream(keys.JOURNAL)["last-generated-id"])

    def _put_back(self, known: Sid, names: list[str]) -> dict[str, int]:
        """Read the segments twice: first what each job came to, then the jobs themselves, one after the other."""
        found = self._find(known, names)
        done = {"queued": 0, "concluded": 0, "job.json": 0, "erased": len(found.erased)}
        self._put_back_jobs(found, known, names, done)
        for tenant, job_id in found.retried:
            self.skipped.handle(f"{tenant}/{job_id}", partial(self._write, ("ZREM", keys.dead(tenant), job_id)))
        for job_id, tenant in found.erased.items():
            self._write(
                ("ZADD", keys.TRASH, now_ms(), job_prefix(tenant, job_id)),
                ("ZADD", keys.RETAINED, "XX", now_ms(), job_id),
            )  # an older memory has its record
        found.batches.put_back(self.ledger, self._write, self.skipped)
        self._keep_keys(list(found.keys_used.values()))
        # the duty `reconcile` finds the retention of ended jobs, and what tenants have
        self._write(("SET", keys.STOCK, now_ms()))
        log.warning("restored from %d segments of the journal: %s", len(names), done)
        return done

    def _find(self, known: Sid, names: list[str]) -> Found:
        found, written, now = Found(), segments.written(self.storage), now_ms()
        for entry in self._entries(known, names):
            self._each(entry, partial(_see, found, entry, written, now))
        for job_id in self._job_jsons(found.alive):
            del found.alive[job_id]
        for job_id in self._job_jsons(found.late):
            del found.late[job_id]
        return found

    def _put_back_jobs(self, found: Found, known: Sid, names: list[str], done: dict[str, int]) -> None:
        """Errors: LedgerFault where every job fails."""
        writer, failed_before = Journal(self.ledger, self.storage, self.skipped), self._failed
        for entry in self._entries(known, names):
            self._each(entry, partial(self._put_back_one, found, entry, done))
            if len(self._late) >= JOB_JSONS_A_CALL:
                self._write_late(writer)
        self._write_late(writer)
        if found.chained:  # their sources are put back, or their job.json are written
            for entry in self._entries(known, names):
                self._each(entry, partial(self._put_back_chained, found, entry, done))
        failed = self._failed - failed_before
        if failed >= ALL_FAILED_ENTRIES and not done["queued"] + done["concluded"] + done["job.json"]:
            raise LedgerFault(f"none of {failed} entries of the journal can be put back; the first are in the log")

    def _entries(self, known: Sid, names: list[str]) -> Iterator[Record]:
        """The entries after the last known one, in order. The duty `compact` sets unreadable lines aside."""
        for name in names:
            try:
                for _, entry in segments.lines(self.storage, name):
                    if entry is None:
                        self.skipped.add(name, "has lines that cannot be read")
                    elif entries.number(entry["sid"]) > known:
                        yield entry
            except NotFound:
                continue  # another keeper found nothing in it that is needed

    def _each(self, entry: Record, work: Callable[[], object]) -> None:
        """Do the work of one entry. A failed entry is set aside and stops no other."""
        try:
            work()
        except (LedgerFault, *DAMAGE) as error:
            why: Exception = error
        else:
            return
        self._failed += 1
        self.skipped.add(f"{entry['sid']} {entry['id']}", why)
        segments.set_aside(self.storage, f"{entry['sid']}.json", json.dumps(entry).encode())

    def _write_late(self, writer: Journal) -> None:
        writer.write_all(self._late)
        self._late.clear()

    def _put_back_one(self, found: Found, entry: Record, done: dict[str, int]) -> None:
        job_id = entry["id"]
        if entry["type"] == "accepted" and found.alive.pop(job_id, ""):
            accepted = entries.accepted(entry)
            if accepted.fixed.waits_for:
                found.chained.add(job_id)
                return
            self._submit(accepted)
            done["queued"] += 1
        elif entry["type"] == "amended":
            if job_id not in found.chained:
                self._amend(entry)
        elif entry["type"] == "schedule":
            _check(entry["tenant"], job_id)
            schedules.put_back(self.ledger, entry, self.token)
        elif entry["type"] == "ended" and job_id in found.ended:
            found.ended.discard(job_id)
            if found.late.pop(job_id, ""):
                self._late.append((entry["sid"], entry))
                done["job.json"] += 1
            done["concluded"] += self.ledger.conclude(job_id, _record(entry), self.token)
            for what, name in NAMES.items():
                if job_id in found.untold[what]:
                    done[name] = done.get(name, 0) + self.ledger.settle(what, [entry], self.token)

    def _put_back_chained(self, found: Found, entry: Record, done: dict[str, int]) -> None:
        """Put back a job that names others, each judged anew."""
        if entry["id"] not in found.chained:
            return
        if entry["type"] == "amended":
            self._amend(entry)
        elif entry["type"] == "accepted":
            accepted = entries.accepted(entry)
            self._submit(replace(accepted, fixed=self.chains.restored(accepted.fixed)))
            done["queued"] += 1

    def _submit(self, accepted: Accepted) -> None:
        """Submit the job again, at the time of its first submit."""
        self._came_ms = round(accepted.created_ms)
        ask_ms = now_ms() + UPLOAD_KEPT_S * 1000
        for upload in accepted.fixed.uploads:
            self._write(("ZADD", keys.UPLOADS, ask_ms, f"{accepted.fixed.tenant}/{upload}"))
        self._submitting.submit(accepted.fixed, accepted.idempotency, restoring=self.token)

    def _amend(self, entry: Record) -> None:
        """Changes a job as it was changed before, unless it has ended or an older memory has it running."""
        record = self.ledger.record(entry["id"])
        if record is None or record["tenant"] != entry["tenant"]:
            return
        old, new = (Fixed.model_validate_json(one["fixed"]) for one in (record, entry))
        self._came_ms = round(float(entry["at_ms"]))
        with contextlib.suppress(Conflict):
            self._submitting.amend(old, new, entry["change"], restoring=self.token)

    def _write(self, *commands: Sequence[str | int]) -> None:
        self.ledger.write(*commands, restoring=self.token)

    def _keep_keys(self, used: list[KeyUse]) -> None:
        """Restore each Idempotency-Key for the rest of its day, that of an ended job too."""
        now = now_ms()
        sets: list[tuple[str | int, ...]] = []
        for one in used:
            left_ms, key = round(one.created_ms + IDEMPOTENCY_MS - now), one.idempotency
            if left_ms > 0:
                name = keys.idempotency(one.tenant, key.digest)
                sets.append(("SET", name, f"{one.job_id} {key.fingerprint}", "NX", "PX", left_ms))
        for first in range(0, len(sets), COMMANDS_A_CALL):
            self._write(*sets[first : first + COMMANDS_A_CALL])

    def _job_jsons(self, tenants: dict[str, str]) -> set[str]:
        """The jobs among these (id -> tenant) that have a job.json or its tombstone.

        A job.json that the bucket refuses counts as absent: an accepted job is rather done again than lost.
        """

        def exists(key: str) -> bool:
            try:
                return self.storage.head(key) is not None
            except ObjectRefused as error:
                self.skipped.add(key, error)
                return False

        with ThreadPoolExecutor(HEAD_THREADS) as pool:
            there = pool.map(exists, (job_json_key(tenant, job_id) for job_id, tenant in tenants.items()))
            return {job_id for job_id, found in zip(tenants, there, strict=True) if found}


def _see(found: Found, entry: Record, written: Sid, now: float) -> None:
    """Enter one entry; each job stands as its last entry leaves it. Entries of a later release's types are ignored.

    Errors: ValueError, KeyError where the entry cannot be read.
    """
    job_id = entry["id"]
    found.batches.see(entry)
    match entry["type"]:
        case "batch" if entry["key"]:
            found.keys_used[job_id] = entries.key_use(entry)
        case "accepted":
            _see_accepted(found, job_id, entries.accepted(entry))
        case "key":
            found.keys_used[job_id] = entries.key_use(entry)
        case "ended":
            found.alive.pop(job_id, None)
            found.ended.add(job_id)
            for what in OF_A_JOB:
                if what in entry:
                    found.untold[what].add(job_id)
            _check(entry["tenant"], job_id)
            not_written = entries.number(entry["sid"]) > written and job_id not in found.erased
            if not_written and float(entry["retained_ms"]) > now:  # past its retention it is not wanted
                found.late[job_id] = entry["tenant"]
        case "told":
            found.untold["webhook"].discard(job_id)
        case "delivered":
            found.untold["delivery"].discard(job_id)
        case "forgotten":
            found.alive.pop(job_id, None)
            found.late.pop(job_id, None)
            _check(entry["tenant"], job_id)
            found.erased[job_id] = entry["tenant"]


def _see_accepted(found: Found, job_id: str, accepted: Accepted) -> None:
    tenant = accepted.fixed.tenant
    _check(tenant, job_id)
    if job_id not in found.ended and job_id not in found.erased:
        found.alive[job_id] = tenant
    if accepted.fixed.retry_of:
        found.retried.add((tenant, accepted.fixed.retry_of))
    if accepted.idempotency:
        found.keys_used[job_id] = KeyUse(tenant, job_id, accepted.created_ms, accepted.idempotency)


def _check(tenant: str, job_id: str) -> None:
    if not (PLAIN.fullmatch(tenant) and PLAIN.fullmatch(job_id)):
        raise ValueError("names a tenant or a job that cannot be")


def _record(ended: Record) -> Record:
    """The fields of the record among those of an `ended` entry."""
    return {name: value for name, value in ended.items() if name not in NOT_RECORD}
