"""A job whose process died runs next with nothing beside it in its process: innocents are not lost with it again.

Slots of one process: w1:7:0 and w1:7:1; of another one of the same worker: w1:8:0.
"""

import pytest

from tasks.errors import WorkerLost

LOST = WorkerLost("the process that ran the job is gone: killed by SIGSEGV")


@pytest.fixture
def suspect(desk):
    """A waiting job that was lost with its process once."""
    claimed = desk.running()
    assert desk.fail(claimed, LOST) == "queued"
    return claimed.fixed


def test_a_busy_process_does_not_get_it_and_gets_nothing_else_meanwhile(desk):
    """Or it would never be free; as soon as it is, it gets it."""
    busy = desk.submit()
    beside = desk.claim(slot="7:0")
    assert beside.fixed.id == busy.id
    lost = desk.running(priority=10)
    desk.fail(lost, LOST)
    desk.submit()
    assert desk.claim(slot="7:1") is None
    desk.commit(beside)
    assert desk.claim(slot="7:1").fixed.id == lost.fixed.id


def test_beside_it_nothing_is_handed_out_until_it_has_ended(desk, suspect):
    alone = desk.claim(slot="7:0")
    assert alone.fixed.id == suspect.id
    other = desk.submit()
    assert desk.claim(slot="7:1") is None
    desk.commit(alone)
    assert desk.claim(slot="7:1").fixed.id == other.id


def test_another_process_of_the_worker_is_none_of_its_business(desk, suspect):
    """A cpu worker has a process a slot: there every job is alone."""
    desk.claim(slot="7:0")
    other = desk.submit()
    assert desk.claim(slot="8:0").fixed.id == other.id


def test_a_free_process_gets_it_though_another_is_busy(desk):
    desk.submit()
    desk.claim(slot="7:0")
    lost = desk.running(priority=10)
    desk.fail(lost, LOST)
    assert desk.claim(slot="8:0").fixed.id == lost.fixed.id


def test_a_job_that_failed_otherwise_is_no_suspect(desk):
    """A bucket that was away is nobody's fault; its job may have company."""
    lost = desk.running()
    desk.fail(lost)
    other = desk.submit()
    assert {desk.claim(slot="7:0").fixed.id, desk.claim(slot="7:1").fixed.id} == {lost.fixed.id, other.id}


def test_a_job_whose_worker_has_gone_is_suspected_only_before_its_last_attempt(desk, clock):
    """A lapsed lease: a whole machine was lost, and all that ran there would queue up to run alone."""
    lost = [desk.submit(max_attempts=3) for _ in range(2)]
    for suspects in (False, True):
        first, second = desk.claim(slot="7:0"), desk.claim(slot="7:1")
        assert first.fixed.id in [job.id for job in lost] and second.fixed.id in [job.id for job in lost]
        desk.swept()
        clock.forward(1)
        desk.swept(after_s=25)
        records = [desk.ledger.record(job.id) for job in lost]
        assert [("suspect" in record) for record in records] == [suspects, suspects]
    assert desk.claim(slot="7:0") and desk.claim(slot="7:1") is None
