"""The journal stream: every accepted job once, every end once, enough to bring back all that live."""

import json

from tasks.errors import DeadlineExceeded, ModelFailed
from tasks.job import Fixed, Job
from tasks.ledger import Idempotency, keys
from tests.tasks.ledger.conftest import Desk
from worker.keeper.entries import living


def every_end(desk: Desk, clock) -> list:
    """Jobs that ended in each way there is."""
    succeeded, failed, canceled = (desk.running() for _ in range(3))
    desk.commit(succeeded, text="x")
    desk.fail(failed, ModelFailed("boom"))
    desk.cancel(canceled)
    desk.release(canceled)
    dropped, expired = desk.submit(), desk.submit(queue_ttl_s=1)
    desk.cancel(dropped)
    clock.forward(1)
    desk.ledger.expire(DeadlineExceeded(""))
    lost = desk.running(max_attempts=1)
    desk.swept(after_s=25)
    return [succeeded, failed, canceled, dropped, expired, lost]


def test_each_job_is_accepted_once_and_ended_once(desk, clock, journal):
    jobs = every_end(desk, clock)
    for job in jobs:
        job_id = getattr(job, "fixed", job).id
        assert [e["type"] for e in journal() if e["id"] == job_id] == ["accepted", "ended"]


def test_an_ended_entry_is_the_final_record(desk, clock, ledger, journal):
    """job.json is made from it: the public view is the one that the record gives."""
    for job in every_end(desk, clock):
        job_id = getattr(job, "fixed", job).id
        entry = next(e for e in journal() if e["id"] == job_id and e["type"] == "ended")
        record = {**ledger.record(job_id), "type": "ended", "id": job_id}
        assert entry == record | {name: value for name, value in entry.items() if name.startswith("t:")}
        assert Job.of_record(entry) == Job.of_record(ledger.record(job_id))
        assert Job.of_record(entry).done


def test_an_accepted_entry_is_the_whole_submit(ledger, journal, fixed):
    job = fixed(priority=3, metadata={"a": [1]}, deadline_s=60)
    ledger.submit(job)
    assert Fixed.model_validate_json(journal()[0]["fixed"]) == job


def test_moves_between_accepted_and_ended_are_not_journaled(desk, journal):
    """Its size follows the jobs, not their retries."""
    job = desk.submit()
    for _ in range(5):
        desk.release(desk.claim())
    assert [(e["type"], e["id"]) for e in journal()] == [("accepted", job.id)]


def test_the_living_jobs_are_rebuilt_from_the_journal_alone(desk, ledger, clock, journal, fixed):
    """A lost Redis: accepted minus ended, submitted again, is what lived, in its order; keys are known as before."""
    every_end(desk, clock)
    key, keyed = Idempotency.of(["acme", "k"], ["x"]), fixed()
    running = desk.running()
    waiting = [desk.submit(), desk.submit(tenant="rival"), desk.submit(start_ms=clock.ms + 60_000)]
    ledger.submit(keyed, key)
    kept = json.loads(json.dumps(journal()))
    ledger.redis.flushdb()
    ledger.set_epoch()
    for accepted in living(kept).values():
        ledger.submit(accepted.fixed, accepted.idempotency)
    alive = [running.fixed, *waiting, keyed]
    assert [desk.status(job) for job in alive] == ["queued", "queued", "queued", "scheduled", "queued"]
    assert ledger.redis.zcard(keys.tenant_jobs("acme")) == 4
    assert ledger.submit(fixed(), key).job_id == keyed.id
    assert [job for job in desk.drain() if job.tenant == "acme"] == [running.fixed, waiting[0], keyed]
