"""The keeper: its duties, each on a thread of its own with its own errors, all idempotent; two keepers do no harm.

    epoch                               puts back what Redis has lost; before it has, no other duty does anything
    sweep, due, expire, bells, lines,   what keeps jobs moving: Redis alone
    parked
    set_aside                           tells of jobs that the scripts could not read
    pauses                              a copy in the bucket of what operators paused
    segments, job_json, shrink          the journal, each from the other's cursor
    records, retention, archived,       what is past its time
    tombstones, uploads, trash,
    artefacts, stock, debris, erasures,
    held

How each stands is told at /metrics and /readyz of its port, and to `/v1/pools` through Redis.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

from tasks import broker
from tasks.bucket.storage import Storage
from tasks.errors import DeadlineExceeded, LedgerFault, NotReady
from tasks.job import new_id
from tasks.ledger import Ledger, connect, keepers
from tasks.settings import Settings
from worker.keeper import debris, erasures, health, metrics
from worker.keeper.bells import Bells
from worker.keeper.clearing import Clearing
from worker.keeper.compact import Shrinker
from worker.keeper.duty import Duty
from worker.keeper.erasures import Erasures
from worker.keeper.journal import Journal
from worker.keeper.lines import Lines
from worker.keeper.pauses import Pauses
from worker.keeper.reconcile import Stock
from worker.keeper.records import Records
from worker.keeper.restore import Restore
from worker.keeper.set_aside import SetAside
from worker.keeper.skipped import Skipped

log = logging.getLogger(__name__)
SHARE, LATE_SHARE, LATE_S = 0.1, 0.9, 60
"""Of the keeper's time that goes into job.json, and once it is a minute late: an object a job costs more than the
ledger's share of a short job, the workers want the cores too, and until then Redis has the job. Records that shrink
after it get the same."""
PERIODS_S = {"artefacts": 3600, "held": 86_400, "debris": debris.EVERY_S, "erasures": erasures.EVERY_S}
"""Of duties that are done less often than each round."""
STOP_S = 5
"""For all threads to end what they are at; whatever it is may be done twice."""


class Keeper:
    """`run()` returns after SIGTERM or SIGINT."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.registry = settings.registry()
        self.redis = connect(settings, read_timeout_s=5)  # a pool: each thread has a connection while it asks
        self.ledger = Ledger(settings, self.redis)
        self.broker = broker.Broker(settings)
        self.storage = Storage(settings)
        self.stop = threading.Event()
        self.id = f"{socket.gethostname()}:{os.getpid()}:{new_id('k')[-6:]}"
        self.duties: dict[str, Duty] = {}
        self._add("epoch", self.keep_epoch, gate=lambda: None)
        self._keep_jobs_moving()
        self._keep_the_journal()
        self._clear_up()

    def _keep_jobs_moving(self) -> None:
        bells = Bells(self.redis, self.broker, self.settings.bells)
        late = DeadlineExceeded("deadline_s passed while the job waited to be tried again")
        self._add("sweep", lambda _: self.sweep())
        self._add("due", lambda _: self.broker.ring_all(self.ledger.due()))
        self._add("expire", lambda _: self.ledger.expire(late))
        lines = Lines(self.ledger, self.registry, self.broker)
        self._add("lines", lines.reconcile)
        self._add("parked", lines.unpark)
        pauses = Pauses(self.ledger, self.storage)
        self._add("pauses", lambda _: pauses.keep())
        self._add("bells", bells.ring_lost)
        self._add("set_aside", SetAside(self.redis).tell)

    def _keep_the_journal(self) -> None:
        self.journal = Journal(self.ledger, self.storage, Skipped("job_json"))
        self.shrinker = Shrinker(self.ledger, self.redis, self.storage, Skipped("shrink"))
        self._add("segments", lambda _: metrics.SEGMENTS.inc(self.journal.write_segments()))
        self._add("job_json", lambda _: self.write_job_json(), self.journal.skipped)
        self._add("shrink", lambda _: self.shrinker.round(), self.shrinker.skipped)

    def _clear_up(self) -> None:
        clearing, parts = Clearing(self.ledger, self.storage), debris.Debris(self.storage)
        share_s = self.settings.renew_s * SHARE
        self.records = Records(self.ledger, self.storage, Skipped("records"))
        self.stock = Stock(self.ledger, self.storage, Skipped("stock"))
        self._add("records", lambda _: self.records.shrink(share_s), self.records.skipped)
        self._add("retention", clearing.forget_old_jobs)
        self._add("archived", clearing.end_archived)
        self._add("tombstones", clearing.drop_tombstones)
        self._add("uploads", clearing.ask_for_uploads)
        self._add("trash", clearing.empty_trash)
        self._add("artefacts", clearing.drop_artefacts)
        self._add("held", clearing.recount_records)
        self._add("stock", lambda _: self.stock.take_stock(), self.stock.skipped)
        self._add("debris", parts.abort)
        self._add("erasures", Erasures(self.ledger, self.storage).round)

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
        """Exit status."""
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
        """Every duty once, one after the other, on this thread; what fails is logged."""
        for duty in self.duties.values():
            duty.once()

    def tell(self) -> None:
        """Leave in Redis how the duties stand, for whoever asks the API. Errors: NotReady."""
        keepers.tell(self.redis, self.id, {name: duty.standing() for name, duty in self.duties.items()})

    def keep_epoch(self, skipped: Skipped) -> None:
        """Say that this start of Redis may be used, once what it lost is put back. Errors: NotReady where it would
        evict, or another keeper puts it back; StorageUnavailable."""
        try:
            self.ledger.ready(by_this_release=True)
        except NotReady:
            if self.redis.info("memory")["maxmemory_policy"] != "noeviction":
                raise
            Restore(self.settings, self.redis, self.storage, skipped, self.id).run()

    def sweep(self) -> None:
        """Each pool by itself: what is wrong in one keeps no other from being swept. Errors: NotReady, LedgerFault."""
        wrong = None
        for pool in self.ledger.pools(self.registry.pools):
            try:
                self.broker.ring_all(self.ledger.sweep(pool))
            except LedgerFault as fault:
                wrong = fault
        if wrong:
            raise wrong

    def write_job_json(self) -> None:
        """For a share of the keeper's time."""
        share = LATE_SHARE if self.journal.lag_s() > LATE_S else SHARE
        for job in self.journal.write_job_json(self.settings.renew_s * share):
            metrics.ended(job)
