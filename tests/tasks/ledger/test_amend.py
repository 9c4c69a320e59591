"""`amend` where the machine of random histories does not go: parked jobs, members of batches, quotas, older records."""

import pytest

from tasks.errors import RecordsTooLarge
from tasks.ledger import Ledger, connect, keys
from tests.conftest import PATIENT_S


def test_a_parked_job_has_its_new_place_among_the_parked(desk, ledger):
    """And when they come back."""
    jobs = [desk.submit() for _ in range(3)]
    ledger.pause("tenant/acme", "")
    assert desk.claim() is None
    sooner = jobs[2].model_copy(update={"priority": 1})
    assert ledger.amend(jobs[2], sooner, "change_1") is False
    parked = ledger.redis.zrange(keys.parked("acme", "cpu.generate:lstm"), 0, -1)
    assert parked == [jobs[2].id, jobs[0].id, jobs[1].id]
    ledger.resume("tenant/acme")
    ledger.unpark("acme")
    assert [fixed.id for fixed in desk.drain()] == parked


def test_a_parked_job_that_is_put_off_is_parked_no_more(desk, ledger, clock):
    job = desk.submit()
    ledger.pause("tenant/acme", "")
    assert desk.claim() is None
    ledger.amend(job, job.model_copy(update={"start_ms": clock.ms + 1000}), "change_1")
    assert desk.status(job) == "scheduled" and not ledger.redis.exists(keys.PARKED)
    ledger.resume("tenant/acme")
    clock.forward(1)
    ledger.due()
    assert desk.claim().fixed.id == job.id


def test_a_member_of_a_batch_is_counted_as_it_is(desk, ledger, clock, events):
    """Its event says that it was changed, not that it is queued anew."""
    job = desk.submit(batch="batch_x", v=2)
    new = job.model_copy(update={"priority": 2})
    ledger.amend(job, new, "change_1")
    later = new.model_copy(update={"start_ms": clock.ms + 1000})
    ledger.amend(new, later, "change_2", "change_1")
    counts = ledger.redis.hgetall(keys.batch("acme", "batch_x"))
    assert {status: n for status, n in counts.items() if n != "0"} == {"scheduled": "1"}
    told = [(e["status"], "amended" in e, e["batch"]) for _, e in ledger.redis.xrange(keys.EVENTS)]
    assert told == [("queued", True, "batch_x"), ("scheduled", False, "batch_x")]


def test_a_larger_request_is_charged_and_refused_over_the_quota(settings, desk, ledger, clock):
    job = desk.submit()
    held = int(ledger.redis.hget(keys.HELD, "acme"))
    grown = job.model_copy(update={"metadata": {"a": "x" * 100}})
    more = len(grown.as_record()) - len(job.as_record())
    for most, fits in ((held + more - 1, False), (held + more, True)):
        limited = settings.model_copy(update={"max_record_bytes": most})
        narrow = Ledger(limited, connect(limited, read_timeout_s=PATIENT_S), clock)
        if fits:
            narrow.amend(job, grown, "change_1")
        else:
            with pytest.raises(RecordsTooLarge):
                narrow.amend(job, grown, "change_1")
            assert desk.record(job)["fixed"] == job.as_record()
    assert int(ledger.redis.hget(keys.HELD, "acme")) == held + more


def test_a_shorter_time_in_the_queue_ends_the_job(desk, ledger, clock, events):
    job = desk.submit(queue_ttl_s=60)
    clock.forward(5)
    ledger.amend(job, job.model_copy(update={"queue_ttl_s": 10}), "change_1")
    clock.forward(4.999)
    assert ledger.expire(RecordsTooLarge(1, 1)) == []
    clock.forward(0.001)
    assert ledger.expire(RecordsTooLarge(1, 1)) == [job.id] and desk.status(job) == "expired"
