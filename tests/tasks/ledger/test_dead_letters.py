"""Which jobs are dead letters: the index says so from the end of a job until it is retried or forgotten."""

import pytest

from tasks.errors import DeadlineExceeded, ModelFailed, Replayed
from tasks.ledger import keys
from tests.conftest import make_fixed


@pytest.fixture
def dead(ledger):
    return lambda tenant="acme": ledger.redis.zrange(keys.dead(tenant), 0, -1)


@pytest.fixture
def letter(desk):
    """A job whose only attempt failed for a reason that may pass."""
    claimed = desk.running(max_attempts=1)
    assert desk.fail(claimed) == "failed"
    return claimed.fixed


def test_a_job_is_one_after_its_last_attempt_and_not_before(desk, dead, clock, ledger):
    claimed = desk.running(max_attempts=2)
    desk.fail(claimed)
    assert dead() == []
    desk.fail(desk.claim())
    assert dead() == [claimed.fixed.id] and dead("rival") == []
    assert ledger.redis.zscore(keys.dead("acme"), claimed.fixed.id) == clock.ms


def test_a_job_whose_worker_was_lost_each_time_is_one(desk, dead):
    claimed = desk.running(max_attempts=1)
    desk.swept(after_s=12)
    assert desk.status(claimed) == "failed" and dead() == [claimed.fixed.id]


def test_what_would_fail_again_was_canceled_or_came_too_late_is_none(desk, ledger, dead, clock):
    desk.fail(desk.running(), ModelFailed("boom"))
    canceled = desk.running()
    desk.cancel(canceled)
    desk.fail(canceled)
    late = desk.running(deadline_s=20)
    desk.fail(late, delay_s=10)
    clock.forward(21)
    ledger.expire(DeadlineExceeded("too late"))
    assert desk.status(late) == "failed" and dead() == []


def test_a_retry_takes_it_out_and_only_one_replay_is_made(desk, ledger, letter, dead):
    """A second replay finds no dead letter; the first, asked again, is itself."""
    again = make_fixed(retry_of=letter.id)
    assert ledger.submit(again, replaying=True).job_id == again.id
    assert dead() == []
    with pytest.raises(Replayed, match="no dead letter"):
        ledger.submit(make_fixed(retry_of=letter.id), replaying=True)
    assert ledger.submit(again, replaying=True).job_id == again.id
    assert desk.line() == [again.id]


def test_a_persons_retry_needs_no_dead_letter_and_takes_it_out_too(desk, ledger, letter, dead):
    for _ in range(2):
        ledger.submit(make_fixed(retry_of=letter.id))
    assert dead() == [] and len(desk.line()) == 2


def test_a_forgotten_one_is_none(ledger, letter, dead):
    ledger.forget(letter)
    assert dead() == []


def test_an_end_that_is_put_back_is_one(desk, ledger, dead):
    """`conclude` fills the same indexes as the end itself."""
    claimed = desk.running(max_attempts=1)
    living = ledger.redis.dump(keys.job(claimed.fixed.id))
    desk.fail(claimed)
    ended = desk.record(claimed)
    ledger.redis.restore(keys.job(claimed.fixed.id), 0, living, replace=True)
    ledger.redis.delete(keys.dead("acme"), keys.WHOLE)
    ledger.conclude(claimed.fixed.id, ended)
    assert dead() == [claimed.fixed.id] == ledger.redis.zrange(keys.WHOLE, 0, -1)
