"""Gauges of the pools at the keeper's /metrics, as Prometheus reads them."""

import time

from prometheus_client.registry import CollectorRegistry

from tasks.ledger import keys
from tests.conftest import make_fixed
from worker.keeper import metrics


def test_jobs_that_wait_are_counted_over_all_lines_and_the_oldest_is_told(ledger):
    told = CollectorRegistry()
    told.register(metrics._Pools(ledger.redis, ledger.settings.registry()))

    def value(name):
        return told.get_sample_value(f"backlot_{name}", {"pool": "cpu"})

    assert (value("waiting_jobs"), value("oldest_wait_seconds"), value("running_jobs")) == (0, 0, 0)
    jobs = [make_fixed(pool="cpu", model=model) for model in ("lstm", "gru", "gru")]
    for job in jobs:
        ledger.submit(job)
    ledger.redis.hset(keys.job(jobs[1].id), "since_ms", int(time.time() * 1000) - 60_000)
    assert value("waiting_jobs") == 3 and 60 <= value("oldest_wait_seconds") < 90
