"""queue_ttl_s, deadline_s, start_at and retry delays: who ends what, and as what. No clock counts for another."""

import pytest

from tasks.errors import DeadlineExceeded
from tasks.job import Job
from tasks.ledger import Ledger, keys
from tests.conftest import make_fixed

LATE = DeadlineExceeded("deadline_s passed before the next attempt")


def test_a_job_not_started_within_its_queue_ttl_expires(desk, ledger, clock, events):
    job = desk.submit(queue_ttl_s=60)
    clock.forward(59.9)
    assert ledger.expire(LATE) == []
    clock.forward(0.1)
    assert ledger.expire(LATE) == [job.id]
    seen = Job.of_record(ledger.record(job.id))
    assert (seen.status, seen.done, seen.error, seen.attempts) == ("expired", True, None, [])
    assert desk.claim() is None and events(job.id) == ["queued", "expired"]


def test_a_start_ends_the_queue_ttl_for_good(desk, ledger, clock):
    """A retry, a release: the clock was for the first start alone."""
    claimed = desk.running(queue_ttl_s=60)
    clock.forward(100)
    assert ledger.expire(LATE) == []
    desk.fail(claimed, delay_s=5)
    assert ledger.expire(LATE) == []
    clock.forward(10)
    ledger.due()
    assert ledger.expire(LATE) == [] and desk.claim().fixed == claimed.fixed


def test_a_deadline_before_the_first_start_expires_the_job(desk, ledger, clock):
    job = desk.submit(queue_ttl_s=3600, deadline_s=60)
    clock.forward(60)
    assert ledger.expire(LATE) == [job.id]
    assert desk.status(job) == "expired"


@pytest.mark.parametrize("delay_s", [0, 10])
def test_a_deadline_after_a_start_fails_the_job_while_it_waits_for_the_next(desk, ledger, clock, delay_s):
    claimed = desk.running(deadline_s=60)
    desk.fail(claimed, delay_s=delay_s)
    clock.forward(60)
    assert ledger.expire(LATE) == [claimed.fixed.id]
    seen = Job.of_record(ledger.record(claimed.fixed.id))
    assert (seen.status, seen.error.code, seen.retry_at) == ("failed", "deadline_exceeded", None)
    assert ledger.due() == [] and desk.claim() is None


def test_a_running_attempt_is_its_workers_to_end(desk, ledger, clock):
    """The worker sees the deadline in its renewal; until it has acted the job runs, and may still succeed."""
    claimed = desk.running(deadline_s=60)
    assert ledger.renew(desk.worker)[1][0].deadline_ms == clock.ms + 60_000
    clock.forward(61)
    assert ledger.expire(LATE) == [] and desk.status(claimed) == "running"
    assert desk.commit(claimed) == "succeeded"


def test_a_deadline_is_kept_after_a_running_attempt_gave_the_job_back(desk, ledger, clock):
    """It was passed while the attempt ran; the attempt was then released: the job ends soon after."""
    claimed = desk.running(deadline_s=60)
    clock.forward(61)
    ledger.expire(LATE)
    desk.release(claimed)
    clock.forward(5)
    assert ledger.expire(LATE) == [claimed.fixed.id]


def test_a_failure_with_no_time_left_for_another_attempt_is_the_end(desk, clock):
    """A retry that would come after the deadline is none."""
    claimed = desk.running(deadline_s=60)
    clock.forward(50)
    assert desk.fail(claimed, delay_s=20) == "failed"
    assert desk.attempts(claimed) == [("failed", "storage_unavailable")]


def test_a_job_with_a_start_time_waits_in_no_line_until_then(desk, ledger, clock, events):
    job = desk.submit(start_ms=clock.ms + 60_000)
    assert desk.status(job) == "scheduled" and desk.line() == [] and desk.claim() is None
    clock.forward(60)
    assert ledger.due() == ["cpu.generate"]
    assert desk.status(job) == "queued" and desk.line() == [job.id]
    assert events(job.id) == ["scheduled", "queued"]


def test_a_start_time_in_the_past_is_now(desk, clock):
    job = desk.submit(start_ms=clock.ms - 1)
    assert desk.status(job) == "queued" and desk.line() == [job.id]


def test_the_queue_ttl_of_a_scheduled_job_counts_from_its_start_time(desk, ledger, clock):
    job = desk.submit(start_ms=clock.ms + 60_000, queue_ttl_s=10)
    clock.forward(65)
    assert ledger.expire(LATE) == []
    clock.forward(5)
    assert ledger.expire(LATE) == [job.id]


def test_asking_twice_what_is_due_or_over_does_nothing_more(desk, ledger, clock):
    due, over = desk.submit(start_ms=clock.ms + 1000), desk.submit(queue_ttl_s=1)
    clock.forward(1)
    assert (ledger.due(), ledger.expire(LATE)) == (["cpu.generate"], [over.id])
    assert (ledger.due(), ledger.expire(LATE)) == ([], [])
    assert desk.line() == [due.id]


def test_a_round_handles_so_many_and_the_next_round_the_rest(desk, ledger, clock, monkeypatch):
    """However many run out at once, no call blocks Redis for long."""
    monkeypatch.setattr("tasks.ledger.duties.JOBS_A_CALL", 3)
    jobs = {desk.submit(queue_ttl_s=1).id for _ in range(7)}
    clock.forward(2)
    rounds = [ledger.expire(LATE) for _ in range(4)]
    assert [len(r) for r in rounds] == [3, 3, 1, 0] and {job for r in rounds for job in r} == jobs


def test_a_due_job_wakes_a_lingering_slot_and_rings_no_bell(desk, ledger, clock):
    desk.submit(start_ms=clock.ms + 500)
    desk.claim(slot="0", linger_s=1)
    clock.forward(0.5)
    assert ledger.due() == []
    assert ledger.redis.lrange(keys.wake("w1:0"), 0, -1) == ["job"]


def test_without_a_clock_of_the_test_redis_time_is_taken(settings):
    """Times in the record are the server's, not this machine's."""
    ledger = Ledger(settings)
    ledger.set_epoch()
    before = ledger.redis.time()[0] * 1000
    job = make_fixed()
    ledger.submit(job)
    created = float(ledger.record(job.id)["created_ms"])
    assert before <= created <= (ledger.redis.time()[0] + 1) * 1000
