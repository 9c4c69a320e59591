"""cancel: at once for a job that waits, asked of one that runs; the first end of an attempt decides."""

import pytest

from tasks.errors import Conflict, ModelFailed, NotFound
from tasks.ids import new_id
from tasks.job import Job
from tasks.ledger import keys
from tests.tasks.ledger.conftest import AWAY


def test_a_waiting_job_is_canceled_at_once(desk, events):
    job = desk.submit()
    assert desk.cancel(job) == "canceled"
    assert desk.line() == [] and desk.claim() is None
    assert events(job.id) == ["queued", "canceled"]


def test_a_scheduled_job_and_one_that_waits_for_a_retry_are_canceled_at_once(desk, ledger, clock):
    later, retried = desk.submit(start_ms=clock.ms + 60_000), desk.running()
    desk.fail(retried, delay_s=60)
    assert [desk.cancel(later), desk.cancel(retried)] == ["canceled", "canceled"]
    clock.forward(61)
    assert ledger.due() == [] and desk.claim() is None


def test_a_running_job_is_asked_to_stop_and_its_worker_woken(desk, ledger):
    """canceled is said only when the work has stopped."""
    claimed = desk.running()
    assert desk.cancel(claimed) == "canceling"
    assert not Job.of_record(desk.record(claimed)).done
    assert ledger.redis.lrange(keys.wake("w1"), 0, -1) == ["cancel"]
    assert ledger.report(claimed.fixed.id, claimed.token, progress=0.5) == "canceling"
    assert ledger.renew(desk.worker)[1][0].state == "canceling"


@pytest.mark.parametrize(
    ("end", "answer"),
    [
        (lambda desk, claimed: desk.commit(claimed), "succeeded"),
        (lambda desk, claimed: desk.fail(claimed, AWAY), "canceled"),
        (lambda desk, claimed: desk.fail(claimed, ModelFailed("boom")), "canceled"),
        (lambda desk, claimed: desk.release(claimed), "canceled"),
    ],
)
def test_while_canceling_commit_succeeds_and_anything_else_cancels(desk, end, answer):
    """It is never requeued; a repetition hears the same, even from another verb."""
    claimed = desk.running()
    desk.cancel(claimed)
    assert end(desk, claimed) == answer
    assert desk.status(claimed) == answer and desk.line() == []
    assert end(desk, claimed) == desk.release(claimed) == answer


def test_while_canceling_a_lost_worker_or_a_new_claim_of_the_slot_cancels(desk, ledger):
    lost = desk.running()
    desk.cancel(lost)
    desk.swept(after_s=25)
    assert desk.status(lost) == "canceled"
    job = desk.submit()
    desk.claim(slot="0")
    desk.cancel(job)
    assert desk.claim(slot="0") is None
    assert desk.status(job) == "canceled"


def test_canceling_twice_is_accepted_twice(desk, ledger, events):
    waiting = desk.submit()
    assert [desk.cancel(waiting), desk.cancel(waiting)] == ["canceled", "canceled"]
    running = desk.running()
    assert [desk.cancel(running), desk.cancel(running)] == ["canceling", "canceling"]
    assert events(running.fixed.id) == ["queued", "running", "canceling"]
    assert events(waiting.id) == ["queued", "canceled"]


def test_a_job_that_has_ended_otherwise_is_not_canceled(desk):
    claimed = desk.running()
    desk.commit(claimed)
    with pytest.raises(Conflict, match="has already succeeded"):
        desk.cancel(claimed)


def test_another_tenants_job_is_not_there(desk, ledger):
    job = desk.submit(tenant="acme")
    for tenant, job_id in (("rival", job.id), ("acme", new_id("job"))):
        with pytest.raises(NotFound, match="there is no job"):
            ledger.cancel(tenant, job_id)
    assert desk.status(job) == "queued"
