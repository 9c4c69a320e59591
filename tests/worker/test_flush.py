"""Redis is flushed under running workers: the keeper puts the jobs back, and each is committed once."""

from tasks.job import Job, Status
from tasks.ledger import keys
from tasks.service.archive import Archive
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


def _done(house, job_id: str) -> Job | None:
    record = house.ledger.record(job_id)
    return Job.of_record(record) if record and Status(record["status"]).final else None
