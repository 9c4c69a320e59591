"""claim: the next job of the lines a worker serves, under a token that from then on decides."""

from dataclasses import replace

import pytest

from tasks.job import Job
from tasks.ledger import keys
from tests.conftest import make_fixed, make_worker
from tests.tasks.ledger.conftest import with_lines


def test_one_job_goes_to_one_of_two_workers(desk, ledger):
    """The second claimant finds nothing."""
    job = desk.submit()
    assert desk.claim(worker="w1").fixed == job
    assert desk.claim(worker="w2") is None
    seen = Job.of_record(ledger.record(job.id))
    assert (seen.status, seen.phase, seen.queue_position) == ("running", "running", None)
    assert [(a.number, a.worker, a.outcome) for a in seen.attempts] == [(1, "w1", None)]


def test_jobs_of_one_tenant_come_in_the_order_of_their_submits(desk):
    jobs = [desk.submit() for _ in range(20)]
    assert desk.drain() == jobs


def test_nothing_waits_nothing_is_given(desk):
    assert desk.claim() is None


def test_a_worker_gets_jobs_of_its_lines_alone(desk, ledger, worker):
    """A worker of an older release is never handed a model it does not know."""
    new, known = desk.submit(model="gru"), desk.submit()
    assert ledger.claim(worker, "w1:0", desk.token()).fixed == known
    assert ledger.claim(worker, "w1:1", desk.token()) is None
    assert ledger.claim(with_lines(worker, "cpu.generate:gru"), "w1:2", desk.token()).fixed == new


def test_the_first_head_among_all_lines_is_taken(desk):
    """Lines of several models and kinds are served as if they were one."""
    kinds = [{"kind": "generate", "model": "lstm"}, {"kind": "caption", "model": "cnn-lstm"}]
    jobs = [desk.submit(**kinds[n % 3 == 0]) for n in range(12)]
    assert desk.drain() == jobs


def test_claiming_twice_with_one_token_gives_the_same_attempt(desk, ledger, worker):
    """The reply was lost: the repetition gets the same job, and no second one starts."""
    jobs = [desk.submit(), desk.submit()]
    token = desk.token()
    first = ledger.claim(worker, "w1:0", token)
    again = ledger.claim(worker, "w1:0", token)
    assert (first.fixed, first.number) == (again.fixed, again.number) == (jobs[0], 1)
    assert desk.status(jobs[1]) == "queued"


def test_a_token_whose_attempt_has_ended_claims_nothing_more(desk, ledger, worker):
    desk.submit(), desk.submit()
    claimed = ledger.claim(worker, "w1:0", token := desk.token())
    desk.commit(claimed)
    assert ledger.claim(worker, "w1:0", token) is None


def test_an_older_token_that_arrives_late_disturbs_nothing(desk, ledger, worker):
    """Claims of one slot may be delayed in the network; only the newest counts."""
    older, newer = desk.token(), desk.token()
    job = desk.submit()
    claimed = ledger.claim(worker, "w1:0", newer)
    desk.submit()
    assert ledger.claim(worker, "w1:0", older) is None
    assert desk.status(job) == "running" and desk.commit(claimed) == "succeeded"


def test_a_slot_that_claims_anew_hands_back_what_it_held(desk):
    """A slot runs one job. The one handed back is next, its start not counted against it."""
    held, other = desk.submit(max_attempts=1), desk.submit()
    first = desk.claim(slot="0")
    second = desk.claim(slot="0")
    assert (first.fixed, second.fixed, second.number) == (held, held, 2)
    assert desk.attempts(held) == [("released", None), (None, None)]
    assert desk.commit(first) == "released" and desk.commit(second) == "succeeded"
    assert desk.claim(slot="0").fixed == other


def test_a_draining_worker_is_given_nothing(desk, ledger, worker):
    job = desk.submit()
    ledger.renew(worker, draining=True)
    assert desk.claim() is None
    assert desk.claim(worker="w2").fixed == job


def test_a_worker_that_drains_no_more_is_served_again(desk, ledger, worker):
    job = desk.submit()
    ledger.renew(worker, draining=True)
    ledger.renew(worker)
    assert desk.claim().fixed == job


def test_waiting_and_running_are_told_apart_in_the_metrics(desk, ledger, clock):
    """queued_s is all waiting, over several attempts, and no running."""
    job = desk.submit()
    clock.forward(2)
    first = desk.claim()
    clock.forward(10)
    desk.release(first)
    clock.forward(3)
    desk.claim()
    seen = Job.of_record(ledger.record(job.id))
    assert seen.metrics.queued_s == 5
    assert (seen.started_at - seen.created_at).total_seconds() == 2


@pytest.mark.parametrize("size", [200, 30_000])
def test_a_record_comes_with_all_that_was_submitted(desk, ledger, size):
    """Quotes, line ends and every script survive Lua and JSON."""
    fixed = make_fixed(input={"prompt": "é🎬\n\"'\\\x00" * (size // 10)}, params={"stop": ["</s>"], "temperature": 0.1})
    ledger.submit(fixed)
    assert desk.claim().fixed == fixed


def test_two_pools_do_not_share_lines(desk):
    cpu, gpu = desk.submit(), desk.submit(pool="gpu")
    assert desk.claim(pool="gpu", worker="g1").fixed == gpu
    assert desk.claim(pool="gpu", worker="g1", slot="1") is None
    assert desk.claim().fixed == cpu


def test_a_worker_without_lines_gets_nothing(desk, ledger):
    desk.submit()
    assert ledger.claim(with_lines(make_worker()), "w1:0", desk.token()) is None


def test_a_worker_gets_no_more_of_one_model_than_it_may_hold(desk, ledger, worker):
    """Two of the busy model, then the other model's, though it is behind; one that ended makes room for the next."""
    few = replace(worker, most=[2, 0])
    busy = [desk.submit() for _ in range(8)]
    idle = [desk.submit(kind="caption", model="cnn-lstm", priority=-10) for _ in range(3)]
    claimed = [ledger.claim(few, f"w1:7:{n}", desk.token()) for n in range(6)]
    assert [c and c.fixed for c in claimed] == [*busy[:2], *idle, None]
    desk.commit(claimed[0])
    assert ledger.claim(few, "w1:7:0", desk.token()).fixed == busy[2]
    assert ledger.claim(few, "w1:7:5", desk.token()) is None


def test_what_another_worker_holds_does_not_count(desk, ledger):
    for _ in range(4):
        desk.submit()
    two = {name: replace(make_worker(name), most=[2, 2]) for name in ("w1", "w2")}
    claimed = [ledger.claim(two[name], f"{name}:7:{n}", desk.token()) for name in two for n in range(3)]
    assert [bool(c) for c in claimed] == [True, True, False] * 2


def test_a_slot_that_may_take_none_of_a_line_is_not_woken_for_it(desk, ledger, worker):
    """The next submit wakes a worker that can."""
    few = replace(worker, most=[1, 1], queues=["cpu.generate"])
    desk.submit()
    ledger.claim(few, "w1:7:0", desk.token())
    assert ledger.claim(few, "w1:7:1", desk.token(), linger_s=1) is None
    assert not ledger.redis.exists(keys.idle("cpu.generate"))


def test_a_job_drained_three_times_goes_to_a_worker_that_is_up_for_longer(desk, ledger, clock):
    """An autoscaler ends the youngest first. For half a minute a young one gets what is behind it; then any may."""
    for name in ("old", "middle", "young"):
        ledger.renew(make_worker(name))
        clock.forward(2)
    drained = desk.submit()
    for _ in range(3):
        desk.release(desk.claim(), cause="drain")
    behind = desk.submit()
    assert desk.claim(worker="young").fixed == behind
    assert desk.claim(worker="young", slot="1") is None
    taken = desk.claim(worker="old")
    assert taken.fixed == drained
    desk.release(taken, cause="drain")
    for _ in range(4):
        clock.forward(8)
        [ledger.renew(make_worker(name)) for name in ("old", "middle", "young")]
    assert desk.claim(worker="young", slot="1").fixed == drained


def test_a_drained_job_goes_to_the_only_worker_there_is(desk, ledger, clock):
    """One that drains is no better than none."""
    ledger.renew(make_worker("old"), draining=True)
    clock.forward(5)
    ledger.renew(make_worker("young"))
    drained = desk.submit()
    for _ in range(3):
        desk.release(desk.claim(), cause="drain")
    assert desk.claim(worker="young").fixed == drained


def needed(record):
    """What a claim answers of a record."""
    return {name: record[name] for name in ("fixed", "starts", "slot", "checkpoint") if name in record}


def test_a_claim_answers_the_record_as_it_stands(desk, ledger):
    """First, after a retry, after a release, and asked again."""
    first = desk.running(deadline_s=60)
    assert first.record == needed(ledger.record(first.fixed.id))
    desk.release(first)
    second = desk.claim()
    assert second.record == needed(ledger.record(first.fixed.id))
    ledger.report(second.fixed.id, second.token, checkpoint="a/key")
    desk.fail(second)
    third, token = desk.claim(), f"{desk.tokens:032d}"
    assert third.record == needed(ledger.record(first.fixed.id))
    assert ledger.claim(desk.worker, "w1:0", token).record == third.record
