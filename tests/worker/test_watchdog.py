"""A Celery process that lives but takes no bells is replaced; one that is busy is left alone."""

import signal

import psutil
import pytest

from tasks.broker import Broker
from tasks.job import Job, Status
from tasks.ledger import Ledger
from tests.stack import until
from tests.worker.conftest import ENDS_S, MODELS, celery_of
from worker.watchdog import Watchdog


class Time:
    now = 0.0


@pytest.fixture
def dog(monkeypatch) -> Watchdog:
    """Patient for ten seconds, of a clock that the test holds."""
    Time.now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: Time.now)
    return Watchdog(10)


def rounds(dog: Watchdog, seconds: int, lies: bool, moved=lambda now: 0) -> list[float]:
    """When it bit, looking once a second."""
    bitten = []
    for _ in range(seconds):
        if dog.is_stuck(lies, moved(Time.now)):
            bitten.append(Time.now)
        Time.now += 1
    return bitten


def test_a_bell_that_lies_for_long_before_a_free_slot(dog):
    assert rounds(dog, 9, lies=False) == []
    assert rounds(dog, 11, lies=True) == [19]


def test_whoever_takes_bells_now_and_then_is_well(dog):
    """Under load there is always a bell that lies; what counts is that others are taken."""
    assert rounds(dog, 100, lies=True, moved=lambda now: now // 5) == []


def test_after_a_bite_it_is_patient_again(dog):
    """The new process gets as long as the old one."""
    assert rounds(dog, 25, lies=True) == [10, 21]


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_a_celery_process_that_stands_still_is_replaced_and_the_job_done(settings, storage, stack, fixed, pool):
    """SIGSTOP: it holds its connection and takes nothing, as one whose connection came back wrong."""
    stack.settings = settings.model_copy(
        update={"models": MODELS, "watchdog_s": 2, "cpu_slots": 1, "gpu_slots": 2, "linger_s": 0}
    )  # a slot that lingers is woken without a bell
    ledger, job = Ledger(stack.settings), fixed(model=f"{pool}-noop", pool=pool)
    with stack.keeper(), stack.worker(pool) as worker:
        celery = celery_of(worker.pid)
        _serve_one(ledger, stack.settings, fixed(model=f"{pool}-noop", pool=pool))
        for process in (celery, *celery.children()):  # else a child that looks once more takes the job
            process.send_signal(signal.SIGSTOP)
        ledger.submit(job)
        Broker(stack.settings).ring(job.queue)
        ended = until(lambda: _ended(ledger, job.id), ENDS_S, "the job was done by the new process")
        assert ended.status == Status.SUCCEEDED and len(ended.attempts) == 1
        assert not celery.is_running() or celery.status() == psutil.STATUS_ZOMBIE
        assert "replacing the Celery process" in worker.log()


def _serve_one(ledger: Ledger, settings, job) -> None:
    """It works before it stands still."""
    if ledger.submit(job).bell:
        Broker(settings).ring(job.queue)
    until(lambda: _ended(ledger, job.id), ENDS_S, "the first job was done")


def _ended(ledger: Ledger, job_id: str) -> Job | None:
    record = ledger.record(job_id)
    return Job.of_record(record) if Status(record["status"]).final else None
