"""Jobs that ask for the same work: one leads, the others follow; its result answers them and later ones."""

import json

import pytest

from tasks.errors import Conflict, DeadlineExceeded, ModelFailed
from tasks.ledger import keys
from tests.conftest import make_fixed
from tests.tasks.ledger.conftest import AWAY

DIGEST, OTHER = "ab" * 32, "cd" * 32
OUTPUTS = [
    {"name": "a.txt", "media_type": "text/plain", "bytes": 7, "sha256": "0", "key": "tenants/acme/jobs/x/1-aaaa/a.txt"}
]


def commit(desk, claimed, outputs=()):
    """The attempt's end with a result that names its job."""
    made = {"text": claimed.fixed.id}
    named = [{**one, "key": f"tenants/acme/jobs/{claimed.fixed.id}/1-aaaa/{one['name']}"} for one in outputs]
    return desk.ledger.commit(claimed.fixed.id, claimed.token, made, named, {})


def done(desk, **changes):
    """A job that has done the work."""
    job = desk.submit(cache=DIGEST, **changes)
    commit(desk, desk.claim(), OUTPUTS)
    return job


def test_a_job_whose_work_was_done_has_succeeded_at_once(desk):
    """It takes no place in a line, and its end is told like any other."""
    first = done(desk)
    job = make_fixed(cache=DIGEST)
    submitted = desk.ledger.submit(job)
    assert (submitted.answered, submitted.bell) == ("succeeded", False) and desk.line() == []
    record = desk.record(job)
    assert (record["status"], record["cached_from"], record["cited"]) == ("succeeded", first.id, "1-aaaa")
    assert (record["result"], record["outputs"]) == (desk.record(first)["result"], desk.record(first)["outputs"])
    entries = [entry["type"] for _, entry in desk.ledger.redis.xrange(keys.JOURNAL) if entry["id"] == job.id]
    assert entries == ["accepted", "ended"]
    assert desk.ledger.submit(job).answered == "succeeded"  # asked twice
    assert desk.ledger.redis.hgetall(keys.stored("acme")) == {first.id: "7"}
    assert desk.ledger.redis.zcard(keys.EXPIRIES) == 0


@pytest.mark.parametrize("change", [{"tenant": "rival"}, {"cache": OTHER}, {"cache": None}, {"cache": ""}])
def test_no_other_work_and_no_other_tenant_is_answered(desk, change):
    done(desk)
    job = desk.submit(**{"cache": DIGEST, **change})
    assert desk.status(job) == "queued" and desk.line() == [job.id]


def test_it_is_answered_within_retention(desk, clock):
    """Each citation prolongs it to its own end of retention."""
    first = done(desk, retention_s=100)
    clock.forward(90)
    assert desk.status(desk.submit(cache=DIGEST, retention_s=20)) == "succeeded"
    clock.forward(15)
    desk.ledger.forget(first)
    later = desk.submit(cache=DIGEST, retention_s=1)
    assert desk.record(later)["cached_from"] == first.id
    clock.forward(6)
    assert desk.status(desk.submit(cache=DIGEST)) == "queued"


def test_of_ten_at_once_one_runs(desk):
    """The others wait, in no line, and end with the one that ran."""
    jobs = [desk.submit(cache=DIGEST) for _ in range(10)]
    assert desk.line() == [jobs[0].id]
    assert {desk.status(job) for job in jobs} == {"queued"}
    assert desk.ledger.redis.scard(keys.later("acme")) == 9
    records = [desk.record(job) for job in jobs]
    assert desk.ledger.why_they_wait(records)[1] == f"waits for {jobs[0].id}, which does the same work"
    commit(desk, desk.claim(), OUTPUTS)
    assert {desk.status(job) for job in jobs} == {"succeeded"}
    assert [desk.record(job).get("cached_from") for job in jobs] == [None] + 9 * [jobs[0].id]
    assert desk.ledger.redis.exists(keys.same("acme", DIGEST), keys.later("acme"), keys.HANDING) == 0
    assert len(desk.ledger.redis.smembers(keys.cited("acme", jobs[0].id))) == 9


def test_many_followers_are_cited_in_steps(desk):
    """The end cites ten, each call of the keeper twenty."""
    jobs = [desk.submit(cache=DIGEST) for _ in range(55)]
    commit(desk, desk.claim())
    ended = []
    for _ in range(4):
        ended.append(sum(desk.status(job) == "succeeded" for job in jobs))
        left = desk.ledger.hand_on()
    assert ended == [11, 31, 51, 55] and left == 0
    assert desk.ledger.hand_on() == 0


@pytest.mark.parametrize("end", ["fail", "cancel", "expire"])
def test_where_the_leader_does_not_succeed_the_next_one_leads(desk, clock, end):
    jobs = [desk.submit(cache=DIGEST, queue_ttl_s=10 if n == 0 else 100) for n in range(3)]
    if end == "fail":
        claimed = desk.claim()
        desk.ledger.fail(claimed.fixed.id, claimed.token, ModelFailed("boom"))
    elif end == "cancel":
        desk.cancel(jobs[0])
    else:
        clock.forward(11)
        desk.ledger.expire(DeadlineExceeded(""))
    assert [desk.status(job) for job in jobs[1:]] == ["queued", "queued"] and desk.line() == [jobs[1].id]
    assert "follows" not in desk.record(jobs[1]) and "follows" in desk.record(jobs[2])
    commit(desk, desk.claim())
    assert desk.record(jobs[2])["cached_from"] == jobs[1].id


def test_a_leader_that_is_tried_again_leads_on(desk):
    jobs = [desk.submit(cache=DIGEST) for _ in range(2)]
    claimed = desk.claim()
    assert desk.ledger.fail(claimed.fixed.id, claimed.token, AWAY, 0) == "queued"
    assert desk.line() == [jobs[0].id]


def test_followers_are_canceled_and_expire_by_themselves(desk, clock):
    leader, one, other = (desk.submit(cache=DIGEST, queue_ttl_s=ttl) for ttl in (100, 100, 5))
    desk.cancel(one)
    clock.forward(6)
    assert desk.ledger.expire(DeadlineExceeded("")) == [other.id]
    assert [desk.status(job) for job in (leader, one, other)] == ["queued", "canceled", "expired"]
    assert desk.ledger.redis.zrange(keys.same("acme", DIGEST), 0, -1) == [leader.id]
    assert desk.ledger.redis.exists(keys.later("acme")) == 0
    with pytest.raises(Conflict):
        desk.ledger.forget(leader)


def test_followers_count_as_waiting_and_keep_no_share(desk):
    """Whoever comes after them has the tag of one who comes after the leader."""
    [desk.submit(cache=DIGEST) for _ in range(5)]
    after = desk.submit()
    assert float(desk.record(after)["tag"]) == 2
    assert desk.ledger.limits("acme").waiting == 6


class TestAfterTheFetch:
    def test_done_work_ends_the_attempt(self, desk):
        first = done(desk)
        claimed = desk.running(cache="")
        assert desk.ledger.cite(claimed.fixed.id, DIGEST, claimed.token) == "succeeded"
        assert desk.ledger.cite(claimed.fixed.id, DIGEST, claimed.token) == "succeeded"
        assert desk.record(claimed)["cached_from"] == first.id
        assert desk.attempts(claimed) == [("succeeded", None)]
        assert desk.ledger.renew(desk.worker)[1] == []

    def test_the_first_leads_and_the_second_waits_uncounted(self, desk):
        one, two = desk.running(cache=""), desk.running(cache="", max_attempts=1)
        assert desk.ledger.cite(one.fixed.id, DIGEST, one.token) == "leads"
        assert [desk.ledger.cite(two.fixed.id, DIGEST, two.token) for _ in range(2)] == ["released", "released"]
        assert desk.status(two.fixed) == "queued" and desk.line() == []
        assert desk.ledger.cite(one.fixed.id, DIGEST, one.token) == "leads"
        desk.ledger.fail(one.fixed.id, one.token, ModelFailed("boom"))
        again = desk.claim()
        assert again.fixed.id == two.fixed.id
        assert desk.ledger.cite(again.fixed.id, DIGEST, again.token) == "leads"
        assert commit(desk, again) == "succeeded"

    def test_other_work_than_the_submit_knew_hands_its_place_on(self, desk):
        """The worker's weights are others than the API's."""
        claimed, follower = desk.running(cache=DIGEST), desk.submit(cache=DIGEST)
        assert desk.ledger.cite(claimed.fixed.id, OTHER, claimed.token) == "leads"
        assert desk.line() == [follower.id]
        commit(desk, claimed)
        assert desk.status(follower) == "queued"

    def test_a_job_that_is_canceling_follows_none(self, desk):
        one, two = desk.running(cache=""), desk.running(cache="")
        desk.ledger.cite(one.fixed.id, DIGEST, one.token)
        desk.cancel(two.fixed)
        assert desk.ledger.cite(two.fixed.id, DIGEST, two.token) == "leads"

    def test_a_lost_attempt_hears_so(self, desk):
        claimed = desk.running(cache="")
        assert desk.ledger.cite(claimed.fixed.id, DIGEST, "0" * 32) == "lost"


class TestOutputs:
    def test_they_stay_until_the_last_that_lists_them_goes(self, desk):
        first = done(desk)
        others = [desk.submit(cache=DIGEST) for _ in range(2)]
        desk.ledger.forget(first)
        assert [desk.ledger.let_go("acme", first.id) for _ in range(2)] == ["1-aaaa", "1-aaaa"]
        desk.ledger.forget(others[0])
        assert desk.ledger.let_go("acme", others[0].id) == ""
        folder = f"tenants/acme/jobs/{first.id}/1-aaaa/"
        assert desk.ledger.redis.zscore(keys.TRASH, folder) is None
        assert desk.ledger.redis.hget(keys.stored("acme"), first.id) == "7"
        desk.ledger.forget(others[1])
        assert [desk.ledger.let_go("acme", others[1].id) for _ in range(2)] == ["", ""]
        assert desk.ledger.redis.zscore(keys.TRASH, folder)
        assert desk.ledger.redis.exists(keys.citing("acme"), keys.cited("acme", first.id), keys.stored("acme")) == 0

    def test_the_one_that_ran_goes_last(self, desk):
        first = done(desk)
        other = desk.submit(cache=DIGEST)
        desk.ledger.forget(other)
        assert desk.ledger.let_go("acme", other.id) == ""
        assert desk.ledger.redis.zscore(keys.TRASH, f"tenants/acme/jobs/{first.id}/1-aaaa/") is None
        assert desk.ledger.let_go("acme", first.id) == ""

    def test_a_result_that_may_answer_others_stays_in_its_record(self, desk):
        first = done(desk)
        assert desk.ledger.is_citable(desk.record(first), first.id)
        other = desk.submit(cache=DIGEST, retention_s=90_000)
        assert desk.ledger.is_citable(desk.record(other), other.id)
        assert not desk.ledger.is_citable(desk.record(desk.submit()), "x")
        assert json.loads(desk.record(other)["result"]) == {"text": first.id}
