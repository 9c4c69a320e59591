"""What a tenant may run at once, and what is paused: its jobs hold up nobody, none is lost, none starves."""

import itertools

import pytest

from tasks.errors import WaitingTooMany
from tasks.ledger import Ledger, connect, keys
from tests.conftest import PATIENT_S
from tests.tasks.ledger.conftest import AWAY, Desk


@pytest.fixture
def limited(settings, clock, worker):
    """limited(max_running_jobs=2): a desk whose ledger has these limits."""
    tokens = itertools.count(1)

    def make(**limits) -> Desk:
        made = Ledger(settings.model_copy(update=limits), connect(settings, read_timeout_s=PATIENT_S), clock)
        made.set_epoch()
        desk = Desk(made, worker)
        desk.token = lambda: f"{next(tokens):032d}"
        return desk

    return make


CAPTION = "cpu.caption:cnn-lstm"


def claims(desk, count, **more):
    return [c for n in range(count) if (c := desk.claim(slot=f"{n}", **more))]


def parked(desk, tenant, line="cpu.generate:lstm"):
    return desk.ledger.redis.zcard(keys.parked(tenant, line))


def nothing_left(desk):
    """No trace of parking in Redis."""
    return not [
        key
        for key in desk.ledger.redis.keys("bl:*")
        if key.startswith(("bl:parked", "bl:running", "bl:later", "bl:pauses"))
    ]


def test_a_tenant_runs_no_more_than_it_may_and_blocks_nobody(limited):
    """Its first eight jobs stand before all others; two run, the others' are next."""
    desk = limited(max_running_jobs=2)
    many = [desk.submit(tenant="many", priority=5) for _ in range(300)]
    few = [desk.submit(tenant="few") for _ in range(3)]
    assert [c.fixed for c in claims(desk, 6)] == [*many[:2], *few[:2]]
    assert desk.claim(slot="9") is None and parked(desk, "many") > 0


@pytest.mark.parametrize("end", ["commit", "fail", "release", "cancel"])
def test_a_job_that_ends_lets_the_next_start(limited, end):
    desk = limited(max_running_jobs=1)
    jobs = [desk.submit() for _ in range(4)]
    first = desk.claim(slot="0")
    assert desk.claim(slot="1") is None
    if end == "cancel":
        desk.cancel(first)
    getattr(desk, "fail" if end == "cancel" else end)(first)
    following = desk.claim(slot="1").fixed
    assert following == (jobs[0] if end in ("fail", "release") else jobs[1])
    assert desk.claim(slot="2") is None


def test_all_of_them_run_in_the_end_in_their_order(limited):
    desk = limited(max_running_jobs=1)
    jobs = [
        desk.submit(tenant="a", kind=kind, model=model)
        for kind, model in [("generate", "lstm"), ("caption", "cnn-lstm")] * 10
    ]
    running, done = desk.claim(slot="0"), []
    while running:
        assert desk.claim(slot="1") is None
        desk.commit(running)
        done.append(running.fixed)
        running = desk.claim(slot="0")
    assert sorted(job.id for job in done) == sorted(job.id for job in jobs)
    for kind in ("generate", "caption"):
        assert [job for job in done if job.kind == kind] == [job for job in jobs if job.kind == kind]
    assert nothing_left(desk)


def test_time_at_its_limit_earns_a_tenant_no_lead(limited, ledger):
    """Five hundred were parked while another tenant ran two hundred; the limit gone, they share."""
    desk = limited(max_running_jobs=1)
    held = [desk.submit(tenant="held") for _ in range(500)]
    first = desk.claim(slot="9")
    for _ in range(200):
        desk.submit(tenant="other")
    assert {job.tenant for job in desk.drain(200)} == {"other"}
    for _ in range(50):
        desk.submit(tenant="other")
    free = limited(max_running_jobs=0)
    while free.ledger.unpark("held"):
        pass
    free.commit(first)
    order = free.drain(60)
    assert 28 <= [job.tenant for job in order].count("other") <= 32
    order += free.drain()
    assert [job for job in order if job.tenant == "held"] == held[1:] and len(order) == 549 and nothing_left(free)


@pytest.mark.parametrize("why", ["its model is paused", "no worker serves it"])
def test_a_turn_that_never_comes_keeps_no_other_model_waiting(limited, clock, why):
    """The tenant's first jobs stand in a line that nobody takes from; those of its other model come back in seconds."""
    desk = limited(max_running_jobs=1)
    stuck = [desk.submit(model="lstm" if "paused" in why else "gru") for _ in range(3)]
    others = [desk.submit(kind="caption", model="cnn-lstm") for _ in range(3)]
    if "paused" in why:
        desk.ledger.pause("model/generate/lstm", "")
    running = desk.claim(slot="0")
    assert running.fixed == others[0] and desk.claim(slot="1") is None and parked(desk, "acme", CAPTION) == 2
    desk.commit(running)
    assert desk.ledger.unpark("acme") == 0
    clock.forward(6)
    assert desk.ledger.unpark("acme") == 1
    assert desk.claim().fixed == others[1] and all(desk.status(job) == "queued" for job in stuck)


def test_two_pools_share_one_limit_and_neither_keeps_the_other_waiting(limited):
    """Of what came back to both lines, the one on the pool that nobody works on stops nothing."""
    desk = limited(max_running_jobs=1)
    [desk.submit(pool=pool) for pool in ("gpu", "cpu") for _ in range(5)]
    running = desk.claim(slot="0")
    assert desk.claim(slot="1") is None and desk.claim(slot="1", pool="gpu") is None
    for _ in range(4):
        desk.commit(running)
        running = desk.claim(slot="0")
        assert running.fixed.pool == "cpu"
    desk.commit(running)
    assert desk.claim(slot="0") is None and desk.claim(slot="0", pool="gpu").fixed.pool == "gpu"


def test_a_worker_of_an_older_release_ends_a_job_and_does_not_say_so(limited):
    """What is counted as running is looked at where the tenant is at its limit."""
    desk = limited(max_running_jobs=1)
    jobs = [desk.submit() for _ in range(2)]
    desk.commit(desk.claim())
    desk.ledger.redis.sadd(keys.running("acme"), jobs[0].id)
    assert desk.claim().fixed == jobs[1]


def test_parked_jobs_can_be_canceled_and_expire(limited, clock):
    desk = limited(max_running_jobs=1)
    jobs = [desk.submit(queue_ttl_s=60) for _ in range(4)]
    running = desk.claim(slot="0")
    assert desk.claim(slot="1") is None and parked(desk, "acme") == 3
    assert desk.cancel(jobs[1]) == "canceled" and parked(desk, "acme") == 2
    clock.forward(61)
    assert len(desk.ledger.expire(AWAY)) == 2
    desk.commit(running)
    assert nothing_left(desk)


def test_jobs_that_wait_for_a_time_or_a_retry_are_waiting_jobs(limited, clock):
    """max_waiting_jobs counts what is scheduled, what waits for its retry and what is parked; each once."""
    desk = limited(max_waiting_jobs=3, max_running_jobs=1)
    later = desk.submit(start_ms=clock.ms + 1000)
    retried = desk.submit()
    desk.fail(desk.claim(), delay_s=5)
    desk.submit()
    with pytest.raises(WaitingTooMany):
        desk.submit()
    desk.cancel(later)
    clock.forward(6)
    desk.ledger.due()
    running = desk.claim(slot="0")
    assert running.fixed == retried and desk.claim(slot="1") is None and parked(desk, "acme") == 1
    desk.submit(), desk.submit(start_ms=clock.ms + 1000)
    with pytest.raises(WaitingTooMany):
        desk.submit()
    desk.submit(tenant="other")


def test_a_paused_tenant_starts_nothing_and_holds_up_nobody(desk, ledger):
    """Those that run go on; resumed, its jobs come in their order and share with the others."""
    running = desk.running(tenant="paused")
    mine = [desk.submit(tenant="paused") for _ in range(250)]
    theirs = [desk.submit(tenant="other") for _ in range(5)]
    ledger.pause("tenant/paused", "an incident")
    assert desk.drain() == theirs and parked(desk, "paused") == 250
    assert desk.commit(running) == "succeeded" and desk.claim() is None
    ledger.resume("tenant/paused")
    while ledger.unpark("paused"):
        pass
    assert desk.drain() == mine and nothing_left(desk)


@pytest.mark.parametrize("name", ["pool/cpu", "model/generate/lstm"])
def test_a_paused_pool_or_model_starts_nothing(desk, ledger, name):
    job, other = desk.submit(), desk.submit(pool="gpu", kind="caption", model="cnn-lstm")
    beside = desk.submit(kind="caption", model="cnn-lstm", priority=-1)
    ledger.pause(name, "")
    assert desk.claim(pool="gpu").fixed == other
    taken = desk.drain()
    assert taken == ([] if name == "pool/cpu" else [beside])
    ledger.resume(name)
    assert job in desk.drain()


def test_jobs_that_come_while_their_tenant_is_paused_stand_behind_its_others(desk, ledger):
    old = [desk.submit(tenant="p") for _ in range(50)]
    ledger.pause("tenant/p", "")
    assert desk.claim() is None
    new = [desk.submit(tenant="p") for _ in range(3)]
    assert desk.claim() is None and parked(desk, "p") == 53
    ledger.resume("tenant/p")
    assert ledger.unpark("p") == 53
    assert desk.drain() == old + new


def test_a_pause_keeps_its_first_reason_and_there_is_a_bound(desk, ledger):
    ledger.pause("tenant/a", 'the "first"')
    ledger.pause("tenant/a", "the second")
    assert '"reason": "the \\"first\\""' in ledger.redis.hget(keys.PAUSES, "tenant/a")
