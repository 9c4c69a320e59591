"""Every verb's reply is lost once on its way: asked again, it gives the first answer, and nothing happens twice."""

import json
import math

import pytest
from pydantic import SecretStr

from tasks.errors import DeadlineExceeded, NotFound, NotReady
from tasks.ids import new_batch_id
from tasks.ledger import Commit, Idempotency, Ledger, Submitted, Wish, keys
from tasks.ledger.schedules import Scheduled
from tasks.ledger.shapes import Rate
from tasks.ledger.usage import Change
from tasks.webhook import WebhookRequest
from tests.conftest import make_fixed
from tests.tasks.ledger.conftest import AWAY, VERBS, Desk
from tests.tasks.ledger.proxy import Proxy

RECEIVER = WebhookRequest(url="https://a.example/x")


@pytest.fixture
def lossy(ledger, settings, clock, redis_server):
    """The same ledger behind a proxy. `set_epoch` has loaded the library: no lost reply is 'Function not found'."""
    with Proxy(redis_server.port) as proxy:
        url = SecretStr(settings.redis_url.get_secret_value().replace(f":{redis_server.port}/", f":{proxy.port}/"))
        behind = Ledger(settings.model_copy(update={"redis_url": url}), clock=clock)
        behind.redis.ping()
        behind.proxy = proxy
        yield behind


class Case:
    """One verb: what was before, what is asked through the proxy, what is heard, and what is true after."""

    def __init__(self, desk: Desk, lossy: Ledger, clock) -> None:
        self.desk, self.lossy, self.clock = desk, lossy, clock

    def submit(self):
        job = make_fixed()
        yield lambda: self.lossy.submit(job), Submitted(job.id, bell=True)
        assert self.desk.line() == [job.id] and self.entries(job.id) == ["accepted"]

    def claim(self):
        jobs, token = [self.desk.submit(), self.desk.submit()], self.desk.token()
        yield lambda: self.lossy.claim(self.desk.worker, "w1:0", token).fixed, jobs[0]
        assert [self.desk.status(job) for job in jobs] == ["running", "queued"]
        assert self.desk.attempts(jobs[0]) == [(None, None)]

    def claim_many(self):
        jobs, first = [self.desk.submit() for _ in range(4)], self.desk.claim(slot="0")
        commit = Commit(first.fixed.id, first.token, {"text": "x"}, [], {}, 1)
        asked = [Wish("w1:0", self.desk.token(), commit=commit), Wish("w1:1", self.desk.token())]

        def told():
            granted = self.lossy.claim_many(self.desk.worker, asked)
            return [(each.committed, each.claimed.fixed) for each in granted]

        yield told, [("succeeded", jobs[1]), ("", jobs[2])]
        assert [self.desk.status(job) for job in jobs] == ["succeeded", "running", "running", "queued"]
        assert self.entries(jobs[0].id) == ["accepted", "ended"]

    def renew(self):
        claimed = self.desk.running()
        yield lambda: [(h.token, h.state) for h in self.lossy.renew(self.desk.worker)[1]], [(claimed.token, "running")]
        assert self.desk.commit(claimed) == "succeeded"

    def report(self):
        claimed = self.desk.running()
        yield lambda: self.lossy.report(claimed.fixed.id, claimed.token, "running", 0.5), "noted"
        assert self.desk.record(claimed)["progress"] == "0.5000"

    def report_all(self):
        one, other = self.desk.running(), self.desk.running()
        told = [{"job_id": each.fixed.id, "token": each.token, "progress": 0.5} for each in (one, other)]
        yield lambda: self.lossy.report_all(told), ["noted", "noted"]
        assert [self.desk.record(each)["progress"] for each in (one, other)] == ["0.5000", "0.5000"]

    def commit(self):
        claimed = self.desk.running()
        yield lambda: self.lossy.commit(claimed.fixed.id, claimed.token, {"text": "x"}, [], {}), "succeeded"
        assert self.entries(claimed.fixed.id) == ["accepted", "ended"]

    def fail(self):
        claimed = self.desk.running(max_attempts=2)
        yield lambda: self.lossy.fail(claimed.fixed.id, claimed.token, AWAY), "queued"
        assert self.desk.attempts(claimed) == [("retry", "storage_unavailable")]
        assert self.desk.line() == [claimed.fixed.id]

    def release(self):
        claimed = self.desk.running()
        yield lambda: self.lossy.release(claimed.fixed.id, claimed.token), "released"
        assert self.desk.record(claimed)["releases"] == "1" and self.desk.line() == [claimed.fixed.id]

    def amend(self):
        """That a doorbell is needed is lost with the first answer; the keeper rings by what waits."""
        job = self.desk.submit(start_ms=self.clock.ms + 1000)
        new = job.model_copy(update={"start_ms": None, "priority": 3})
        yield lambda: self.lossy.amend(job, new, "change_1"), False
        assert self.desk.line() == [job.id] and self.entries(job.id) == ["accepted", "amended"]

    def put_schedule(self):
        new = Scheduled("schedule_1", "acme", "change_1", "{}", 5, 7)
        yield lambda: self.lossy.put_schedule(new), True
        assert self.desk.ledger.schedule("acme", "schedule_1") == new and self.entries("schedule_1") == ["schedule"]

    def cite(self):
        claimed, other = self.desk.running(cache="ab"), self.desk.running(cache="")
        self.desk.commit(claimed, text="x")
        yield lambda: self.lossy.cite(other.fixed.id, "ab", other.token), "succeeded"
        assert self.desk.record(other)["cached_from"] == claimed.fixed.id
        assert self.entries(other.fixed.id) == ["accepted", "ended"]

    def hand_on(self):
        jobs = [self.desk.submit(cache="ab") for _ in range(20)]
        self.desk.commit(self.desk.claim())
        yield self.lossy.hand_on, 0
        assert {self.desk.status(job) for job in jobs} == {"succeeded"}

    def let_go(self):
        claimed = self.desk.running(cache="ab")
        key = f"tenants/acme/jobs/{claimed.fixed.id}/1-aaaa/a"
        self.desk.ledger.commit(claimed.fixed.id, claimed.token, {}, [{"name": "a", "bytes": 1, "key": key}], {})
        self.desk.submit(cache="ab")
        yield lambda: self.lossy.let_go("acme", claimed.fixed.id), "1-aaaa"
        assert self.desk.ledger.redis.smismember(keys.cited("acme", claimed.fixed.id), ["-"]) == [1]

    def cancel(self):
        claimed = self.desk.running()
        yield lambda: self.lossy.cancel("acme", claimed.fixed.id), "canceling"
        assert self.desk.ledger.redis.lrange(keys.wake("w1"), 0, -1) == ["cancel"]

    def sweep(self):
        """The queue's name is lost with the first answer; the keeper rings by what waits, not by this answer alone."""
        claimed = self.desk.running()
        self.desk.swept(after_s=10)
        self.clock.forward(1)
        yield lambda: self.lossy.sweep("cpu"), []
        assert self.desk.attempts(claimed) == [("retry", "worker_lost")] and self.desk.line() == [claimed.fixed.id]

    def due(self):
        job = self.desk.submit(start_ms=self.clock.ms + 1000)
        self.clock.forward(1)
        yield self.lossy.due, []
        assert self.desk.line() == [job.id]

    def expire(self):
        job = self.desk.submit(queue_ttl_s=1)
        self.clock.forward(1)
        yield lambda: self.lossy.expire(DeadlineExceeded("")), []
        assert self.desk.status(job) == "expired" and self.entries(job.id) == ["accepted", "ended"]

    def forget(self):
        claimed = self.desk.running()
        self.desk.commit(claimed)
        yield lambda: self.lossy.forget(claimed.fixed), None
        assert self.desk.record(claimed) is None
        with pytest.raises(NotFound):
            self.desk.cancel(claimed)

    def conclude(self):
        claimed = self.desk.running()
        living = self.desk.ledger.redis.dump(keys.job(claimed.fixed.id))
        self.desk.commit(claimed)
        ended = self.desk.record(claimed)
        self.desk.ledger.redis.restore(keys.job(claimed.fixed.id), 0, living, replace=True)
        yield lambda: self.lossy.conclude(claimed.fixed.id, ended), True
        assert self.desk.record(claimed) == ended

    def shrink(self):
        claimed = self.desk.running()
        self.desk.commit(claimed)
        yield lambda: self.lossy.shrink(claimed.fixed.id, None, ["result"]), None
        assert "result" not in self.desk.record(claimed) and self.desk.record(claimed)["shrunk"]

    def begin_restore(self):
        self.desk.ledger.redis.delete(keys.EPOCH)
        yield lambda: self.lossy.begin_restore("k1").token, "k1"
        with pytest.raises(NotReady):
            self.lossy.begin_restore("k2")

    def set_epoch(self):
        self.desk.ledger.redis.delete(keys.EPOCH)
        begun = self.desk.ledger.begin_restore("k1")
        yield lambda: self.lossy.set_epoch(begun), None
        self.desk.ledger.ready(by_this_release=True)

    def write(self):
        yield lambda: self.lossy.write(("ZADD", "bl:trash", 1, "x"), ("GET", "bl:none"))[1], ""
        assert self.desk.ledger.redis.zscore(keys.TRASH, "x") == 1

    def give_back(self):
        key = Idempotency("d", "f")
        self.desk.ledger.reserve("acme", key, "job_x")
        yield lambda: self.lossy.give_back("acme", key, "job_x"), None
        assert not self.desk.ledger.redis.exists(keys.idempotency("acme", "d"))

    def count(self):
        yield lambda: self.lossy.count("acme", "upload_1", 7), 7
        assert self.desk.ledger.redis.hgetall(keys.STORED) == {"acme": "7"}

    def upload(self):
        yield lambda: self.lossy.upload("acme", "upload_1", 7, 60, a_minute=2), Rate(1, 30)
        assert self.desk.ledger.redis.hgetall(keys.STORED) == {"acme": "7"}
        paid = float(self.desk.ledger.redis.get(keys.upload_rate("acme"))) - self.clock.ms
        assert paid == pytest.approx(30_000)

    def limits(self):
        self.desk.submit()
        yield lambda: self.lossy.limits("acme").waiting, 1

    def look(self):
        job = self.desk.submit()
        asked = keys.tenant_jobs("acme"), "+inf", "", "-inf", ["queued", "generate", "lstm"], 9, 9
        yield lambda: self.lossy.look(*asked)[5], job.id

    def pause(self):
        yield lambda: self.lossy.pause("pool/cpu", "why"), None
        assert json.loads(self.desk.ledger.redis.hget(keys.PAUSES, "pool/cpu"))["reason"] == "why"

    def resume(self):
        self.desk.ledger.pause("pool/cpu", "why")
        yield lambda: self.lossy.resume("pool/cpu"), None
        assert not self.desk.ledger.redis.exists(keys.PAUSES)

    def move(self):
        """How many is lost with the first answer; the keeper asks again in its next round."""
        jobs = [self.desk.submit() for _ in range(3)]
        yield lambda: self.lossy.move("cpu.generate:lstm", "gpu.generate:lstm"), 0
        assert self.desk.line("gpu.generate:lstm") == [job.id for job in jobs] and not self.desk.line()

    def orphan(self):
        unknown, job = DeadlineExceeded(""), self.desk.submit()
        self.desk.ledger.orphan("cpu.generate:lstm", unknown)
        self.clock.forward(1000)
        yield lambda: self.lossy.orphan("cpu.generate:lstm", unknown), 0
        assert self.desk.status(job) == "failed" and self.entries(job.id) == ["accepted", "ended"]

    def unpark(self):
        """How many went back is lost with the first answer; the keeper asks again in its next round."""
        jobs = [self.desk.submit() for _ in range(3)]
        self.desk.ledger.pause("tenant/acme", "")
        assert self.desk.claim() is None
        self.desk.ledger.resume("tenant/acme")
        yield lambda: self.lossy.unpark("acme"), 0
        assert self.desk.line() == [job.id for job in jobs]

    def settle(self):
        """The number is lost with the first answer; nothing is owed twice."""
        job = self.desk.submit(webhook=RECEIVER)
        end = {"tenant": "acme", "id": job.id, "webhook": RECEIVER.as_field(), "status": "failed", "retained_ms": "1"}
        yield lambda: self.lossy.settle("webhook", [end]), 0
        assert self.desk.ledger.redis.hgetall(keys.UNDELIVERED) == {"acme": "1"}

    def settle_chains(self):
        """The queue is lost with the first answer; the keeper rings for lines that wait."""
        source = self.desk.submit()
        jobs = [self.desk.submit(waits_for=[source.id]) for _ in range(7)]
        self.desk.commit(self.desk.claim())
        yield lambda: self.lossy.settle_chains(), (False, [])
        assert sorted(self.desk.line()) == sorted(job.id for job in jobs)

    def take_owed(self):
        job, other = self.desk.submit(webhook=RECEIVER), self.desk.submit(webhook=RECEIVER)
        self.desk.cancel(job)
        line = ("acme", "a.example")
        yield lambda: [one.job_id for one in self.lossy.take_owed("webhook", "k1", "t1", [(line, 1)], 30)], [job.id]
        self.desk.cancel(other)
        assert [one.job_id for one in self.desk.ledger.take_owed("webhook", "k2", "t2", [(line, 9)], 30)] == [other.id]

    def tell_owed(self):
        job = self.desk.submit(webhook=RECEIVER)
        self.desk.cancel(job)
        (owed,) = self.desk.ledger.take_owed("webhook", "k1", "t1", [(("acme", "a.example"), 1)], 30)
        yield lambda: self.lossy.tell_owed("webhook", owed, "delivered", "answered 200", 200), True
        assert self.entries(job.id) == ["accepted", "ended", "told"]
        assert not self.desk.ledger.redis.exists(keys.UNDELIVERED, keys.OWED["webhook"])

    def replay_owed(self):
        job = self.desk.submit(webhook=RECEIVER)
        self.desk.cancel(job)
        (owed,) = self.desk.ledger.take_owed("webhook", "k1", "t1", [(("acme", "a.example"), 1)], 30)
        self.desk.ledger.tell_owed("webhook", owed, "failed", "answered 500", 500)
        yield lambda: self.lossy.replay_owed("webhook", "acme", job.id), None
        assert self.desk.ledger.redis.hgetall(keys.UNDELIVERED) == {"acme": "1"}

    def open_batch(self):
        batch = new_batch_id()
        key = Idempotency("d", "f")
        yield lambda: self.lossy.open_batch("acme", batch, 3, 4, 900, key).job_id, batch
        assert self.desk.ledger.batch("acme", batch)["lines"] == "3" and self.entries(batch) == ["batch"]
        assert self.desk.ledger.open_batch("acme", new_batch_id(), 3, 4, 900, key).job_id == batch

    def note_batch(self):
        batch = new_batch_id()
        self.desk.ledger.open_batch("acme", batch, 3, 4, 900, None)
        yield lambda: self.lossy.note_batch("acme", batch, "sealed", 60)["refused"], "3"
        assert self.entries(batch) == ["batch", "batch"]

    def count_usage(self):
        change = Change(9_999_999_999_999, {"[1]": "2 3"})
        yield lambda: self.lossy.count_usage("0-0", "7-1", {("acme", "2027-01"): change}), True
        ledger, later = self.desk.ledger, Change(9_999_999_999_999, {"[1]": "9 9"})
        assert not ledger.count_usage("0-0", "8-1", {("acme", "2027-01"): later}), "another keeper has moved the cursor"
        assert ledger.usage_fields([("acme", "2027-01")]) == [{"[1]": "2 3"}] and ledger.usage_counted() == "7-1"

    def note_use(self):
        yield lambda: self.lossy.note_use("key-1"), None
        assert self.desk.ledger.redis.hgetall(keys.KEY_USES) == {"key-1": str(self.clock.ms)}

    def entries(self, job_id):
        return [e["type"] for _, e in self.desk.ledger.redis.xrange(keys.JOURNAL) if e["id"] == job_id]


@pytest.mark.parametrize("verb", [*VERBS, "claim_many", "report_all"])
def test_a_lost_reply_is_asked_for_again_and_nothing_happens_twice(desk, lossy, clock, verb):
    case = getattr(Case(desk, lossy, clock), verb)()
    ask, answer = next(case)
    lossy.proxy.cut()
    assert ask() == answer
    assert len(lossy.proxy.lost) == 1 and not lossy.proxy.lost[0].startswith(b"-"), "an answer was lost, no error"
    assert lossy.proxy.asked == 2
    with pytest.raises(StopIteration):
        next(case)


def test_a_function_that_redis_has_lost_is_loaded_though_that_answer_was_lost_too(desk, lossy):
    """The first reply, 'Function not found', is lost with its connection; asked again, the library is loaded."""
    lossy.redis.function_flush()
    job = make_fixed()
    lossy.proxy.cut()
    assert lossy.submit(job).job_id == job.id
    assert lossy.proxy.lost[0].startswith(b"-ERR Function not found") and desk.line() == [job.id]


def test_a_script_that_redis_has_forgotten_is_loaded_though_that_answer_was_lost_too(desk, lossy):
    """As above, where scripts take the Function's place."""
    lossy._functions_at_s = math.inf
    lossy.redis.script_flush()
    job = make_fixed()
    lossy.proxy.cut()
    assert lossy.submit(job).job_id == job.id
    assert lossy.proxy.lost[0].startswith(b"-NOSCRIPT") and desk.line() == [job.id]
