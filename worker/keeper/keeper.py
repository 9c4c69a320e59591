"""The keeper: starts its duties, each on a thread of its own with its own errors. Run two; every duty is idempotent.

    epoch                             restores what Redis has lost; no other duty works before it has succeeded
    sweep due expire bells            lapsed leases, start times and retries, clocks that ran out, lost doorbells
    chains                            jobs that wait for others
    events                            old entries of the event stream
    lines parked pauses set_aside     jobs whose model moved, parked jobs, a copy of the pauses, unreadable jobs
    segments job_json compact         the journal, each behind the other's cursor
    usage                             copies of the counters of usage
    webhooks deliveries               what receivers, and tenants' own buckets, are owed
    schedules                         jobs that schedules make
    records                           records of ended jobs shrink
    retention archived tombstones     jobs past their retention
    batches                           batches never sealed, canceled, erased, past their retention
    uploads trash artefacts debris    objects that nobody needs
    reconcile held                    counts, and jobs that only the bucket knows
    erasures                          all data of a tenant
    libraries                         what only other releases use in Redis

/metrics and /readyz of its port, and `/v1/pools` through Redis, tell how each stands. It knows which duties there are
and how often each works, and little of their work.
"""

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial

from redis.exceptions import LockError

from tasks import broker
from tasks.bucket.direct import DirectStorage
from tasks.errors import DeadlineExceeded, LedgerFault, NotReady
from tasks.ids import new_id
from tasks.ledger import Ledger, connect, keepers, keys
from tasks.service.jobs import Jobs
from tasks.settings import Settings
from worker.keeper import artefacts, chains, debris, erasures, events, health, held, libraries, metrics, usage
from worker.keeper.batches import Batches
from worker.keeper.bells import Bells
from worker.keeper.compact import Compactor
from worker.keeper.debris import Debris
from worker.keeper.deliveries import Deliveries
from worker.keeper.duty import Duty
from worker.keeper.erasures import Erasures
from worker.keeper.idle import Idle
from worker.keeper.journal import Journal
from worker.keeper.lines import Lines
from worker.keeper.pauses import Pauses
from worker.keeper.reconcile import Reconciler
from worker.keeper.records import Records
from worker.keeper.restore import Restore
from worker.keeper.retention import Retention
from worker.keeper.schedules import Runs
from worker.keeper.set_aside import SetAside
from worker.keeper.skipped import Skipped
from worker.keeper.trash import Trash
from worker.keeper.webhooks import Webhooks

log = logging.getLogger(__name__)
SHARE = 0.1
"""Share of the keeper's time for records: workers want the cores too."""
CHAINS_SHARE = 0.5
"""Share of the keeper's time for jobs that wait for others, 25 a call of Redis."""
BUSY_SHARE = 0.02
"""Share of a core for job.json while the machine has none to spare: Redis and a segment have the job."""
SPARE_SHARE = 0.5
"""Share for job.json of the idle cores beyond LEFT_CORES. The bucket's server may stand on the same machine."""
LEFT_CORES = 1
"""Idle cores that are left alone: processes that wait for one another leave up to a core idle, and need it at once."""
LATE_SHARE = 0.9
"""Share of a core for job.json once it is LATE_S behind."""
LATE_S = 60
LATE_ENTRIES = 50_000
"""Entries of the journal in Redis, about a KiB each, from which job.json counts as late too."""
JOB_JSON_LOCK_S = 5
"""Seconds until another keeper takes over from one that died, or whose bucket is slow."""
PERIODS_S = {
    "artefacts": artefacts.EVERY_S,
    "debris": debris.EVERY_S,
    "erasures": erasures.EVERY_S,
    "held": held.EVERY_S,
    "libraries": libraries.EVERY_S,
    "usage": usage.EVERY_S,
}
"""Seconds between two rounds of a duty that works less often than each round of the keeper."""
HANDS_ON_A_ROUND = 40
"""Calls of hand_on in a round: some 800 followers, 0.1 s of Redis."""
STOP_S = 5
"""Seconds for all threads to finish their round at a stop; a round that is cut off is done again."""


class Keeper:
    """One keeper. `run()` returns after SIGTERM or SIGINT."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.registry = settings.registry()
        self.redis = connect(settings, read_timeout_s=5)  # a pool: each thread has a connection while it asks
        self.ledger = Ledger(settings, self.redis)
        self.broker = broker.Broker(settings)
        self.storage = DirectStorage(settings)
        self.stop = threading.Event()
        self.id = f"{socket.gethostname()}:{os.getpid()}:{new_id('k')[-6:]}"
        self.duties: dict[str, Duty] = {}
        self._add("epoch", self.keep_epoch, gate=lambda: None)
        self._add_moving()
        self._add_journal()
        self._add_clearing()

    def _add_moving(self) -> None:
        """The duties that keep jobs moving; they need Redis alone."""
        late = DeadlineExceeded("deadline_s passed while the job waited to be tried again")
        lines = Lines(self.ledger, self.registry, self.broker)
        pauses = Pauses(self.ledger, self.storage)
        self._add("sweep", lambda _: self.sweep())
        self._add("chains", lambda _: chains.settle(self.ledger, self.broker, self.settings.renew_s * CHAINS_SHARE))
        self._add("due", lambda _: self.broker.ring_all(self.ledger.due()))
        self._add("expire", lambda _: self.ledger.expire(late))
        self._add("same_work", lambda _: self.hand_on())
        self._add("lines", lines.reroute)
        self._add("parked", lines.unpark)
        self._add("pauses", lambda _: pauses.write_copy())
        self._add("bells", Bells(self.redis, self.broker, self.settings.bells).ring_lost)
        self._add("set_aside", SetAside(self.redis).report)
        self._add("events", lambda _: events.trim(self.redis, self.settings))

    def _add_journal(self) -> None:
        """The duties that bring the journal into the bucket, and ends to receivers and buckets."""
        self.idle = Idle()
        counting = usage.Usage(self.ledger, self.storage, Skipped("usage"))
        self.journal = Journal(self.ledger, self.storage, Skipped("job_json"), counting)
        copied = partial(usage.copied_upto, self.ledger)
        self.compactor = Compactor(self.ledger, self.redis, self.storage, Skipped("compact"), copied)
        self._add("segments", lambda _: metrics.SEGMENTS.inc(self.journal.write_segments()))
        self._add("job_json", lambda _: self.write_job_json(), self.journal.skipped)
        self._add("compact", lambda _: self.compactor.round(), self.compactor.skipped)
        self._add("usage", lambda _: counting.copy(), counting.skipped)
        jobs = Jobs(self.settings, self.registry, self.ledger, self.broker, self.storage)
        self._add("webhooks", Webhooks(jobs, self.id).round)
        self._add("deliveries", Deliveries(jobs, self.id).round)
        self._add("schedules", Runs(jobs).round)

    def _add_clearing(self) -> None:
        """The duties that delete or count what is past its time."""
        self.records = Records(self.ledger, self.storage, Skipped("records"))
        self.reconciler = Reconciler(self.ledger, self.storage, Skipped("reconcile"))
        retention, trash = Retention(self.ledger, self.storage), Trash(self.ledger, self.storage)
        share_s, kept_s = self.settings.renew_s * SHARE, self.settings.retention_s
        self._add("records", lambda _: self.records.shrink(share_s), self.records.skipped)
        self._add("retention", retention.forget_jobs)
        self._add("archived", retention.trash_archived)
        self._add("tombstones", retention.delete_tombstones)
        self._add("batches", Batches(self.ledger, self.storage).look)
        self._add("uploads", trash.trash_uploads)
        self._add("trash", trash.empty)
        self._add("artefacts", lambda skipped: artefacts.delete_old(self.storage, kept_s, skipped))
        self._add("held", lambda skipped: held.recount(self.ledger, skipped))
        self._add("reconcile", lambda _: self.reconciler.reconcile(), self.reconciler.skipped)
        self._add("debris", Debris(self.storage).abort)
        self._add("erasures", Erasures(self.ledger, self.storage).round)
        self._add("libraries", lambda _: libraries.delete_old(self.ledger, self.registry.pools))

    def _add(
        self,
        name: str,
        work: Callable[[Skipped], object],
        skipped: Skipped | None = None,
        gate: Callable[[], object] | None = None,
    ) -> None:
        skipped = skipped or Skipped(name)
        self.duties[name] = Duty(
            name,
            lambda: work(skipped),
            skipped,
            gate=gate or self.ledger.ready,
            round_s=self.settings.renew_s,
            period_s=PERIODS_S.get(name, 0),
        )

    def run(self) -> int:
        """Run all duties until SIGTERM or SIGINT. Returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop.set())
        port = health.serve(self.settings, self.duties.values())
        metrics.follow(self.redis, self.registry)
        threads = [
            threading.Thread(target=duty.repeat, args=(self.stop,), name=duty.name, daemon=True)
            for duty in self.duties.values()
        ]
        for thread in threads:
            thread.start()
        log.info("keeper: rounds every %g s, /metrics and /readyz on port %d", self.settings.renew_s, port)
        Duty("tell", self.tell, Skipped("tell"), round_s=self.settings.renew_s).repeat(self.stop)
        end = time.monotonic() + STOP_S
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        return 0

    def round(self) -> None:
        """Do every duty once, one after the other, on this thread; failures are logged."""
        for duty in self.duties.values():
            duty.once()

    def tell(self) -> None:
        """Write to Redis how the duties stand, for the API. Errors: NotReady."""
        keepers.tell(self.redis, self.id, {name: duty.standing() for name, duty in self.duties.items()})

    def keep_epoch(self, skipped: Skipped) -> None:
        """Restore what this start of Redis has lost, then set the epoch.

        Errors: NotReady where Redis would evict, or another keeper restores; StorageUnavailable.
        """
        try:
            self.ledger.ready(by_this_release=True)
        except NotReady:
            if self.redis.info("memory")["maxmemory_policy"] != "noeviction":
                raise
            Restore(self.settings, self.redis, self.storage, skipped, self.id).run()

    def sweep(self) -> None:
        """Sweep each pool by itself: a fault in one stops no other. Errors: NotReady, LedgerFault."""
        wrong = None
        for pool in self.ledger.pools(self.registry.pools):
            try:
                self.broker.ring_all(self.ledger.sweep(pool))
            except LedgerFault as fault:
                wrong = fault
        if wrong:
            raise wrong

    def hand_on(self) -> None:
        """Let followers of ended leaders go on, HANDS_ON_A_ROUND times. Errors: NotReady, LedgerFault."""
        for _ in range(HANDS_ON_A_ROUND):
            if not self.ledger.hand_on():
                return

    def write_job_json(self) -> None:
        """Write job.json of ended jobs in the machine's idle time, while no other keeper does.

        Without the lock, which lapses, two keepers would only write and count the same. Errors: NotReady,
        StorageUnavailable.
        """
        lock = self.redis.lock(f"{keys.WRITTEN}:lock", timeout=JOB_JSON_LOCK_S)
        if not lock.acquire(blocking=False):
            return
        try:
            is_late = self.journal.lag_s() > LATE_S or self.redis.xlen(keys.JOURNAL) > LATE_ENTRIES
            spare = min(LATE_SHARE, max(BUSY_SHARE, SPARE_SHARE * (self.idle.cores() - LEFT_CORES)))
            round_s = self.settings.renew_s
            for job in self.journal.write_job_json(round_s * LATE_SHARE, round_s * (LATE_SHARE if is_late else spare)):
                metrics.ended(job)
        finally:
            with contextlib.suppress(LockError):
                lock.release()
