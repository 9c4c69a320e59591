"""Chains and the keeper: settled round by round, judged anew after a flush, their sources kept beyond retention."""

import json

import pytest

from tasks.errors import Conflict, ModelFailed
from tasks.ledger import keys
from tests.conftest import make_fixed
from tests.worker.keeper.test_restore import House
from worker.keeper.retention import NEEDED_MS, Retention
from worker.keeper.skipped import Skipped


@pytest.fixture
def house(settings, ledger, storage, worker) -> House:
    return House(settings, ledger, storage, worker)


def settle(house) -> None:
    """Rounds of the keeper's duty, until nothing is left."""
    house.keeper.duties["chains"].once()
    while house.ledger.redis.exists(keys.SETTLING):
        house.keeper.duties["chains"].once()


def submit(house, **changes):
    fixed = make_fixed(**changes)
    house.ledger.submit(fixed)
    return fixed


def end(house, how: str):
    """The next job ends so."""
    claimed = house.claim()
    if how == "succeeded":
        house.commit(claimed)
    else:
        house.ledger.fail(claimed.fixed.id, claimed.token, ModelFailed("boom"))
    return claimed.fixed


def error(house, fixed) -> dict:
    return json.loads(house.ledger.record(fixed.id)["error"])


def test_a_round_of_the_keeper_tells_those_that_wait(house):
    source = submit(house)
    jobs = [submit(house, waits_for=[source.id]) for _ in range(60)]
    end(house, "succeeded")
    settle(house)
    assert {house.status(job) for job in jobs} == {"queued"}
    assert house.ledger.redis.llen("cpu.generate") >= 1


@pytest.mark.parametrize("job_json", [True, False], ids=["job.json", "the journal alone"])
def test_after_a_flush_each_chain_is_judged_anew(house, job_json):
    """By the source's record where it lives, else by its job.json, which may be written by the restore itself."""
    good, bad, living = submit(house), submit(house), submit(house)
    jobs = {one.id: submit(house, waits_for=[one.id]) for one in (good, bad, living)}
    last = submit(house, waits_for=[jobs[living.id].id])
    assert end(house, "succeeded") == good
    assert end(house, "failed") == bad
    del jobs[bad.id]
    both = submit(house, waits_for=[living.id, good.id])
    house.written(job_json)
    house.flush()
    house.restore()
    settle(house)
    assert [house.status(jobs[good.id]), house.status(jobs[living.id]), house.status(last)] == [
        "queued", "scheduled", "scheduled"
    ]  # fmt: skip
    assert house.ledger.record(both.id)["waits"] == living.id
    while house.status(last) != "succeeded":
        end(house, "succeeded")
        settle(house)
    assert house.status(both) in ("queued", "succeeded")


def test_after_a_flush_a_chain_whose_source_failed_fails(house):
    bad = submit(house)
    job = submit(house, waits_for=[bad.id])
    following = submit(house, waits_for=[job.id])
    house.written()
    end(house, "failed")  # nobody has told the job yet
    house.written()
    house.flush()
    house.restore()
    settle(house)
    assert error(house, job)["detail"] == f"the job waited for {bad.id}, which no longer exists"
    assert error(house, following)["detail"] == f"the job waited for {job.id}, which ended as failed"


def test_a_source_is_kept_beyond_its_retention_while_a_job_needs_it(house, storage):
    """Also one that the bucket alone knows."""
    source = submit(house, retention_s=0.001)
    end(house, "succeeded")
    job = submit(house, waits_for=[source.id])
    redis = house.ledger.redis
    before = redis.zscore(keys.RETAINED, source.id)
    retention = Retention(house.ledger, storage)
    retention.forget_jobs(Skipped("retention"))
    assert redis.zscore(keys.RETAINED, source.id) >= before + NEEDED_MS - 1000
    house.written()
    redis.delete(keys.job(source.id))
    redis.zadd(keys.ARCHIVED, {f"acme/{source.id}": before})
    retention.trash_archived(Skipped("archived"))
    assert redis.zscore(keys.TRASH, f"tenants/acme/jobs/{source.id}/") is None
    with pytest.raises(Conflict, match=job.id):
        house.jobs.delete("acme", source.id)
    end(house, "succeeded")
    redis.zadd(keys.ARCHIVED, {f"acme/{source.id}": before})
    retention.trash_archived(Skipped("archived"))
    assert redis.zscore(keys.TRASH, f"tenants/acme/jobs/{source.id}/")
