"""SIGTERM: nothing new is claimed, what fits the grace finishes, the rest is handed back and loses no attempt."""

import os
import signal

import psutil

from tasks.job import Status
from tests.stack import until
from tests.worker.conftest import ENDS_S


def test_what_fits_the_grace_finishes(house, pool):
    """The worker waits for a short job, then leaves with exit status 0."""
    with house.stack.worker(pool, grace_s=20) as extra:
        job_id = _on(house, extra, f"{pool}-sleep", "2")
        extra.signal(signal.SIGTERM)
        until(lambda: not extra.alive, ENDS_S, "the worker has left")
        assert extra.stop() == 0
        job = house.job(job_id)
        assert (job.status, len(job.attempts)) == (Status.SUCCEEDED, 1)


def test_what_does_not_fit_is_handed_back(house, pool):
    """After the grace the process is ended, then the job released: it runs again elsewhere, no attempt lost."""
    with house.stack.worker(pool, grace_s=0.5) as extra:
        job_id = _on(house, extra, f"{pool}-gil", "6", max_attempts=1)
        family = psutil.Process(extra.pid).children(recursive=True)
        extra.signal(signal.SIGTERM)
        until(lambda: not extra.alive, ENDS_S, "the worker has left")
        assert extra.stop() == 0
        assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        job = house.ended(job_id)
        assert job.status == Status.SUCCEEDED, job.error
        assert [attempt.outcome for attempt in job.attempts] == ["released", "succeeded"]


def test_an_interrupt_of_the_whole_group_is_no_crash(house, pool):
    """Ctrl-C reaches the parent's group; Celery has a session of its own, so the running job is not hurt."""
    with house.stack.worker(pool, grace_s=20) as extra:
        job_id = _on(house, extra, f"{pool}-deaf", "2")
        for child in psutil.Process(extra.pid).children(recursive=True):
            if os.getpgid(child.pid) == os.getpgid(extra.pid):
                child.send_signal(signal.SIGINT)
        extra.signal(signal.SIGINT)
        until(lambda: not extra.alive, ENDS_S, "the worker has left")
        assert house.job(job_id).status == Status.SUCCEEDED


def _on(house, worker, model: str, prompt: str, **limits) -> str:
    """A job that runs on this very worker: others are submitted until it has taken one."""
    for _ in range(20):
        job_id = house.submit(model, prompt, **limits)
        if house.started(job_id) in {child.pid for child in psutil.Process(worker.pid).children(recursive=True)}:
            return job_id
        house.ledger.cancel("acme", job_id)
    raise AssertionError("the worker took no job")
