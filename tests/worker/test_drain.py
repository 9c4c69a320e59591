"""SIGTERM: nothing new is claimed, what fits the grace finishes, the rest is handed back and loses no attempt."""

import contextlib
import os
import signal

import psutil
import pytest

from tasks.job import Status
from tests.stack import until
from tests.worker.conftest import ENDS_S, is_there


@pytest.fixture
def occupied(house, pool):
    """All slots of the house's own worker of the pool hold a job, so that the next one goes to another worker."""
    slots = {"cpu": house.stack.settings.cpu_slots, "gpu": house.stack.settings.gpu_slots}[pool]
    # of one model a gpu worker holds two batches at most, so one that batches many
    model, prompt = {"cpu": ("cpu-sleep", "100"), "gpu": ("gpu-rows", "5000")}[pool]
    jobs = [house.submit(model, prompt, run_timeout_s=200) for _ in range(slots)]
    for job_id in jobs:
        house.claimed(job_id)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [house.ended(job_id) for job_id in jobs])
        for job_id in jobs:
            stack.callback(house.ledger.cancel, "acme", job_id)
        yield stack


def leaves(worker) -> int:
    """SIGTERM to the parent alone; its exit status."""
    worker.signal(signal.SIGTERM)
    until(lambda: not worker.alive, ENDS_S, "the worker has left")
    return worker.stop()


def test_what_fits_the_grace_finishes(house, pool, occupied):
    """The worker waits for a short job, then leaves with exit status 0."""
    with house.stack.worker(pool, grace_s=30, cpu_slots=1, gpu_slots=1) as extra:
        job_id = house.submit(f"{pool}-sleep", "2")
        house.started(job_id)
        assert leaves(extra) == 0
        job = house.job(job_id)
        assert (job.status, len(job.attempts)) == (Status.SUCCEEDED, 1)


def test_what_does_not_fit_is_handed_back(house, pool, occupied):
    """After the grace the process is ended, then the job released: it runs again elsewhere, no attempt lost."""
    with house.stack.worker(pool, grace_s=0.5, cpu_slots=1, gpu_slots=1) as extra:
        job_id = house.submit(f"{pool}-gil", "6", max_attempts=1)
        runner = psutil.Process(house.started(job_id))
        born = runner.create_time()
        extra.signal(signal.SIGTERM)
        until(lambda: house.job(job_id).attempts[0].outcome, ENDS_S)
        assert not is_there(runner.pid, born), "it is handed back, but its process still runs"
        assert leaves(extra) == 0
    occupied.close()
    job = house.ended(job_id)
    assert job.status == Status.SUCCEEDED, job.error
    assert [attempt.outcome for attempt in job.attempts] == ["released", "succeeded"]


def test_an_interrupt_of_the_whole_group_is_no_crash(house, pool, occupied):
    """Ctrl-C reaches the parent's group; Celery has a session of its own, so the running job is not hurt."""
    with house.stack.worker(pool, grace_s=30, cpu_slots=1, gpu_slots=1) as extra:
        job_id = house.submit(f"{pool}-deaf", "2")
        assert os.getpgid(house.started(job_id)) != os.getpgid(extra.pid)
        assert leaves(extra) == 0
        assert house.job(job_id).status == Status.SUCCEEDED
