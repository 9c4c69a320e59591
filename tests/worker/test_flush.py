"""Redis is flushed under running workers: the keeper puts the jobs back, and each is committed once."""

import contextlib
from datetime import UTC, datetime, timedelta

import psutil

from tasks.errors import NotFound, NotReady
from tasks.job import Job, Status
from tasks.ledger import keys
from tasks.service.archive import Archive
from tasks.service.usage import Wanted, grouped
from tasks.usage import Amounts
from tests.stack import until
from tests.worker.conftest import ENDS_S


def test_accepted_jobs_survive_a_flush_under_running_workers(house, pool):
    """Those under way, those waiting, and the one that had ended."""
    redis = house.ledger.redis
    ended = house.submit(f"{pool}-noop", "before")
    house.ended(ended)
    jobs = [house.submit(f"{pool}-sleep", "1.5") for _ in range(6)]
    house.started(jobs[0])
    until(
        lambda: redis.get(keys.SEGMENTED) == redis.xinfo_stream(keys.JOURNAL)["last-generated-id"],
        ENDS_S,
        "the bucket has the journal",
    )
    redis.flushdb()
    for job_id in jobs:
        job = until(lambda job_id=job_id: _done(house, job_id), ENDS_S, f"{job_id} has ended")
        assert job.status == Status.SUCCEEDED, job.error
        assert [attempt.outcome for attempt in job.attempts] == ["succeeded"]
    assert house.ledger.record(ended) is None
    assert Archive(house.ledger, house.storage).get("acme", ended).status == Status.SUCCEEDED


def test_usage_is_the_sum_over_all_attempts_through_a_kill_and_a_flush(house, pool):
    """Of two tenants: what was counted before, a process killed in mid-run, and what ends after the flush."""
    tenants = [f"{name}-{pool}" for name in ("one", "two")]
    jobs = {house.submit(f"{pool}-sleep", "0.3", tenant): tenant for tenant in tenants for _ in range(2)}
    killed = house.submit(f"{pool}-sleep", "1.5", tenants[0])
    jobs[killed] = tenants[0]
    psutil.Process(house.started(killed)).kill()
    ended = [_whole(house, tenant, job_id) for job_id, tenant in jobs.items()]
    assert len(ended[-1].attempts) > 1
    house.ledger.redis.flushdb()
    until(lambda: _is_ready(house), ENDS_S, "the keeper has reconciled")
    more = house.submit(f"{pool}-noop", "after", tenants[1])
    ended.append(_whole(house, tenants[1], more))
    today = datetime.now(UTC).date()
    wanted = Wanted(None, today - timedelta(days=1), today, ("tenant",))

    def counted() -> dict[str, Amounts] | None:
        found = grouped(house.ledger, wanted).items()
        groups = {group[0]: one.amounts for group, one in found if group[0] in tenants}
        return groups if sum(one.succeeded for one in groups.values()) >= len(ended) else None

    sums = until(counted, ENDS_S, "all ends are counted")
    for tenant in tenants:
        attempts = [attempt for job in ended if job.tenant == tenant for attempt in job.attempts]
        took = [round((one.ended_at - one.started_at) / timedelta(milliseconds=1)) for one in attempts]
        again = [ms for ms, one in zip(took, attempts, strict=True) if one.number > 1]
        a = sums[tenant]
        assert (a.attempts, a.attempt_ms) == (len(attempts), sum(took))
        assert (a.retries, a.retry_ms) == (len(again), sum(again))
        assert 0 < a.run_ms <= a.attempt_ms


def _is_ready(house) -> bool:
    with contextlib.suppress(NotReady):
        house.ledger.ready()
        return True
    return False


def _whole(house, tenant: str, job_id: str) -> Job:
    """The job as its job.json has it, once that is written."""

    def read() -> Job | None:
        with contextlib.suppress(NotFound, NotReady):
            return Archive(house.ledger, house.storage).get(tenant, job_id)

    return until(read, ENDS_S, f"{job_id} has its job.json")


def _done(house, job_id: str) -> Job | None:
    record = house.ledger.record(job_id)
    return Job.of_record(record) if record and Status(record["status"]).final else None
