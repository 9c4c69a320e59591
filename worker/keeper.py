"""The keeper: the background duties, one small method each, all idempotent; two keepers do no harm.

    every round     epoch, sweep, due, expire, lost bells     Redis alone, on the main thread
    every round     segments of the journal                   the bucket too, on a thread of its own
    as it can       job.json, retention, uploads, trash, ...  likewise, so that a slow bucket delays nothing else
"""

import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from prometheus_client import start_http_server

from tasks import broker
from tasks.errors import BacklotError, DeadlineExceeded, NotReady, StorageUnavailable
from tasks.job import Fixed, now_ms
from tasks.ledger import Ledger, connect, keys
from tasks.settings import Settings
from tasks.storage import ARTEFACTS, Storage
from worker import journal, metrics
from worker.records import Records
from worker.restore import Restore
from worker.shrink import Shrinker
from worker.stock import Stock

log = logging.getLogger(__name__)
A_FEW = 200
SHARE, LATE_SHARE, LATE_S = 0.1, 0.9, 60
"""Of the keeper's time that goes into job.json, and once it is a minute late: an object a job costs more than the
ledger's share of a short job, the workers want the cores too, and until then Redis has the job. Records that shrink
after it get the same."""
UPLOAD_ASK_AGAIN_MS = 24 * 3600 * 1000
ARTEFACTS_EVERY_S = 3600


class Keeper:
    """`run()` returns after SIGTERM or SIGINT."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.registry = settings.registry()
        self.redis = connect(settings, read_timeout_s=5)
        self.ledger = Ledger(settings, self.redis)
        self.broker = broker.Broker(settings)
        self.storage = Storage(settings)
        self.journal = journal.Journal(self.ledger, self.storage)
        self.stop = threading.Event()
        self._unrung: dict[str, tuple[float, int]] = {}
        self._look_at_artefacts = 0.0
        self.shrinker = Shrinker(self.ledger, self.redis, self.storage)
        self.stock = Stock(self.ledger, self.storage)
        self.records = Records(self.ledger, self.storage)

    def run(self) -> int:
        """Exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop.set())
        start_http_server(self.settings.metrics_port, addr=self.settings.metrics_host)
        metrics.follow(self.redis, self.registry)
        threads = [threading.Thread(target=self._repeat, args=(duty,), name=duty.__name__, daemon=True)
                   for duty in (self.write_segments, self.tidy)]
        for thread in threads:
            thread.start()
        log.info("keeper: rounds every %g s, /metrics on port %d", self.settings.renew_s, self.settings.metrics_port)
        self._repeat(self.round)
        for thread in threads:
            thread.join(5)
        return 0

    def round(self) -> None:
        """What keeps jobs moving."""
        self.keep_epoch()
        for pool in self.registry.pools:
            self.broker.ring_all(self.ledger.sweep(pool))
        self.broker.ring_all(self.ledger.due())
        self.ledger.expire(DeadlineExceeded("deadline_s passed while the job waited to be tried again"))
        self.ring_lost_bells()

    def keep_epoch(self) -> None:
        """Say that this start of Redis may be used, once what it lost is put back. Errors: NotReady where it would
        evict, or another keeper puts it back; StorageUnavailable."""
        try:
            self.ledger.ready()
        except NotReady:
            if self.redis.info("memory")["maxmemory_policy"] != "noeviction":
                raise
            Restore(self.settings, self.redis, self.storage).run()
            self.ledger.set_epoch()
            log.info("the epoch is set: this start of Redis is in use")

    def ring_lost_bells(self) -> None:
        """A queue that has had fewer bells than it wants for a second has lost some.

        Or workers take them that do not know the model (a rolling deploy): rung one at a time, they may go to the same
        worker for ever. So each time twice as many are rung, until there is one for every worker, then from one again.
        """
        lines = sorted(self.redis.smembers(keys.LINES))
        counts = [self.redis.zcard(keys.line(line)) for line in lines]
        wanted: dict[str, int] = {}
        for line, count in zip(lines, counts, strict=True):
            queue = line.partition(":")[0]
            wanted[queue] = min(self.settings.bells, wanted.get(queue, 0) + count)
        for queue, want in wanted.items():
            missing = want - self.redis.llen(queue)
            if missing <= 0:
                self._unrung.pop(queue, None)
                continue
            since, again = self._unrung.setdefault(queue, (time.monotonic(), 1))
            if time.monotonic() - since >= 1:
                workers = self.redis.zcard(keys.WORKERS)
                self.broker.ring(queue, times=max(missing, min(again, workers)))
                self._unrung[queue] = (since, 2 * again if again < workers else 1)

    def write_segments(self) -> None:
        """The journal's entries reach the bucket within about a round."""
        while written := self.journal.write_segment():
            metrics.SEGMENTS.inc()
            if written < journal.BATCH:
                break

    def tidy(self) -> None:
        """What may take its time."""
        share = LATE_SHARE if self.journal.lag_s() > LATE_S else SHARE
        for job in self.journal.write_job_json(self.settings.renew_s * share):
            metrics.ended(job)
        self.records.shrink(self.settings.renew_s * SHARE)
        for duty in (self.forget_old_jobs, self.ask_for_uploads, self.empty_trash, self.drop_artefacts,
                     self.stock.round, self.shrinker.round):
            duty()

    def forget_old_jobs(self) -> None:
        """Records past their retention."""
        for job_id in self._until_now(keys.RETAINED):
            record = self.ledger.record(job_id)
            if record:
                self.ledger.forget(Fixed.model_validate_json(record["fixed"]))
            else:
                self.redis.zrem(keys.RETAINED, job_id)

    def ask_for_uploads(self) -> None:
        """Uploads that no job names any more."""
        members = self._until_now(keys.UPLOADS)
        named = self.ledger.at_once(lambda together: [
            together.exists(keys.upload_jobs(*member.split("/"))) for member in members])
        for member, is_named in zip(members, named, strict=True):
            tenant, _, upload = member.partition("/")
            if is_named:
                self.redis.zadd(keys.UPLOADS, {member: now_ms() + UPLOAD_ASK_AGAIN_MS})
            else:
                self.redis.zadd(keys.TRASH, {f"tenants/{tenant}/uploads/{upload}/": now_ms()})
                self.redis.zrem(keys.UPLOADS, member)

    def empty_trash(self) -> None:
        """Delete what attempts without a commit, erased jobs and old uploads left. Of a job a tombstone stays."""
        for prefix in self._until_now(keys.TRASH):
            if not self._committed(prefix):
                self.storage.delete_prefix(prefix)
                self.stock.bury(prefix)
            self.redis.zrem(keys.TRASH, prefix)

    def drop_artefacts(self) -> None:
        """What jobs had kept to use again, a retention after it was made: it can be made anew."""
        if time.monotonic() < self._look_at_artefacts:
            return
        self._look_at_artefacts = time.monotonic() + ARTEFACTS_EVERY_S
        oldest = datetime.now(UTC) - timedelta(seconds=self.settings.retention_s)
        for seen in list(self.storage.list(ARTEFACTS)):
            if seen.modified < oldest:
                self.storage.delete_prefix(seen.key)

    def _committed(self, prefix: str) -> bool:
        """Whether the prefix is that of the attempt which a record says has committed; it never should be, and then its
        objects stay."""
        _, _, what, job_id, folder = prefix.split("/")[:5]
        record = self.redis.hgetall(keys.job(job_id)) if what == "jobs" and "-" in folder else {}
        committed = [name for name, word in record.items() if name.startswith("t:") and word == "succeeded"]
        return any(folder.endswith(token[-8:]) for token in committed)

    def _until_now(self, key: str) -> list[str]:
        return self.redis.zrangebyscore(key, "-inf", now_ms(), start=0, num=A_FEW)

    def _repeat(self, duty: Callable[[], None]) -> None:
        """Again and again until the stop; what fails is said, and tried again in the next round."""
        while not self.stop.is_set():
            start = time.monotonic()
            try:
                duty()
            except (NotReady, StorageUnavailable) as error:
                log.warning("%s: %s", duty.__name__, error.detail)
            except Exception as error:  # one bad entry must not end the duties for all others
                log.error("%s failed", duty.__name__, exc_info=not isinstance(error, BacklotError) and error)
            self.stop.wait(max(0.0, self.settings.renew_s - (time.monotonic() - start)))
