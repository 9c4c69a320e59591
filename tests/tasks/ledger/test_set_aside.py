"""A member of a line or of a list whose record is missing or cannot be read is a fault of that one job: it is set
aside, told of, ended where that can be, and every other job is handed out, swept and ended as ever."""

import pytest

from tasks.errors import DeadlineExceeded, LedgerFault
from tasks.ledger import keys
from tests.conftest import make_worker

BROKEN = {
    "gone": lambda redis, key: redis.delete(key),
    "another type": lambda redis, key: (redis.delete(key), redis.rpush(key, "x")),
    "no status": lambda redis, key: redis.hdel(key, "status"),
    "no line": lambda redis, key: redis.hdel(key, "line"),
    "no request": lambda redis, key: redis.hdel(key, "fixed"),
    "no number": lambda redis, key: redis.hset(key, "max", "three"),
    "no bytes of text": lambda redis, key: redis.eval("redis.call('HSET', KEYS[1], 'keep_ms', '\\255')", 1, key),
}


@pytest.fixture(params=BROKEN)
def spoil(request, ledger):
    """Breaks a job's record; says whether enough is left of it to be failed."""

    def broken(job):
        BROKEN[request.param](ledger.redis, keys.job(job.id))
        return request.param not in ("gone", "another type")

    return broken


def faults(ledger):
    return [(entry["verb"], entry["id"]) for _, entry in ledger.redis.xrange(keys.FAULTS)]


def nowhere(ledger, job):
    """Whether no list leads to the job that a verb goes through."""
    redis = ledger.redis
    return not any(
        redis.zscore(key, job.id) for key in (keys.line(job.line), keys.leases("cpu"), keys.DUE, keys.EXPIRIES)
    )


def failed(ledger, job):
    return ledger.record(job.id)["status"] == "failed" and "ledger_fault" in ledger.record(job.id)["error"]


def test_its_end_is_journaled_as_its_record_stands(desk, ledger, journal, spoil):
    job = desk.submit()
    if spoil(job):
        assert desk.claim() is None
        entry = next(entry for entry in journal() if entry["type"] == "ended")
        assert entry == {**ledger.record(job.id), "type": "ended", "id": job.id}


def test_claim_goes_on_to_the_next(desk, ledger, spoil):
    """However many stand before it; whose they were is counted right."""
    bad = [desk.submit(tenant=tenant) for tenant in ("acme", "acme", "rival")]
    good = desk.submit(tenant="acme")
    left = [spoil(job) for job in bad]
    assert desk.claim().fixed == good
    assert sorted(faults(ledger)) == sorted(("claim", job.id) for job in bad)
    assert all(nowhere(ledger, job) for job in bad) and desk.claim(slot="1") is None
    assert set(ledger.redis.hgetall(keys.fair("cpu"))) == {"clock"}
    assert all(failed(ledger, job) for job, enough in zip(bad, left, strict=True) if enough)


def test_many_in_one_line_are_passed_over(desk, ledger):
    """More than one call of the script looks at."""
    for job in [desk.submit() for _ in range(130)]:
        ledger.redis.delete(keys.job(job.id))
    good = desk.submit()
    assert desk.claim().fixed == good


def test_a_running_job_that_stands_in_a_line_is_not_started_twice(desk, ledger):
    claimed = desk.running()
    ledger.redis.zadd(keys.line(claimed.fixed.line), {claimed.fixed.id: 0})
    good = desk.submit()
    assert desk.claim(slot="other").fixed == good
    assert desk.line() == [] and desk.commit(claimed) == "succeeded"


def test_sweep_takes_back_the_others(desk, ledger, spoil):
    bad, good = desk.running(), desk.running()
    enough = spoil(bad.fixed)
    desk.swept(after_s=12)
    assert desk.attempts(good) == [("retry", "worker_lost")]
    assert not ledger.redis.zscore(keys.leases("cpu"), bad.fixed.id)
    assert not enough or (failed(ledger, bad.fixed) and faults(ledger) == [("sweep", bad.fixed.id)])


def test_due_puts_the_others_into_their_line(desk, ledger, clock, spoil):
    bad, good = (desk.submit(start_ms=clock.ms + 1000) for _ in range(2))
    enough = spoil(bad)
    clock.forward(2)
    ledger.due()
    assert desk.line() == [good.id] and not ledger.redis.zscore(keys.DUE, bad.id)
    assert not enough or failed(ledger, bad)


def test_expire_ends_the_others(desk, ledger, clock, spoil):
    bad, good = (desk.submit(queue_ttl_s=1) for _ in range(2))
    enough = spoil(bad)
    clock.forward(2)
    ledger.expire(DeadlineExceeded(""))
    assert desk.status(good) == "expired" and not ledger.redis.zscore(keys.EXPIRIES, bad.id)
    assert not enough or failed(ledger, bad)


def test_renew_extends_the_others_and_says_that_the_one_is_lost(desk, ledger, clock, spoil):
    """Within ten seconds, in each of which it reads other slots' records whole."""
    bad, good = desk.running(), desk.running()
    spoil(bad.fixed)
    for _ in range(10):
        clock.forward(1)
        _, held = ledger.renew(make_worker())
        assert ledger.redis.zscore(keys.leases("cpu"), good.fixed.id) > clock.ms
    assert {slot.job_id: slot.state for slot in held} == {bad.fixed.id: "lost", good.fixed.id: "running"}
    assert (ledger.redis.zscore(keys.leases("cpu"), bad.fixed.id) or 0) <= clock.ms


def test_renew_answers_the_same_whether_it_reads_a_record_whole_or_not(desk, ledger, clock):
    desk.running(deadline_s=60)
    desk.running()
    answers = []
    for _ in range(20):
        clock.forward(1)
        answers.append(ledger.renew(make_worker())[1])
    assert len(answers[0]) == 2 and answers == 20 * [answers[0]]


@pytest.mark.parametrize("field", ["phase_ms", "run_ms", "deadline_ms"])
def test_renew_answers_no_number_that_is_none(desk, ledger, clock, field):
    bad = desk.running()
    ledger.redis.hset(keys.job(bad.fixed.id), field, "soon")
    for _ in range(2):
        clock.forward(1)
        assert [slot.state for slot in ledger.renew(make_worker())[1]] == ["lost"]


def test_a_slot_whose_old_job_cannot_be_read_gets_a_new_one(desk, ledger, spoil):
    bad = desk.submit()
    desk.claim(slot="0")
    spoil(bad)
    good = desk.submit()
    assert desk.claim(slot="0").fixed == good


def test_a_verb_about_that_one_job_says_what_is_wrong(desk, ledger):
    """And does nothing."""
    claimed = desk.running()
    ledger.redis.hset(keys.job(claimed.fixed.id), "keep_ms", "long")
    before = ledger.record(claimed.fixed.id)
    with pytest.raises(LedgerFault, match=f"the record of {claimed.fixed.id} cannot be read: keep_ms is no number"):
        desk.commit(claimed)
    assert ledger.record(claimed.fixed.id) == before


@pytest.mark.parametrize("index", [keys.dead, keys.stored, keys.tenant_jobs])
def test_a_tenants_index_of_another_type_keeps_no_job_from_its_end(desk, ledger, index):
    """The end is the record's; the index goes without it."""
    claimed = desk.running(max_attempts=1)
    done = desk.running()
    ledger.redis.delete(index("acme"))
    ledger.redis.set(index("acme"), "x")
    assert desk.fail(claimed) == "failed"
    assert ledger.commit(done.fixed.id, done.token, {}, [{"bytes": 5}], {}) == "succeeded"
    ledger.forget(claimed.fixed)
    assert ledger.record(claimed.fixed.id) is None


def test_an_attempt_whose_entry_cannot_be_read_ends(desk, ledger):
    claimed = desk.running()
    ledger.redis.hset(keys.job(claimed.fixed.id), "attempt:1", "{")
    assert desk.commit(claimed) == "succeeded"
    assert desk.attempts(claimed) == [("succeeded", None)]
