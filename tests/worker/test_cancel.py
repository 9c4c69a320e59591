"""Cancel: at once where it waits, soon where the model listens, by force on the cpu pool, never a shared process."""

import psutil
import pytest

from tasks.errors import Conflict, NotFound
from tasks.job import Status
from tests.stack import until


def test_a_running_job_that_listens_is_canceled(house, pool):
    """The parent is woken by the cancel; the process lives on."""
    job_id = house.submit(f"{pool}-sleep", "50")
    pid = house.started(job_id)
    assert house.ledger.cancel("acme", job_id) == "canceling"
    job = house.ended(job_id)
    assert (job.status, job.attempts[-1].outcome) == (Status.CANCELED, "canceled")
    assert psutil.pid_exists(pid)


@pytest.mark.parametrize("model", ["deaf", "gil"])
def test_on_the_cpu_pool_a_deaf_job_is_ended_by_force_after_the_grace(house, model):
    """`canceled` is said only when the work has stopped."""
    job_id = house.submit(f"cpu-{model}", "50")
    house.started(job_id)
    house.ledger.cancel("acme", job_id)
    assert house.ended_after_its_process(job_id).status == Status.CANCELED


@pytest.mark.parametrize("model", ["deaf", "gil"])
def test_on_the_gpu_pool_a_cancel_never_ends_the_shared_process(house, model):
    """A deaf job runs to its end, and what its model made of it is thrown away."""
    job_id = house.submit(f"gpu-{model}", "5")
    pid = house.started(job_id)
    house.ledger.cancel("acme", job_id)
    assert house.ended(job_id).status in (Status.CANCELED, Status.SUCCEEDED)
    assert psutil.pid_exists(pid)


def test_a_waiting_job_is_canceled_at_once_and_never_runs(house):
    """No worker serves its model here, so it waits."""
    job_id = house.submit("cpu-of-a-later-release", "x")
    assert house.ledger.cancel("acme", job_id) == "canceled"
    job = house.job(job_id)
    assert (job.status, job.attempts) == (Status.CANCELED, [])


def test_cancel_of_an_ended_job_is_refused_and_asked_twice_repeats(house):
    """Only a job that ended otherwise conflicts; another tenant's does not exist."""
    done = house.submit("cpu-noop", "x")
    house.ended(done)
    with pytest.raises(Conflict, match="already succeeded"):
        house.ledger.cancel("acme", done)
    with pytest.raises(NotFound):
        house.ledger.cancel("somebody-else", done)
    waits = house.submit("cpu-of-a-later-release", "x")
    assert [house.ledger.cancel("acme", waits) for _ in range(2)] == ["canceled", "canceled"]


def test_many_cancels_leave_the_tenant_unpunished(house):
    """A tenant that cancels all that waits has no tag left behind."""
    ids = [house.submit("cpu-of-a-later-release", "x", tenant="hasty") for _ in range(20)]
    for job_id in ids:
        house.ledger.cancel("hasty", job_id)
    until(lambda: "tag:hasty" not in house.ledger.redis.hgetall("bl:fair:cpu"), 10)
