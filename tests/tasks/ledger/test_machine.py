"""Random histories of all verbs, repeated and reordered calls among them, against the plain model: every answer and,
after every step, every key must be as the model says.
"""

import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tasks.delivery import OutputRequest
from tasks.errors import Conflict, DeadlineExceeded, ModelFailed, NotFound
from tasks.job import Fixed
from tasks.ledger import Ledger, Worker, keys, pools
from tasks.webhook import WebhookRequest
from tests.conftest import make_fixed
from tests.tasks.ledger.conftest import AWAY, Clock
from tests.tasks.ledger.model import FINAL, Model

LSTM, GRU, CAPTION = "cpu.generate:lstm", "cpu.generate:gru", "cpu.caption:cnn-lstm"
WORKERS = {
    "w1": Worker("w1", "cpu", ["cpu.generate", "cpu.caption"], [LSTM, GRU, CAPTION]),
    "w2": Worker("w2", "cpu", ["cpu.generate", "cpu.caption"], [CAPTION, LSTM]),  # an older release: knows no gru
}
SLOTS = ["w1:0", "w1:1", "w2:0", "w2:1"]
LATE = DeadlineExceeded("deadline_s passed")
A_NUMBER = st.integers(0, 1000)
RECEIVER = WebhookRequest(url="https://a.example/x")
FOLDER = OutputRequest(url="s3://theirs/out/")
MODELS = {"lstm": "generate", "gru": "generate", "cnn-lstm": "caption"}


class LedgerMachine(RuleBasedStateMachine):
    """`do` asks the ledger and the model, compares, and keeps the call so that it can be repeated later."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        super().__init__()
        self.ledger, self.clock, self.model = ledger, clock, Model()
        self.given = 0
        self.tokens: list[tuple[str, str]] = []
        self.calls: list[tuple] = []
        self.delayed: list[tuple] = []
        self.submitted: list[str] = []

    @initialize()
    def begin(self) -> None:
        self.ledger.redis.flushdb()
        self.ledger.set_epoch()
        self.model.now = self.clock.ms

    # -- steps

    @rule(
        tenant=st.sampled_from("abc"),
        priority=st.sampled_from([0, 0, 0, 1, -1, 10, -10]),
        model=st.sampled_from(list(MODELS)),
        start_s=st.sampled_from([None, None, None, 0.5, 30]),
        queue_ttl_s=st.sampled_from([3600, 3600, 5]),
        deadline_s=st.sampled_from([None, None, 8, 40]),
        max_attempts=st.integers(1, 3),
        batch=st.sampled_from([None, None, "batch_x"]),
        retry=st.sampled_from([{}, {}, {"worker_lost": 2}, {"model_failed": 1, "storage_unavailable": 0}]),
        webhook=st.sampled_from([None, None, RECEIVER]),
        output=st.sampled_from([None, None, FOLDER]),
        tie=A_NUMBER,
    )
    def submit(self, start_s, model, tie, **chosen) -> None:
        """Of equal scores the lower id is first: ids are chosen too, so that a history can be replayed."""
        start = None if start_s is None else self.clock.ms + round(start_s * 1000)
        fixed = make_fixed(
            id=f"job_{tie:013d}{len(self.submitted):013d}", model=model, kind=MODELS[model], start_ms=start, **chosen
        )
        self.submitted.append(fixed.id)
        self.do("submit", fixed)

    @rule(slot=st.sampled_from(SLOTS))
    def claim(self, slot) -> None:
        self.do("claim", slot, self._token())

    @rule(slot=st.sampled_from(SLOTS))
    def claim_that_is_delayed(self, slot) -> None:
        """It is under way, and delivered late, after newer ones of its slot."""
        self.delayed.append(("claim", slot, self._token()))

    @precondition(lambda self: self.delayed)
    @rule(which=A_NUMBER)
    def delivery(self, which) -> None:
        self.do(*self.delayed.pop(which % len(self.delayed)))

    @precondition(lambda self: self.tokens)
    @rule(which=A_NUMBER)
    def commit(self, which) -> None:
        self.do("commit", *self._attempt(which))

    @precondition(lambda self: self.tokens)
    @rule(which=A_NUMBER, retryable=st.booleans(), delay_s=st.sampled_from([0, 0, 3, 50]))
    def fail(self, which, retryable, delay_s) -> None:
        self.do("fail", *self._attempt(which), retryable, delay_s)

    @precondition(lambda self: self.tokens)
    @rule(which=A_NUMBER, cause=st.sampled_from(["own", "drain", "neighbour"]))
    def release(self, which, cause) -> None:
        self.do("release", *self._attempt(which), cause)

    @precondition(lambda self: self.tokens)
    @rule(which=A_NUMBER)
    def report(self, which) -> None:
        self.do("report", *self._attempt(which))

    @precondition(lambda self: self.tokens)
    @rule(which=A_NUMBER)
    def claim_again(self, which) -> None:
        """The claim that began an attempt, once more: the attempt may run, have ended or have been swept."""
        token = self.tokens[which % len(self.tokens)][1]
        self.do(*next(call for call in self.calls if call[0] == "claim" and call[2] == token))

    @precondition(lambda self: self.submitted)
    @rule(
        which=A_NUMBER,
        priority=st.sampled_from([-10, 0, 3]),
        start_s=st.sampled_from([-1, 0, 0, 0.5, 30]),
        queue_ttl_s=st.sampled_from([3600, 5]),
        deadline_s=st.sampled_from([None, 40]),
        of_before=st.booleans(),
    )
    def amend(self, which, start_s, of_before, **chosen) -> None:
        """`start_s` 0: as it was, -1: now. `of_before`: it builds on what was before the last change."""
        job_id = self.submitted[which % len(self.submitted)]
        record = self.ledger.record(job_id)
        if record is None:
            return
        old, base = Fixed.model_validate_json(record["fixed"]), record.get("amended", "")
        start = {-1: None, 0: old.start_ms}.get(start_s, self.clock.ms + round(start_s * 1000))
        new = old.model_copy(update={**chosen, "start_ms": start})
        self.given += 1
        self.do("amend", old, new, f"change{self.given}", "none" if of_before and base else base)

    @precondition(lambda self: self.submitted)
    @rule(which=A_NUMBER)
    def cancel(self, which) -> None:
        self.do("cancel", self.submitted[which % len(self.submitted)])

    @precondition(lambda self: self.submitted)
    @rule(which=A_NUMBER)
    def forget(self, which) -> None:
        self.do("forget", self.submitted[which % len(self.submitted)])

    @rule(worker=st.sampled_from(list(WORKERS)))
    def renew(self, worker) -> None:
        self.do("renew", worker)

    @rule(seconds=st.sampled_from([0.001, 0.5, 1, 4, 11, 100]))
    def time_passes(self, seconds) -> None:
        self._forward(seconds)

    @rule(seconds=st.sampled_from([1, 12]))
    def keeper_runs(self, seconds) -> None:
        for _ in range(seconds):
            self._forward(1)
            self.do("sweep")
            self.do("due")
            self.do("expire")

    @precondition(lambda self: self.calls)
    @rule(which=A_NUMBER, newest=st.booleans())
    def again(self, which, newest) -> None:
        """A call of before comes once more, at once or however late; but no submit after its job was erased."""
        calls = self.calls[-3:] if newest else self.calls
        verb, *arguments = calls[which % len(calls)]
        if verb != "submit" or arguments[0].id not in self.model.forgotten:
            self.do(verb, *arguments)

    # -- asking both

    def do(self, verb: str, *arguments) -> None:
        self.calls.append((verb, *arguments))
        expected, answer = getattr(self, f"_{verb}")(*arguments)
        assert answer == expected, f"{verb}{arguments} answered {answer}, not {expected}"

    def _submit(self, fixed):
        return self.model.submit(fixed), self.ledger.submit(fixed).job_id

    def _claim(self, slot, token):
        worker = WORKERS[slot.partition(":")[0]]
        claimed = self.ledger.claim(worker, slot, token)
        if claimed and (claimed.fixed.id, token) not in self.tokens:
            self.tokens.append((claimed.fixed.id, token))
        return self.model.claim(worker.lines, slot, token), claimed and claimed.fixed.id

    def _commit(self, job_id, token):
        return self.model.commit(job_id, token), self.ledger.commit(job_id, token, {"text": token}, [], {})

    def _fail(self, job_id, token, retryable, delay_s):
        error = AWAY if retryable else ModelFailed("boom")
        return (
            self.model.fail(job_id, token, retryable, delay_s * 1000),
            self.ledger.fail(job_id, token, error, delay_s),
        )

    def _release(self, job_id, token, cause):
        return self.model.release(job_id, token, cause), self.ledger.release(job_id, token, cause)

    def _report(self, job_id, token):
        return self.model.report(job_id, token), self.ledger.report(job_id, token, "running", 0.5)

    def _cancel(self, job_id):
        tenant = self._tenant(job_id)
        return self.model.cancel(job_id), _or_error(lambda: self.ledger.cancel(tenant, job_id))

    def _amend(self, *a):
        return self.model.amend(*a), _or_error(lambda: self.ledger.amend(*a))

    def _forget(self, job_id):
        fixed = make_fixed(id=job_id, tenant=self._tenant(job_id))
        return self.model.forget(job_id), _or_error(lambda: self.ledger.forget(fixed))

    def _renew(self, worker):
        held = self.ledger.renew(WORKERS[worker])[1]
        return self.model.renew(worker), {h.slot: h.state for h in held}

    def _sweep(self):
        self.ledger.sweep("cpu")
        return self.model.sweep(), None

    def _due(self):
        self.ledger.due()
        return self.model.due(), None

    def _expire(self):
        return self.model.expire(), set(self.ledger.expire(LATE))

    # -- what must always be true

    @invariant()
    def every_record_is_as_the_model_says(self) -> None:
        for job in self.model.jobs.values():
            record = self.ledger.record(job.id)
            seen = (record["status"], int(record.get("starts", 0)), int(record.get("releases", 0)), record.get("token"))
            assert seen == (job.status, job.starts, job.releases, job.token)
            assert ("ended_ms" in record) == (job.status in FINAL)
            if job.status == "succeeded":
                assert job.answers[json.loads(record["result"])["text"]] == "succeeded", (
                    "the result is the committing attempt's"
                )
        assert all(self.ledger.record(job_id) is None for job_id in self.model.forgotten)

    @invariant()
    def every_index_agrees_with_the_records(self) -> None:
        jobs = self.model.jobs.values()
        for line in (LSTM, GRU, CAPTION):
            places = {j.id: pytest.approx(j.place[0]) for j in jobs if j.waits and j.line == line}
            assert self._zset(keys.line(line)) == places
        since = [float(self.ledger.record(j.id)["since_ms"]) for j in jobs if j.waits]
        assert pools.oldest(self.ledger.redis, "cpu") == min(since, default=None)
        assert self._zset(keys.leases("cpu")) == {j.id: j.lease for j in jobs if j.token}
        assert self._zset(keys.DUE) == {j.id: j.due for j in jobs if j.due}
        assert self._zset(keys.EXPIRIES) == {j.id: j.expiry for j in jobs if j.expiry}
        for index in (keys.RETAINED, keys.WHOLE):
            assert set(self._zset(index)) == {j.id for j in jobs if j.status in FINAL}
        for tenant in "abc":
            assert set(self._zset(keys.dead(tenant))) == {j.id for j in jobs if j.dead and j.tenant == tenant}

    @invariant()
    def tenants_accounts_hold_what_waits_and_nothing_else(self) -> None:
        fair = {name: float(value) for name, value in self.ledger.redis.hgetall(keys.fair("cpu")).items()}
        clock = {} if self.model.clock is None else {"clock": self.model.clock}
        tags = {f"tag:{flow}": tag for flow, tag in self.model.tags.items()}
        counts = {f"jobs:{flow}": count for flow, count in self.model.waiting.items()}
        assert fair == pytest.approx({**clock, **tags, **counts})

    @invariant()
    def batches_count_their_jobs(self) -> None:
        """By status now; jobs that were forgotten count as they ended."""
        for tenant in "abc":
            kept = self.ledger.redis.hgetall(keys.batch(tenant, "batch_x"))
            found = Counter({status: int(count) for status, count in kept.items() if status != "ended_ms"})
            now = Counter(j.status for j in self.model.jobs.values() if j.batch and j.tenant == tenant)
            for status in {*found, *now}:
                assert found[status] == now[status] if status not in FINAL else found[status] >= now[status], status
            made = sum(call[1].batch is not None and call[1].tenant == tenant for call in self.submits())
            assert sum(found.values()) == made

    @invariant()
    def webhooks_and_deliveries_are_owed_for_jobs_that_have_ended_and_for_no_others(self) -> None:
        """Once each, deliveries for those that succeeded; those of forgotten jobs too."""
        owed = self.model.owed
        for tenant in "abc":
            for what, host in (("webhook", "a.example"), ("delivery", "theirs")):
                line = self._zset(keys.owed_line(what, tenant, host))
                assert set(line) == {job_id for one, whose, job_id in owed if (one, whose) == (what, tenant)}
        counts = {tenant: int(n) for tenant, n in self.ledger.redis.hgetall(keys.UNDELIVERED).items()}
        assert counts == Counter(tenant for _, tenant, _ in owed)

    def submits(self) -> list[tuple]:
        """The submits that were answered, each job's once."""
        done = {call[1].id: call for call in self.calls if call[0] == "submit"}
        return [call for job_id, call in done.items() if job_id in self.model.jobs or job_id in self.model.forgotten]

    def teardown(self) -> None:
        """Everything is brought to its end: each job has exactly one final status and one end in the journal."""
        for job_id in [job.id for job in self.model.jobs.values() if job.status not in FINAL]:
            self.do("cancel", job_id)
        for _ in range(30):
            self._forward(1)
            self.do("sweep")
        assert all(job.status in FINAL for job in self.model.jobs.values())
        self.every_record_is_as_the_model_says()
        self.every_index_agrees_with_the_records()
        self.tenants_accounts_hold_what_waits_and_nothing_else()
        self.batches_count_their_jobs()
        ends = Counter(e["id"] for _, e in self.ledger.redis.xrange(keys.EVENTS) if e["status"] in FINAL)
        journal = Counter((e["type"], e["id"]) for _, e in self.ledger.redis.xrange(keys.JOURNAL))
        forgotten = [entry for entry in journal if entry[0] == "forgotten"]
        assert all(journal.pop(entry) == 1 for entry in forgotten)
        changes = Counter(call[2].id for call in {call[3]: call for call in self.calls if call[0] == "amend"}.values())
        amended = {job_id: journal.pop(("amended", job_id), 0) for job_id in self.submitted}
        assert all(amended[job_id] <= changes[job_id] for job_id in self.submitted)
        assert ends == Counter(self.submitted)
        assert journal == Counter((kind, job_id) for kind in ("accepted", "ended") for job_id in self.submitted)

    # -- helpers

    def _token(self) -> str:
        self.given += 1
        return f"{self.given:032d}"

    def _attempt(self, which: int) -> tuple[str, str]:
        """One that runs, if any does; else one of before."""
        running = [
            (job_id, token)
            for job_id, token in self.tokens
            if job_id in self.model.jobs and self.model.jobs[job_id].token == token
        ]
        chosen = running or self.tokens
        return chosen[which % len(chosen)]

    def _tenant(self, job_id: str) -> str:
        return next(call[1].tenant for call in self.calls if call[0] == "submit" and call[1].id == job_id)

    def _forward(self, seconds: float) -> None:
        self.clock.forward(seconds)
        self.model.now = self.clock.ms

    def _zset(self, key: str) -> dict[str, float]:
        return dict(self.ledger.redis.zrange(key, 0, -1, withscores=True))


def _or_error(ask):
    try:
        return ask()
    except (Conflict, NotFound) as error:
        return type(error).__name__


USUAL = settings(
    max_examples=40,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_the_ledger_does_what_the_model_says(ledger, clock):
    """40 histories of 50 steps, the same each time."""
    run_state_machine_as_test(lambda: LedgerMachine(ledger, clock), settings=USUAL)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_ledger_does_what_the_model_says_for_long(ledger, clock):
    """Hundreds of longer histories, others each time."""
    long = settings(USUAL, max_examples=400, stateful_step_count=80, derandomize=False, print_blob=True)
    run_state_machine_as_test(lambda: LedgerMachine(ledger, clock), settings=long)
