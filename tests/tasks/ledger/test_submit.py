"""submit: record, line, event and journal entry in one step, and whether a doorbell is needed."""

import pytest

from tasks.errors import NotReady, Overloaded
from tasks.job import Job
from tasks.ledger import Ledger, keys
from tests.conftest import make_fixed

INFOS_A_CALL = 2
"""By which a client that threads share compares the epoch in each call."""


def test_a_submitted_job_waits_first_in_its_line(desk, ledger, clock, events):
    job = desk.submit(metadata={"show": "Pilot"}, priority=2)
    seen = Job.of_record(ledger.record(job.id), ledger.position(ledger.record(job.id)))
    assert (seen.status, seen.queue_position, seen.priority, seen.metadata) == ("queued", 1, 2, {"show": "Pilot"})
    assert seen.created_at.timestamp() * 1000 == clock.ms
    assert seen.start_by.timestamp() * 1000 == clock.ms + job.queue_ttl_s * 1000
    assert not seen.done and seen.started_at is None and seen.attempts == []
    assert events(job.id) == ["queued"]


def test_submitting_twice_records_once(desk, ledger, events, journal):
    """A submit whose reply was lost is sent again with the same id."""
    job = desk.submit()
    again = ledger.submit(job)
    assert (again.job_id, again.replay_fingerprint) == (job.id, None)
    assert desk.line() == [job.id]
    assert events(job.id) == ["queued"] and len(journal()) == 1


def test_submitting_again_after_the_start_changes_nothing(desk, ledger):
    """The repetition arrives late: the job runs already, or has ended."""
    claimed = desk.running()
    ledger.submit(claimed.fixed)
    assert desk.status(claimed) == "running" and desk.line() == []
    desk.commit(claimed)
    ledger.submit(claimed.fixed)
    assert desk.status(claimed) == "succeeded" and desk.line() == []


def test_no_record_means_no_job(ledger):
    assert ledger.record("job_" + "0" * 26) is None


def test_the_position_is_the_exact_rank_in_the_line(desk, ledger):
    jobs = [desk.submit() for _ in range(5)]
    desk.cancel(jobs[1])
    desk.claim()
    assert [ledger.position(desk.record(job)) for job in jobs] == [None, None, 1, 2, 3]


def test_a_bell_is_wanted_until_as_many_lie_there_as_jobs_wait(ledger, settings):
    """Bells wanted = min(waiting, BACKLOT_BELLS); the list is Celery's, of which only the length is read."""
    few = Ledger(settings.model_copy(update={"bells": 2}), clock=ledger.clock)
    assert few.submit(make_fixed()).bell
    ledger.redis.lpush("cpu.generate", "a bell")
    assert few.submit(make_fixed()).bell
    ledger.redis.lpush("cpu.generate", "a bell")
    assert not few.submit(make_fixed()).bell


def test_a_lingering_slot_is_woken_and_no_bell_is_rung(desk, ledger, clock):
    """The slot found nothing and waits a second; the next submit wakes it, the one after needs a bell."""
    assert desk.claim(slot="0", linger_s=1) is None
    assert not ledger.submit(make_fixed()).bell
    assert ledger.redis.lrange(keys.wake("w1:0"), 0, -1) == ["job"]
    assert ledger.submit(make_fixed()).bell


def test_a_slot_that_has_lingered_long_enough_is_not_counted_on(desk, ledger, clock):
    desk.claim(slot="0", linger_s=1)
    clock.forward(1.1)
    assert ledger.submit(make_fixed()).bell
    assert ledger.redis.llen(keys.wake("w1:0")) == 0


def test_a_slot_that_took_a_job_lingers_no_more(desk, ledger):
    desk.claim(slot="0", linger_s=1)
    desk.submit()
    assert desk.claim(slot="0")
    assert ledger.submit(make_fixed()).bell


@pytest.fixture
def almost_full(ledger):
    """Redis at 90 % of its memory."""
    used = ledger.redis.info("memory")["used_memory"]
    ledger.redis.config_set("maxmemory", round(used / 0.9))
    yield
    ledger.redis.config_set("maxmemory", 0)


def test_above_85_percent_of_memory_no_new_job_is_taken(desk, ledger, almost_full):
    """The refusal names how full it is and where the limit lies, and leaves nothing behind."""
    with pytest.raises(Overloaded, match=r"Redis is \d\d % full and takes no new jobs above 85 %") as caught:
        desk.submit()
    assert caught.value.retryable
    assert desk.line() == [] and ledger.redis.xlen(keys.JOURNAL) == 0


def test_a_sweep_spares_submits_the_look_at_redis_memory(desk, ledger):
    """While memory is far from full, for 5 s; the permission lapses by itself, should no keeper be left to look."""
    ledger.sweep("cpu")
    asked = ledger.redis.info("commandstats")["cmdstat_info"]["calls"]
    desk.submit()
    assert ledger.redis.info("commandstats")["cmdstat_info"]["calls"] == asked + INFOS_A_CALL + 1
    assert 4000 < ledger.redis.pttl(keys.ROOM) <= 5000


def test_a_sweep_gives_no_permission_where_memory_is_nearly_full(desk, ledger, almost_full):
    ledger.sweep("cpu")
    assert not ledger.redis.exists(keys.ROOM)
    with pytest.raises(Overloaded):
        desk.submit()


def test_a_job_that_was_taken_is_known_although_memory_is_short(desk, ledger):
    """A repetition of a submit that succeeded is no new job."""
    job = desk.submit()
    ledger.redis.config_set("maxmemory", 1_000_000)
    try:
        assert ledger.submit(job).job_id == job.id
    finally:
        ledger.redis.config_set("maxmemory", 0)


def test_every_other_verb_has_room_although_memory_is_full(desk, ledger, clock):
    """Even past maxmemory, jobs are handed out, told of, ended, canceled, swept and forgotten."""
    one, two, three, four = (desk.running() for _ in range(4))
    ended = desk.running()
    desk.commit(ended)
    waiting, due, late = desk.submit(), desk.submit(start_ms=clock.ms + 1000), desk.submit(queue_ttl_s=1)
    ledger.redis.config_set("maxmemory", 1_000_000)
    try:
        assert len(ledger.renew(desk.worker)[1]) == 4
        assert ledger.report(one.fixed.id, one.token, "running", 0.5) == "noted"
        assert desk.commit(one) == "succeeded"
        assert desk.fail(two) == "queued"
        assert desk.release(three) == "released"
        assert desk.cancel(four) == "canceling"
        assert desk.cancel(waiting) == "canceled"
        clock.forward(2)
        assert ledger.due() == ["cpu.generate"]
        assert ledger.expire(NotReady("")) == [late.id]
        assert desk.claim().fixed.id in (two.fixed.id, three.fixed.id)
        desk.swept(after_s=25)
        assert desk.status(four) == "canceled" and desk.status(due) == "queued"
        ledger.forget(ended.fixed)
    finally:
        ledger.redis.config_set("maxmemory", 0)
