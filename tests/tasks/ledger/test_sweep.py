"""renew and sweep: an attempt whose worker fell silent goes to another, and the token decides, not the clock."""

import pytest

from tasks.errors import LeaseLost
from tasks.job import Job
from tasks.ledger import Worker, keys


def lapsed(desk, clock, claimed):
    """The keeper runs all the while; the worker renews no more."""
    desk.swept()
    clock.forward(1)
    desk.swept(after_s=25)
    return desk.record(claimed)


def test_a_job_whose_lease_lapsed_goes_to_another_worker(desk, ledger, clock):
    claimed = desk.running()
    lapsed(desk, clock, claimed)
    assert desk.attempts(claimed) == [("retry", "worker_lost")]
    again = desk.claim(worker="w2")
    assert (again.fixed, again.number) == (claimed.fixed, 2)
    assert desk.commit(again) == "succeeded"


def test_the_sweep_names_the_queue_that_wants_a_bell(desk, clock):
    desk.swept(after_s=25)
    desk.running()
    assert desk.swept(after_s=12) == ["cpu.generate"]


def test_a_renewed_lease_is_left_alone(desk, ledger, clock):
    """As long as the worker renews, a job may run for hours."""
    claimed = desk.running()
    for _ in range(60):
        desk.swept(after_s=5)
        ledger.renew(desk.worker)
    assert desk.status(claimed) == "running" and desk.commit(claimed) == "succeeded"


def test_until_the_sweep_comes_a_late_commit_succeeds(desk, clock):
    claimed = desk.running()
    clock.forward(3600)
    assert desk.commit(claimed) == "succeeded"


def test_until_the_sweep_comes_a_late_renewal_keeps_the_job(desk, ledger, clock):
    claimed = desk.running()
    desk.swept(after_s=9)
    clock.forward(1.5)
    assert [held.state for held in ledger.renew(desk.worker)[1]] == ["running"]
    desk.swept(after_s=9)
    assert desk.commit(claimed) == "succeeded"


def test_after_the_sweep_the_old_token_is_lost(desk, ledger, clock):
    """It hears so from every verb, and changes nothing, even while nobody else has the job yet."""
    claimed = desk.running()
    before = lapsed(desk, clock, claimed)
    for _ in range(2):
        assert desk.commit(claimed, text="late") == "lost"
        assert desk.fail(claimed) == "lost"
        assert desk.release(claimed) == "lost"
        assert ledger.report(claimed.fixed.id, claimed.token, "running", 0.9) == "lost"
        assert [held.state for held in ledger.renew(desk.worker)[1]] == ["lost"]
    assert desk.record(claimed) == before


def test_the_slot_of_a_lost_attempt_can_claim_again(desk, ledger, clock):
    claimed = desk.running()
    lapsed(desk, clock, claimed)
    again = desk.claim(slot=claimed.fixed.id)
    assert again.fixed == claimed.fixed
    assert [(held.token, held.state) for held in ledger.renew(desk.worker)[1]] == [(again.token, "running")]


def test_the_claim_of_a_lost_attempt_repeated_late_gives_nothing(desk, ledger, clock):
    """Whether the job waits again or another worker has it."""
    token, job = desk.token(), desk.submit()
    claimed = ledger.claim(desk.worker, "w1:0", token)
    lapsed(desk, clock, claimed)
    desk.claim(worker="w2")
    assert ledger.claim(desk.worker, "w1:0", token) is None
    assert desk.record(job)["worker"] == "w2"


def test_a_crash_counts_as_an_attempt(desk, ledger, clock):
    """A job that kills its workers ends as a dead letter."""
    claimed = desk.running(max_attempts=2)
    for n in range(2):
        lapsed(desk, clock, claimed)
        if n == 0:
            desk.claim(worker="w2")
    seen = Job.of_record(ledger.record(claimed.fixed.id))
    assert (seen.status, seen.error.code, seen.error.retryable) == ("failed", "worker_lost", True)
    assert "10 s" in seen.error.detail


def test_after_a_gap_nothing_is_taken_for_one_lease(desk, ledger, clock):
    """Redis was frozen, or a laptop closed: workers that live still get a lease to renew."""
    desk.swept(after_s=25)
    claimed = desk.running()
    clock.forward(3600)
    desk.swept(after_s=9)
    assert desk.status(claimed) == "running"
    ledger.renew(desk.worker)
    desk.swept(after_s=9)
    assert desk.status(claimed) == "running" and desk.commit(claimed) == "succeeded"


def test_a_keeper_that_is_late_by_seconds_takes_what_has_lapsed(desk, clock):
    """A busy machine: less than half a lease is no gap, or each such moment would put the sweep off by a whole one."""
    desk.swept()
    clock.forward(1)
    desk.swept(after_s=20)
    claimed = desk.running()
    for _ in range(3):
        clock.forward(4)
        desk.swept()
    assert desk.status(claimed) == "queued"


def test_after_a_gap_a_worker_that_is_gone_is_found_one_lease_later(desk, clock):
    desk.swept(after_s=25)
    claimed = desk.running()
    clock.forward(3600)
    desk.swept(after_s=11)
    assert desk.attempts(claimed) == [("retry", "worker_lost")]


def test_the_first_sweep_of_all_takes_nothing(desk, clock):
    """A restored Redis does not know when it was last swept."""
    claimed = desk.running()
    clock.forward(100)
    assert desk.swept() == [] and desk.status(claimed) == "running"


def test_two_keepers_may_sweep_at_once(desk, clock):
    claimed = desk.running()
    for _ in range(25):
        clock.forward(1)
        desk.swept(), desk.swept()
    assert desk.attempts(claimed) == [("retry", "worker_lost")]


def test_one_pools_sweep_leaves_the_other_pool_alone(desk, clock):
    claimed = desk.running(pool="gpu")
    desk.swept(after_s=60)
    assert desk.status(claimed) == "running"


def test_a_worker_hears_of_all_its_slots_and_no_other(desk, ledger):
    for worker, slot in (("w1", "0"), ("w1", "1"), ("w2", "0")):
        desk.submit()
        desk.claim(worker=worker, slot=slot)
    assert sorted(held.slot for held in ledger.renew(desk.worker)[1]) == ["w1:0", "w1:1"]


def test_a_slot_that_is_free_is_not_told_of(desk, ledger):
    desk.commit(desk.running())
    assert ledger.renew(desk.worker)[1] == []


def test_renewing_twice_answers_alike(desk, ledger):
    desk.running()
    assert ledger.renew(desk.worker) == ledger.renew(desk.worker)


def test_a_worker_is_listed_until_its_lease_would_lapse(desk, ledger, clock):
    ledger.renew(desk.worker, about={"slots": "4"})
    assert ledger.redis.zscore(keys.WORKERS, "w1") == clock.ms + 10_000
    told = ledger.redis.hgetall(keys.worker("w1"))
    assert (told["pool"], told["queues"], told["slots"], told["draining"]) == (
        "cpu",
        "cpu.generate,cpu.caption",
        "4",
        "0",
    )


def prefix(claimed) -> str:
    return f"tenants/acme/jobs/{claimed.fixed.id}/{claimed.number}-{claimed.token[-8:]}/"


@pytest.mark.parametrize("say", ["commit", "fail"])
def test_what_a_lost_attempt_uploads_after_the_sweep_goes_too(desk, ledger, clock, say):
    """The trash was emptied before the zombie woke: what it says then puts its prefix there again, and no other's."""
    zombie = desk.running()
    lapsed(desk, clock, zombie)
    again = desk.claim(worker="w2")
    ledger.redis.delete(keys.TRASH)
    tell = {
        "commit": lambda: ledger.commit(zombie.fixed.id, zombie.token, {}, [], {}, zombie.number),
        "fail": lambda: ledger.fail(zombie.fixed.id, zombie.token, LeaseLost("x"), number=zombie.number),
    }[say]
    assert tell() == "lost"
    assert ledger.redis.zrange(keys.TRASH, 0, -1, withscores=True) == [(prefix(zombie), clock.ms + 60_000)]
    assert ledger.commit(again.fixed.id, again.token, {}, [], {}, again.number) == "succeeded"
    assert ledger.redis.zrange(keys.TRASH, 0, -1) == [prefix(zombie)]


@pytest.mark.parametrize("told", [True, False], ids=["its answer is known", "its answer is forgotten"])
def test_a_commit_that_is_asked_for_again_never_trashes_what_it_committed(desk, ledger, told):
    """However late it asks, also when the record has shrunk and no longer says who committed."""
    claimed = desk.running()

    def again() -> str:
        return ledger.commit(claimed.fixed.id, claimed.token, {}, [], {}, claimed.number)

    assert again() == "succeeded"
    if not told:
        ledger.redis.hset(keys.job(claimed.fixed.id), "shrunk", 1)
        ledger.redis.hdel(keys.job(claimed.fixed.id), f"t:{claimed.token}")
    assert again() == ("succeeded" if told else "lost")
    assert not ledger.redis.exists(keys.TRASH)


def test_the_checkpoints_go_when_the_job_ends(desk, ledger, clock):
    """Not before: the next attempt reads what the last one noted, and only who owns the job may note."""
    first = desk.running()
    key = f"tenants/acme/jobs/{first.fixed.id}/checkpoints/1-{first.token[-8:]}"
    assert ledger.report(first.fixed.id, first.token, checkpoint=key) == "noted"
    desk.fail(first)
    second = desk.claim()
    assert second.record["checkpoint"] == key
    assert ledger.report(first.fixed.id, first.token, checkpoint="another") == "lost"
    desk.commit(second)
    assert "checkpoint" not in desk.record(second)
    assert ledger.redis.zrange(keys.TRASH, 0, -1) == [prefix(first), f"tenants/acme/jobs/{first.fixed.id}/checkpoints/"]


def test_a_job_without_checkpoints_leaves_no_trash(desk, ledger):
    desk.commit(desk.running())
    assert not ledger.redis.exists(keys.TRASH)


def test_a_worker_that_is_gone_counts_no_more(ledger, clock):
    ledger.renew(Worker("old", "cpu", ["cpu.generate"], []))
    clock.forward(ledger.settings.lease_s)
    ledger.renew(Worker("new", "cpu", ["cpu.generate"], []))
    assert ledger.redis.zrange(keys.WORKERS, 0, -1) == ["new"]
