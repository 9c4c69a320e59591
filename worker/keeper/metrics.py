"""Metrics of the keeper for Prometheus. Gauges of the pools are read from Redis when /metrics is asked for.

It knows the names of the metrics, and nothing of the duties that count them.
"""

import logging
import time
from collections.abc import Iterator

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from tasks.job import Job
from tasks.ledger import keys, pools
from tasks.ledger.client import Client
from tasks.registry import Registry

log = logging.getLogger(__name__)
ENDED = Counter("backlot_jobs_ended", "Jobs that reached a final status", ["kind", "model", "status"])
SEGMENTS = Counter("backlot_journal_segments", "Segments of the journal written to the bucket")
SENT = {
    "webhook": Counter("backlot_webhooks", "Tries of webhooks, by outcome; pending is tried again", ["outcome"]),
    "delivery": Counter(
        "backlot_deliveries", "Tries to copy a job's outputs, by outcome; pending is tried again", ["outcome"]
    ),
}
DUTY_ERRORS = Counter("backlot_duty_errors", "Rounds of a duty of the keeper that failed", ["duty"])
DUTY_SUCCEEDED = Gauge("backlot_duty_last_success_timestamp_seconds", "When a duty last succeeded; 0: never", ["duty"])
DUTY_CPU = Counter("backlot_duty_cpu_seconds", "CPU seconds of a duty's own thread", ["duty"])
SKIPPED = Counter("backlot_skipped_entries", "Entries that a duty could not read and left out", ["duty"])


def ended(job: Job) -> None:
    """Count a job whose job.json was written."""
    ENDED.labels(job.kind, job.model, job.status.value).inc()


def follow(client: Client, registry: Registry) -> None:
    """Register the gauges of the pools."""
    REGISTRY.register(_Pools(client, registry))


class _Pools(Collector):
    """Gauges by pool (waiting, running, oldest wait, age of the last sweep), of workers and of the journal's length."""

    def __init__(self, client: Client, registry: Registry) -> None:
        self._redis, self._registry = client, registry

    def describe(self) -> list[Metric]:
        return []  # nothing is read from Redis before someone asks

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges; none of them where Redis is away, as the duties' own metrics are needed most then."""
        try:
            yield from list(self._gauges())
        except (RedisError, ValueError) as error:
            log.warning("/metrics says nothing of the pools (%s)", type(error).__name__)

    def _gauges(self) -> Iterator[GaugeMetricFamily]:
        now = time.time() * 1000
        waiting = GaugeMetricFamily("backlot_waiting_jobs", "Jobs in the pool's lines", labels=["pool"])
        running = GaugeMetricFamily("backlot_running_jobs", "Jobs under lease", labels=["pool"])
        oldest = GaugeMetricFamily("backlot_oldest_wait_seconds", "Since when the oldest waits", labels=["pool"])
        swept = GaugeMetricFamily("backlot_sweep_age_seconds", "Since the last sweep", labels=["pool"])
        for pool in self._registry.pools:
            since = pools.oldest(self._redis, pool)
            at = self._redis.hget(keys.swept(pool), "at")
            waiting.add_metric([pool], pools.in_lines(self._redis, pool))
            running.add_metric([pool], self._redis.zcard(keys.leases(pool)))
            oldest.add_metric([pool], 0 if since is None else max(0.0, (now - since) / 1000))
            swept.add_metric([pool], (now - float(at)) / 1000 if at else float("nan"))
        yield from (waiting, running, oldest, swept)
        yield GaugeMetricFamily(
            "backlot_workers", "Workers that renew", value=self._redis.zcount(keys.WORKERS, now, "+inf")
        )
        yield GaugeMetricFamily(
            "backlot_journal_entries", "Entries not yet trimmed from Redis", value=self._redis.xlen(keys.JOURNAL)
        )
