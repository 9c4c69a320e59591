"""Random histories of tenants at their limit and of pauses that come and go: no job is lost or stands in two places,
nobody starts more than it may, and in the end everything has run.
"""

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

from tasks.job import FINAL
from tasks.ledger import Worker, keys
from tests.conftest import make_fixed
from tests.tasks.ledger.conftest import AWAY

LINES = {"lstm": "cpu.generate:lstm", "gru": "cpu.generate:gru"}
WORKERS = [
    Worker("both", "cpu", ["cpu.generate"], list(LINES.values())),
    Worker("one", "cpu", ["cpu.generate"], [LINES["gru"]], most=[2], shared=True),
]
TENANTS, PAUSED = "abc", ["tenant/a", "tenant/b", "model/generate/lstm", "pool/cpu"]
A_NUMBER = st.integers(0, 1000)


class ParkingMachine(RuleBasedStateMachine):
    """`running`: (id, token) of each attempt under way, by the machine's own account."""

    def __init__(self, ledger, clock) -> None:
        super().__init__()
        self.ledger, self.clock = ledger, clock
        self.jobs: dict[str, str] = {}
        self.running: dict[str, str] = {}
        self.ended: set[str] = set()
        self.paused: set[str] = set()
        self.most = self.given = 0

    @initialize()
    def begin(self) -> None:
        self.ledger.redis.flushdb()
        self.ledger.set_epoch()

    # -- steps

    @rule(
        tenant=st.sampled_from(TENANTS),
        model=st.sampled_from(list(LINES)),
        count=st.integers(1, 4),
        priority=st.sampled_from([0, 0, 5]),
        later=st.sampled_from([0, 0, 2]),
    )
    def submit(self, tenant, model, count, priority, later) -> None:
        for _ in range(count):
            fixed = make_fixed(
                id=f"job_{len(self.jobs):026d}",
                tenant=tenant,
                model=model,
                priority=priority,
                start_ms=self.clock.ms + later * 1000 if later else None,
                max_attempts=9,
            )
            self.jobs[fixed.id] = tenant
            self.ledger.submit(fixed)

    @rule(worker=st.sampled_from(WORKERS), slot=st.integers(0, 4))
    def claim(self, worker, slot) -> None:
        held = self.ledger.redis.hget(keys.slots(worker.id), f"{worker.id}:7:{slot}") or ""
        back = held.split(" ")[-1]  # a slot's claim hands its old job back
        if self.running.get(back) == held.split(" ")[0]:
            del self.running[back]
        before = Counter(self.jobs[job_id] for job_id in self.running)
        self.given += 1
        claimed = self.ledger.claim(worker, f"{worker.id}:7:{slot}", f"{self.given:032d}")
        if claimed is None:
            return
        fixed = claimed.fixed
        assert fixed.id not in self.running and fixed.id not in self.ended
        assert not self.most or before[fixed.tenant] < self.most
        assert not self.paused & {f"tenant/{fixed.tenant}", f"model/generate/{fixed.model}", "pool/cpu"}
        self.running[fixed.id] = claimed.token

    @precondition(lambda self: self.running)
    @rule(which=A_NUMBER, end=st.sampled_from(["commit", "commit", "release", "fail", "fail later", "cancel"]))
    def end(self, which, end) -> None:
        job_id = sorted(self.running)[which % len(self.running)]
        token = self.running.pop(job_id)
        if end == "commit":
            assert self.ledger.commit(job_id, token, {}, [], {}) == "succeeded"
        elif end == "release":
            assert self.ledger.release(job_id, token, cause="drain") == "released"
        elif end == "cancel":
            self.ledger.cancel(self.jobs[job_id], job_id)
            assert self.ledger.fail(job_id, token, AWAY) == "canceled"
        else:
            assert self.ledger.fail(job_id, token, AWAY, 3 * (end == "fail later")) in ("queued", "failed")
        self._note(job_id)

    @precondition(lambda self: self.jobs)
    @rule(which=A_NUMBER)
    def cancel_what_waits(self, which) -> None:
        job_id = sorted(self.jobs)[which % len(self.jobs)]
        if job_id not in self.running and job_id not in self.ended:
            assert self.ledger.cancel(self.jobs[job_id], job_id) == "canceled"
            self._note(job_id)

    @rule(what=st.sampled_from(PAUSED))
    def pause(self, what) -> None:
        self.ledger.pause(what, "")
        self.paused.add(what)

    @rule(what=st.sampled_from(PAUSED))
    def resume(self, what) -> None:
        self.ledger.resume(what)
        self.paused.discard(what)

    @rule(most=st.sampled_from([0, 1, 2]))
    def limit(self, most) -> None:
        self.most = most
        self.ledger.settings = self.ledger.settings.model_copy(update={"max_running_jobs": most})

    @rule(seconds=st.sampled_from([1, 6]))
    def keeper_runs(self, seconds) -> None:
        self.clock.forward(seconds)
        self.ledger.due()
        for tenant in self.ledger.redis.smembers(keys.PARKED):
            self.ledger.unpark(tenant)

    # -- what must always be true

    @invariant()
    def every_job_stands_in_one_place(self) -> None:
        redis = self.ledger.redis
        lines = {line: redis.zrange(keys.line(line), 0, -1) for line in LINES.values()}
        parked = {(t, line): redis.zrange(keys.parked(t, line), 0, -1) for t in TENANTS for line in LINES.values()}
        places = [
            *sum(lines.values(), []),
            *sum(parked.values(), []),
            *redis.zrange(keys.leases("cpu"), 0, -1),
            *redis.zrange(keys.DUE, 0, -1),
        ]
        assert sorted(places) == sorted(set(self.jobs) - self.ended)
        assert sorted(redis.zrange(keys.leases("cpu"), 0, -1)) == sorted(self.running)
        in_line = Counter(self.jobs[job_id] for job_id in sum(lines.values(), []))
        fair = redis.hgetall(keys.fair("cpu"))
        assert {t: int(fair.get(f"jobs:{t}", 0)) for t in TENANTS} == {t: in_line[t] for t in TENANTS}
        for tenant in TENANTS:
            mine = {job_id for job_id in self.jobs if self.jobs[job_id] == tenant}
            assert redis.smembers(keys.running(tenant)) == mine & set(self.running)
            assert redis.smembers(keys.later(tenant)) == mine & set(redis.zrange(keys.DUE, 0, -1))
            stands = {f"line {line}" for line in LINES.values() if parked[tenant, line]}
            assert {f for f in redis.hkeys(keys.parked(tenant)) if f.startswith("line ")} == stands
            assert redis.sismember(keys.PARKED, tenant) == bool(stands) == bool(redis.exists(keys.parked(tenant)))

    def teardown(self) -> None:
        """Resumed, all of it runs, whatever the limit is."""
        for what in PAUSED:
            self.resume(what)
        for job_id in list(self.running):
            self.ledger.commit(job_id, self.running.pop(job_id), {}, [], {})
            self._note(job_id)
        for _ in range(20 + 2 * len(self.jobs)):
            self.keeper_runs(1)
            self.claim(WORKERS[0], 9)
            for job_id in list(self.running):
                self.ledger.commit(job_id, self.running.pop(job_id), {}, [], {})
                self._note(job_id)
        assert self.ended == set(self.jobs)
        self.every_job_stands_in_one_place()
        traces = ("bl:parked", "bl:running", "bl:later")
        assert not [key for key in self.ledger.redis.keys("bl:*") if key.startswith(traces)]

    def _note(self, job_id: str) -> None:
        if self.ledger.record(job_id)["status"] in FINAL:
            self.ended.add(job_id)


USUAL = settings(
    max_examples=20,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_no_job_is_lost_or_starves(ledger, clock):
    """20 histories of 40 steps, the same each time."""
    run_state_machine_as_test(lambda: ParkingMachine(ledger, clock), settings=USUAL)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_job_is_lost_or_starves_for_long(ledger, clock):
    long = settings(USUAL, max_examples=300, stateful_step_count=80, derandomize=False, print_blob=True)
    run_state_machine_as_test(lambda: ParkingMachine(ledger, clock), settings=long)
