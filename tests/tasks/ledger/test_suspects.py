"""A job whose process died runs next with nothing beside it in its process: innocents are not lost with it again.

Slots of one process: w1:7:0 and w1:7:1; of another one of the same worker: w1:8:0.
"""

from dataclasses import replace

import pytest

from tasks.errors import Timeout, WorkerLost
from tasks.job import Job
from tests.conftest import make_worker

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


@pytest.fixture
def gpu(desk, ledger):
    """gpu(slot): a claim of a worker all of whose slots are one process."""
    worker = replace(make_worker(), shared=True)
    return lambda slot: ledger.claim(worker, f"w1:7:{slot}", desk.token())


def test_a_suspect_that_takes_its_process_with_it_while_alone_is_guilty(desk, ledger, gpu):
    """Whatever its budget: every further attempt would cost all others their process."""
    bad, good = desk.submit(max_attempts=10), desk.submit()
    for claimed in (gpu(0), gpu(1)):
        assert desk.fail(claimed, LOST) == "queued"
    assert desk.fail(gpu(0), LOST) == "failed"
    error = Job.of_record(ledger.record(bad.id)).error
    assert (error.code, error.retryable) == ("worker_lost", False) and "nothing else ran in it" in error.detail
    assert desk.commit(gpu(0)) == "succeeded" and desk.status(good) == "succeeded"


def test_a_process_that_one_job_has_for_itself_is_no_proof(desk):
    """On the cpu pool every job is alone in its process: there the attempts count, as ever."""
    desk.submit(max_attempts=3)
    assert [desk.fail(desk.claim(slot="7:0"), LOST) for _ in range(3)] == ["queued", "queued", "failed"]


def cost(desk, gpu, tenant, times):
    for _ in range(times):
        job = desk.submit(tenant=tenant, priority=10)
        claimed = gpu(0)
        assert claimed.fixed == job
        desk.fail(claimed, Timeout("too long"), killed=True)


def test_a_tenant_that_cost_three_processes_in_ten_minutes_runs_alone_for_ten(desk, gpu, clock):
    """Beside it nothing is handed out, and it gets a process only when that is free."""
    cost(desk, gpu, "wild", 2)
    two = [desk.submit(tenant="wild"), desk.submit(tenant="tame")]
    claimed = [gpu(0), gpu(1)]
    assert {c.fixed.id for c in claimed} == {one.id for one in two}  # of one place each: which is first says their id
    [desk.commit(c) for c in claimed]
    cost(desk, gpu, "wild", 1)
    wild, tame = desk.submit(tenant="wild", priority=1), desk.submit(tenant="tame")
    alone = gpu(0)
    assert alone.fixed == wild and gpu(1) is None
    desk.commit(alone)
    busy = gpu(1)
    assert busy.fixed == tame
    desk.submit(tenant="wild")
    assert gpu(0) is None
    clock.forward(601)
    assert gpu(0).fixed.tenant == "wild"


def test_processes_lost_over_a_longer_time_are_forgiven(desk, gpu, clock):
    for _ in range(5):
        cost(desk, gpu, "unlucky", 1)
        clock.forward(301)
    desk.submit(tenant="unlucky"), desk.submit(tenant="other")
    assert gpu(0) and gpu(1)


def test_one_tenants_cost_is_no_others(desk, gpu):
    cost(desk, gpu, "wild", 3)
    for tenant in ("tame", "other"):
        desk.submit(tenant=tenant)
    assert gpu(0) and gpu(1)
