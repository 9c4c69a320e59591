"""The journal: segments in the bucket, job.json, a trimmed stream, and the living jobs rebuilt from segments."""

import json

import pytest

from tasks.errors import StorageUnavailable
from tasks.job import Job
from tasks.ledger import Idempotency, keys
from worker import journal
from worker.journal import Journal, living


@pytest.fixture
def keeper_side(ledger, storage) -> Journal:
    return Journal(ledger, storage)


def all_entries(storage) -> list[dict]:
    return [entry for name in journal.segments(storage) for entry in journal.read(storage, name)]


def end(ledger, worker, token: str) -> str:
    claimed = ledger.claim(worker, "w1:1:1:1", token)
    ledger.commit(claimed.fixed.id, token, {"text": "done"}, [], {})
    return claimed.fixed.id


def test_living_jobs_are_rebuilt_from_segments_alone(ledger, storage, worker, fixed, keeper_side):
    """Redis is flushed; what was accepted and has not ended comes back whole from the bucket, once each."""
    jobs = [fixed(tenant=tenant, metadata={"n": n}, priority=n) for n, tenant in enumerate(["a", "b", "a", "b"])]
    key = Idempotency.of(["a", "POST", "/v1/jobs", "k"], ["content"])
    ledger.submit(jobs[0], key)
    for job in jobs[1:]:
        ledger.submit(job)
    keeper_side.write_segment()
    ended = end(ledger, worker, "1")
    ledger.cancel("a", jobs[0].id)
    ledger.claim(worker, "w1:1:1:1", "2")  # running is living
    keeper_side.write_segment()
    ledger.redis.flushdb()

    alive = living(all_entries(storage))
    assert set(alive) == {job.id for job in jobs} - {ended, jobs[0].id}
    for job in jobs:
        if job.id in alive:
            assert alive[job.id].fixed == job
    assert alive.keys().isdisjoint({ended})


def test_an_idempotency_key_survives_in_the_journal(ledger, storage, fixed, keeper_side):
    """Restored, the same key would find the same job."""
    job, key = fixed(tenant="a"), Idempotency.of(["a"], ["content"])
    ledger.submit(job, key)
    keeper_side.write_segment()
    assert living(all_entries(storage))[job.id].idempotency == key


def test_segments_written_twice_or_overlapping_do_no_harm(ledger, storage, worker, fixed, keeper_side):
    """Two keepers may write the same entries; each job is still counted once."""
    for _ in range(3):
        ledger.submit(fixed())
    keeper_side.write_segment()
    end(ledger, worker, "1")
    ledger.redis.delete(keys.SEGMENTED)
    keeper_side.write_segment()
    assert len(list(storage.list(journal.FOLDER))) == 2
    assert len(living(all_entries(storage))) == 2


def test_the_stream_is_trimmed_once_job_json_is_written(ledger, storage, worker, fixed, keeper_side):
    """Not before: until then Redis still has what the bucket lacks."""
    ledger.submit(fixed())
    ended = end(ledger, worker, "1")
    assert keeper_side.write_job_json(for_s=5) == []  # nothing is in a segment yet
    keeper_side.write_segment()
    (job,) = keeper_side.write_job_json(for_s=5)
    written = Job.model_validate_json(storage.get_bytes(f"tenants/acme/jobs/{ended}/job.json"))
    assert written == job and written.result == {"text": "done"}
    assert ledger.redis.get(keys.WRITTEN) == ledger.redis.get(keys.SEGMENTED)


def test_secrets_of_an_input_url_are_in_no_job_json(ledger, storage, fixed, keeper_side):
    """The journal needs the whole URL to run the job again; job.json, which people read, has none of its query."""
    job = fixed(input={"prompt": {"url": "https://example.com/a.txt?signature=secret"}})
    ledger.submit(job)
    ledger.cancel("acme", job.id)
    keeper_side.write_segment()
    keeper_side.write_job_json(for_s=5)
    assert b"secret" not in storage.get_bytes(f"tenants/acme/jobs/{job.id}/job.json")
    assert any("secret" in json.dumps(entry) for entry in all_entries(storage))


def test_a_bucket_that_is_away_loses_no_entry(ledger, storage, fixed, keeper_side, monkeypatch):
    """The cursor moves only after the object is there."""
    ledger.submit(fixed())

    def away(*_):
        raise StorageUnavailable("the bucket did not answer")

    monkeypatch.setattr(storage, "put_bytes", away)
    with pytest.raises(StorageUnavailable):
        keeper_side.write_segment()
    monkeypatch.undo()
    assert keeper_side.write_segment() == 1
