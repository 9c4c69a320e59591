"""A process that dies is seen at once, on both pools, and its job runs again or says by which signal it died."""

import psutil
import pytest

from tasks.job import Status
from tests.stack import until
from tests.worker.conftest import celery_of


@pytest.mark.parametrize("model", ["sleep", "gil"])
def test_a_killed_process_costs_an_attempt_and_the_job_runs_again(house, pool, model):
    """kill -9 of the process that runs the job: worker_lost, then a second attempt elsewhere."""
    job_id = house.submit(f"{pool}-{model}", "2")
    pid = house.started(job_id)
    psutil.Process(pid).kill()
    job = house.ended(job_id)
    assert job.status == Status.SUCCEEDED, job.error
    first, second = job.attempts
    assert (first.outcome, first.error.code, second.outcome) == ("retry", "worker_lost", "succeeded")
    assert "SIGKILL" in first.error.detail


def test_a_poisonous_job_is_a_dead_letter_after_its_attempts_and_the_worker_lives(house, pool):
    """It kills its process each time; the error names the signal."""
    job = house.ended(house.submit(f"{pool}-poison", "SIGSEGV", max_attempts=2))
    assert (job.status, job.error.code, len(job.attempts)) == (Status.FAILED, "worker_lost", 2)
    assert "SIGSEGV" in job.error.detail
    assert house.ended(house.submit(f"{pool}-noop", "still there")).status == Status.SUCCEEDED


def test_a_poisonous_job_does_not_take_its_neighbours_along(house):
    """It kills the process that it shares with others; after that each suspect runs alone, and the innocent finish."""
    innocent = [house.submit("gpu-sleep", "1") for _ in range(3)]
    house.started(innocent[0])
    poison = house.submit("gpu-poison", "SIGSEGV", max_attempts=3)
    innocent += [house.submit("gpu-sleep", "1") for _ in range(2)]
    assert house.ended(poison).error.code == "worker_lost"
    for job_id in innocent:
        job = house.ended(job_id)
        assert job.status == Status.SUCCEEDED, job.error
        assert len(job.attempts) <= 2, "lost beside the poison once, at most"


def test_celerys_main_process_killed_is_replaced_with_its_children(house, pool):
    """Nothing of the old one is left, also where a child holds the GIL, and the job runs again."""
    job_id = house.submit(f"{pool}-gil", "3")
    runner = house.started(job_id)
    main = celery_of(house.workers[pool].pid)
    old = [main, *main.children(recursive=True)]
    main.kill()
    job = house.ended(job_id)
    assert job.status == Status.SUCCEEDED, job.error
    assert [attempt.outcome for attempt in job.attempts] == ["retry", "succeeded"]
    assert runner in [process.pid for process in old]
    until(lambda: not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in old), 10)


@pytest.mark.parametrize("model", ["sleep", "gil"])
def test_a_killed_parent_leaves_nothing_running_and_its_job_goes_to_another(house, pool, model):
    """Without its parent no process goes on; the lease lapses and the sweep gives the job away."""
    with house.stack.worker(pool, lease_s=3, gpu_slots=1, cpu_slots=1) as extra:
        jobs = [house.submit(f"{pool}-{model}", "1") for _ in range(10)]
        name = until(lambda: _held_by(house, extra.pid, jobs), 60, "the extra worker has one of the jobs")
        family = psutil.Process(extra.pid).children(recursive=True)
        extra.kill()
        until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family), 10)
        job = house.ended(name)
        assert job.status == Status.SUCCEEDED, job.error
        assert job.attempts[0].error.code == "worker_lost"
        assert "lease" in job.attempts[0].error.detail
    for job_id in jobs:
        assert house.ended(job_id).status == Status.SUCCEEDED


def _held_by(house, parent: int, jobs: list[str]) -> str | None:
    family = {child.pid for child in psutil.Process(parent).children(recursive=True)}
    for job_id in jobs:
        record = house.ledger.record(job_id)
        if record.get("phase") == "running" and int(record["slot"].split(":")[1]) in family:
            return job_id
    return None
