"""Limits are kept from outside, on both pools: also against a model in C that holds the GIL all the while."""

import pytest

from tasks.job import Status


@pytest.mark.parametrize("model", ["deaf", "gil"])
def test_over_its_run_timeout_the_process_is_gone_before_the_job_ends(house, pool, model):
    """A model that listens to nothing is ended by force; the job says timeout and names its limit."""
    job = house.ended_after_its_process(house.submit(f"{pool}-{model}", "50", run_timeout_s=1))
    assert (job.status, job.error.code, len(job.attempts)) == (Status.FAILED, "timeout", 1)
    assert "run_timeout_s = 1 s" in job.error.detail
    assert house.ended(house.submit(f"{pool}-noop", "still there")).status == Status.SUCCEEDED


def test_a_model_that_listens_stops_by_itself(house, pool):
    """Asked first: the process lives on, the job ends as timeout all the same."""
    job_id = house.submit(f"{pool}-sleep", "50", run_timeout_s=1)
    pid = house.started(job_id)
    job = house.ended(job_id)
    assert (job.status, job.error.code) == (Status.FAILED, "timeout")
    again = house.submit(f"{pool}-sleep", "0.2")
    if pool == "gpu":  # one process; on the cpu pool the other child may take it
        assert house.started(again) == pid


@pytest.mark.parametrize("model", ["deaf", "gil"])
def test_a_passed_deadline_ends_a_running_job(house, pool, model):
    """deadline_s counts all of it; a job that had started has failed, not expired."""
    house.ended(house.submit(f"{pool}-noop", "the worker is up again after the test before"))
    job = house.ended_after_its_process(house.submit(f"{pool}-{model}", "50", deadline_s=5))
    assert (job.status, job.error.code) == (Status.FAILED, "deadline_exceeded")


def test_over_its_memory_the_process_is_gone_before_the_job_ends(house, pool):
    """A job that takes more than its model may is out_of_memory, not a mystery."""
    job = house.ended_after_its_process(house.submit(f"{pool}-hog", "900"))
    assert (job.status, job.error.code, len(job.attempts)) == (Status.FAILED, "out_of_memory", 1)
    assert {"cpu": "400 MiB", "gpu": "600 MiB"}[pool] in job.error.detail


def test_neighbours_of_an_ended_process_are_released_not_blamed(house):
    """On the gpu pool one job's limit ends the shared process: the neighbour runs again and loses no attempt."""
    neighbour = house.submit("gpu-sleep", "8", tenant="neighbour", max_attempts=1)
    house.started(neighbour)
    culprit = house.ended(house.submit("gpu-deaf", "50", tenant="culprit", run_timeout_s=1))
    assert culprit.error.code == "timeout"
    job = house.ended(neighbour)
    assert job.status == Status.SUCCEEDED, job.error
    assert [attempt.outcome for attempt in job.attempts] == ["released", "succeeded"]


def test_a_job_that_waits_too_long_expires_unrun(house):
    """queue_ttl_s passed before a worker of its pool took it: expired, no attempt."""
    job = house.ended(house.submit("cpu-of-a-later-release", "x", queue_ttl_s=0.5))
    assert (job.status, job.attempts) == (Status.EXPIRED, [])
