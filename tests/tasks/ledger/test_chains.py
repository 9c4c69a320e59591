"""Chains in the ledger: a job that names others waits until they have succeeded, and fails where one has not."""

import json

import pytest

from tasks.errors import Conflict, DeadlineExceeded, DependencyFailed, InvalidInput, ModelFailed
from tasks.ids import new_batch_id, new_id
from tasks.ledger import keys
from tasks.ledger.duties import CHAINED_A_CALL
from tests.conftest import fenced, make_fixed


def settle(ledger) -> int:
    """Settles to the end; the calls that it took."""
    calls, more = 0, True
    while more:
        more, _ = ledger.settle_chains()
        calls += 1
    return calls


def error(desk, job) -> dict:
    return json.loads(desk.record(job)["error"])


def test_the_last_source_that_succeeds_enqueues_the_job(desk, ledger, events):
    first, second = desk.submit(), desk.submit()
    job = desk.submit(waits_for=[first.id, second.id])
    assert (desk.status(job), desk.record(job)["waits"]) == ("scheduled", f"{first.id} {second.id}")
    desk.commit(desk.claim())
    assert (desk.status(job), desk.record(job)["waits"]) == ("scheduled", second.id)
    desk.commit(desk.claim())
    assert desk.status(job) == "queued"
    assert "waits" not in desk.record(job)
    assert desk.claim().fixed.id == job.id
    assert events(job.id) == ["scheduled", "queued", "running"]


def test_the_queue_time_begins_when_the_job_is_enqueued(desk, ledger, clock):
    """A job that waits for others does not expire by queue_ttl_s; its deadline counts all the time."""
    source = desk.submit(queue_ttl_s=1e6)
    job, hasty = desk.submit(waits_for=[source.id], queue_ttl_s=10), desk.submit(waits_for=[source.id], deadline_s=30)
    clock.forward(60)
    assert ledger.expire(DeadlineExceeded("")) == [hasty.id]
    assert desk.status(hasty) == "expired"
    desk.commit(desk.claim())
    clock.forward(9)
    assert ledger.expire(DeadlineExceeded("")) == []
    clock.forward(2)
    assert ledger.expire(DeadlineExceeded("")) == [job.id]


def test_a_start_time_holds_behind_the_sources(desk, ledger, clock):
    source = desk.submit()
    late = desk.submit(waits_for=[source.id], start_ms=clock.ms + 60_000)
    soon = desk.submit(waits_for=[source.id], start_ms=clock.ms + 5_000)
    clock.forward(10)
    ledger.due()
    assert [desk.status(late), desk.status(soon)] == ["scheduled", "scheduled"]
    desk.commit(desk.claim())
    assert [desk.status(late), desk.status(soon)] == ["scheduled", "queued"]
    clock.forward(50)
    ledger.due()
    assert desk.status(late) == "queued"


def test_a_canceled_job_leaves_its_sources(desk, ledger):
    source = desk.submit()
    job = desk.submit(waits_for=[source.id])
    assert ledger.limits("acme").waiting == 2
    desk.cancel(job)
    assert ledger.limits("acme").waiting == 1
    assert not ledger.is_needed("acme", source.id)
    desk.commit(desk.claim())
    assert ledger.settle_chains() == (False, [])
    assert desk.status(job) == "canceled"


ENDS = {
    "failed": lambda desk, source: desk.fail(desk.claim(), ModelFailed("boom")),
    "canceled": lambda desk, source: desk.cancel(source),
    "expired": lambda desk, source: (desk.ledger.clock.forward(4000), desk.ledger.expire(DeadlineExceeded(""))),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_source_that_does_not_succeed_fails_the_job(desk, ledger, how):
    """The error names it; the job is no dead letter, since another attempt would end the same way."""
    source = desk.submit()
    job = desk.submit(waits_for=[source.id])
    ENDS[how](desk, source)
    settle(ledger)
    assert desk.status(job) == "failed"
    assert error(desk, job) == {
        "code": "dependency_failed",
        "detail": f"the job waited for {source.id}, which ended as {how}",
        "retryable": False,
    }
    assert not ledger.redis.exists(keys.dead("acme"), keys.dependents("acme", source.id), keys.SETTLING)


@pytest.mark.parametrize("how", ENDS)
def test_a_submit_that_names_a_job_that_has_not_succeeded_is_refused(desk, ledger, how):
    """A member of a batch is recorded, and fails: its line may come before or behind that end."""
    source = desk.submit()
    ENDS[how](desk, source)
    with pytest.raises(DependencyFailed, match=f"{source.id} has ended as {how}"):
        desk.submit(waits_for=[source.id])
    member = desk.submit(waits_for=[source.id], batch=new_batch_id())
    settle(ledger)
    assert error(desk, member)["code"] == "dependency_failed"


def test_a_job_that_is_not_there_or_of_another_tenant_is_no_source(desk):
    foreign, missing = desk.submit(tenant="umbrella"), new_id("job")
    for named in (foreign.id, missing):
        with pytest.raises(InvalidInput, match=f"there is no job {named}"):
            desk.submit(waits_for=[named])


def test_a_job_that_names_one_that_has_succeeded_waits_for_nothing(desk, ledger):
    desk.commit(source := desk.running())
    archived = new_id("job")
    job = desk.submit(waits_for=[source.fixed.id, archived], in_archive=frozenset({archived}))
    assert desk.status(job) == "queued"
    assert ledger.is_needed("acme", source.fixed.id)
    assert ledger.is_needed("acme", archived)
    assert not ledger.record(archived)


def test_a_source_is_not_erased_before_the_job_has_ended(desk, ledger):
    desk.commit(source := desk.running())
    job = desk.submit(waits_for=[source.fixed.id])
    claimed = desk.claim()
    with pytest.raises(Conflict, match=f"{source.fixed.id} is a source of job {job.id}, which has not ended"):
        ledger.forget(source.fixed)
    assert ledger.forget_many([source.fixed]) == 1
    desk.commit(claimed)
    assert ledger.forget_many([source.fixed]) == 0
    assert not ledger.record(source.fixed.id)


def test_ten_thousand_ends_are_told_in_bounded_steps(desk, ledger):
    """No call tells more than CHAINED_A_CALL jobs, whether one has many dependents or each has one."""
    wide = desk.submit()
    fan = [desk.submit(waits_for=[wide.id]) for _ in range(3 * CHAINED_A_CALL)]
    chain = [desk.submit()]
    for _ in range(3 * CHAINED_A_CALL):
        chain.append(desk.submit(waits_for=[chain[-1].id]))
    desk.cancel(chain[0])
    before = ledger.redis.xlen(keys.JOURNAL)
    ledger.settle_chains()
    assert ledger.redis.xlen(keys.JOURNAL) == before + CHAINED_A_CALL
    assert settle(ledger) <= 4
    assert {desk.status(job) for job in chain[1:]} == {"failed"}
    assert error(desk, chain[-1])["detail"] == f"the job waited for {chain[-2].id}, which ended as failed"
    desk.commit(desk.claim())
    assert len(desk.line()) < CHAINED_A_CALL
    ledger.settle_chains()
    assert CHAINED_A_CALL <= len(desk.line()) < 2 * CHAINED_A_CALL
    assert settle(ledger) <= 4
    assert sorted(desk.line()) == sorted(job.id for job in fan)


def test_a_repeated_submit_gets_the_first_answer(desk, ledger):
    source = desk.submit()
    job = desk.submit(waits_for=[source.id])
    desk.commit(desk.claim())
    assert ledger.submit(job).job_id == job.id
    assert desk.status(job) == "queued"
    desk.drain()
    assert ledger.submit(job).job_id == job.id
    assert not ledger.is_needed("acme", source.id)


def test_a_damaged_dependent_stops_no_other(desk, ledger):
    source = desk.submit()
    jobs = [desk.submit(waits_for=[source.id]) for _ in range(3)]
    ledger.redis.hset(keys.job(jobs[0].id), "priority", "high")
    ledger.redis.delete(keys.job(jobs[1].id))
    desk.commit(desk.claim())
    settle(ledger)
    assert [desk.status(jobs[0]), desk.status(jobs[2])] == ["failed", "queued"]
    assert not ledger.redis.exists(keys.SETTLING)


def test_an_end_that_an_older_release_has_written_is_told_by_the_keeper(desk, ledger, journal):
    """Its script knows no chains: the journal's entry has `needed` and `sources` all the same."""
    source = desk.submit()
    job, other = desk.submit(waits_for=[source.id]), desk.submit(waits_for=[source.id])
    desk.commit(desk.claim())
    desk.drain()
    ledger.redis.zadd(keys.dependents("acme", source.id), {job.id: 1})
    ledger.redis.hset(keys.job(other.id), mapping={"status": "scheduled", "waits": source.id})
    ledger.redis.hdel(keys.job(other.id), "ended_ms")
    ledger.redis.zadd(keys.dependents("acme", source.id), {other.id: 0})
    ledger.note_ends([entry for entry in journal() if entry["type"] == "ended" and entry["id"] != other.id])
    settle(ledger)
    assert desk.status(other) == "queued"
    assert ledger.redis.zrange(keys.dependents("acme", source.id), 0, -1) == [other.id]


def test_a_restored_job_is_judged_anew(desk, ledger):
    desk.commit(source := desk.running())
    kept, gone = new_id("job"), new_id("job")
    token = fenced(ledger)
    made = {
        "queued": make_fixed(waits_for=[source.fixed.id, kept], in_archive=frozenset({kept})),
        "failed": make_fixed(waits_for=[kept, gone], in_archive=frozenset({kept})),
    }
    for fixed in made.values():
        ledger.submit(fixed, restoring=token)
    settle(ledger)
    assert {desk.status(fixed): fixed for fixed in made.values()} == made
    assert error(desk, made["failed"])["detail"] == f"the job waited for {gone}, which no longer exists"
