"""The keeper holds lines against the registry: jobs follow their model, or are told that nobody knows it and fail in
time; parked jobs come back; pauses outlive Redis.
"""

import json
from functools import partial

import pytest

from tasks.broker import Broker
from tasks.job import Job
from tasks.ledger import Ledger, Worker, connect, keys, pools
from tasks.ledger.pauses import holds
from tasks.registry import Model, Registry
from tests.conftest import PATIENT_S, fenced, make_fixed, make_worker
from tests.tasks.ledger.conftest import Clock, Desk
from worker.keeper.keeper import Keeper
from worker.keeper.lines import Lines
from worker.keeper.pauses import KEY, Pauses, put_back
from worker.keeper.skipped import Skipped

LSTM = Model(kind="generate", name="lstm", algorithm="lstm", pool="cpu")
CAPTION = Model(kind="caption", name="cnn-lstm", algorithm="cnn-lstm", pool="cpu")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def desk(settings, clock, worker) -> Desk:
    ledger = Ledger(settings, connect(settings, read_timeout_s=PATIENT_S), clock)
    ledger.set_epoch()
    return Desk(ledger, worker)


@pytest.fixture
def reconciled(desk, settings):
    """reconciled(models, pools): a keeper of such a deployment has looked at the lines."""

    def look(*models, among=("cpu", "gpu")):
        lines = Lines(desk.ledger, Registry(models, among), Broker(settings))
        lines.reroute(Skipped("lines"))

    return look


def message(desk, job):
    (why,) = desk.ledger.why_they_wait([desk.record(job)])
    return why


def test_jobs_follow_their_model_to_its_new_pool(desk, reconciled):
    """In their order, with a bell; the caller sees where they are. What another model has waiting stays."""
    jobs, other = [desk.submit(tenant=tenant) for tenant in "aabab"], desk.submit(kind="caption", model="cnn-lstm")
    gone = desk.submit(tenant="a")
    desk.cancel(gone)
    reconciled(LSTM.model_copy(update={"pool": "gpu"}), CAPTION)
    assert Job.of_record(desk.record(jobs[0])).pool == "gpu" and desk.record(other)["line"] == "cpu.caption:cnn-lstm"
    assert desk.ledger.redis.llen("gpu.generate") == 1 and not desk.line()
    taken = []
    while claimed := desk.claim(pool="gpu"):
        desk.commit(claimed)
        taken.append(claimed.fixed)
    assert sorted(job.id for job in taken) == sorted(job.id for job in jobs)
    assert [job for job in taken if job.tenant == "a"] == [job for job in jobs if job.tenant == "a"]
    assert desk.drain() == [other]
    assert list(desk.ledger.redis.hgetall(keys.fair("cpu"))) == ["clock"]


def test_a_pool_that_was_taken_out_gives_its_jobs_to_the_first(desk, reconciled):
    job = desk.submit(pool="gpu")
    reconciled(LSTM.model_copy(update={"pool": "gpu"}), among=("cpu",))
    assert desk.claim().fixed == job


def test_what_an_older_workers_line_has_is_left_to_it(desk, reconciled):
    """A deploy is under way: that worker is alive yet. Once it drains, the jobs follow."""
    job, older = desk.submit(), make_worker("older")
    desk.ledger.renew(older)
    reconciled(LSTM.model_copy(update={"pool": "gpu"}))
    assert desk.record(job)["line"] == "cpu.generate:lstm"
    desk.ledger.renew(older, draining=True)
    reconciled(LSTM.model_copy(update={"pool": "gpu"}))
    assert desk.record(job)["line"] == "gpu.generate:lstm"


def test_a_worker_that_tells_no_lines_serves_all_of_its_queues(desk, reconciled):
    job, older = desk.submit(), Worker("older", "cpu", ["cpu.generate"], [])
    desk.ledger.renew(older)
    desk.ledger.redis.hdel(keys.worker("older"), "lines")
    reconciled()
    assert message(desk, job) == ""


def test_a_job_whose_model_is_gone_says_so_and_fails_in_time(desk, reconciled, clock):
    """It is in no `wanted`, and in /v1/pools; one that came later waits as long; known again, all is forgotten."""
    job = desk.submit()
    reconciled(CAPTION)
    assert message(desk, job) == "waits, as no worker of this deployment serves generate/lstm"
    pool = pools.read(desk.ledger, "cpu")
    assert (pool.waiting, pool.wanted, pool.held) == (0, 0, 1)
    (orphaned,) = pools.unserved(desk.ledger)
    assert (orphaned.pool, orphaned.kind, orphaned.model, orphaned.waiting) == ("cpu", "generate", "lstm", 1)
    clock.forward(899)
    later = desk.submit()
    reconciled(CAPTION)
    assert desk.status(job) == "queued"
    clock.forward(1)
    reconciled(CAPTION)
    assert json.loads(desk.record(job)["error"])["code"] == "unknown_model" and desk.status(later) == "queued"
    reconciled(LSTM, CAPTION)
    assert message(desk, later) == "" and desk.drain() == [later] and not pools.unserved(desk.ledger)


def test_an_attempt_on_a_pool_that_was_taken_out_is_swept(settings, storage):
    """The pool is in no setting any more, and nobody renews."""
    keeper = Keeper(settings.model_copy(update={"pools": ["cpu"], "lease_s": 0.4, "renew_s": 0.1}))
    keeper.ledger.set_epoch()
    fixed = make_fixed(pool="gpu")
    keeper.ledger.submit(fixed)
    assert keeper.ledger.claim(make_worker("gone", "gpu"), "gone:0", "1" * 32)
    assert keeper.ledger.pools(["cpu"]) == ["cpu", "gpu"]
    keeper.duties["sweep"].work()
    clock = keeper.ledger.clock = Clock()
    clock.ms = round(float(keeper.ledger.record(fixed.id)["started_ms"]))
    for _ in range(30):
        clock.forward(0.1)
        keeper.duties["sweep"].work()
    assert keeper.ledger.record(fixed.id)["status"] == "queued"


def test_the_keeper_brings_parked_jobs_back(settings, storage, desk):
    keeper, jobs = Keeper(settings), [desk.submit() for _ in range(250)]
    desk.ledger.pause("tenant/acme", "")
    assert desk.claim() is None
    keeper.duties["parked"].work()
    assert not desk.line()
    desk.ledger.resume("tenant/acme")
    desk.ledger.clock.forward(10)
    keeper.ledger.clock = desk.ledger.clock
    keeper.duties["parked"].work()
    assert desk.line() == [job.id for job in jobs]


def test_a_paused_model_is_paused_for_records_of_every_form():
    assert all(holds(line, ["model/generate/lstm"]) for line in ("cpu.generate:lstm", "gpu.generate:lstm@2"))
    assert not holds("cpu.generate:lstm-2", ["model/generate/lstm", "pool/gpu", "model/caption/lstm"])


def test_no_bell_is_rung_for_what_is_paused_or_unknown(settings, storage, desk, reconciled):
    """A worker would wake for nothing again and again."""
    desk.submit(), desk.submit(kind="caption", model="cnn-lstm")
    desk.ledger.pause("model/generate/lstm", "")
    reconciled(LSTM)
    keeper = Keeper(settings)
    bells = keeper.duties["bells"]
    bells.work()
    assert not desk.ledger.waits(make_worker()) or desk.ledger.redis.hkeys(keys.ORPHANS) == ["cpu.caption:cnn-lstm"]
    assert not keeper.ledger.redis.llen("cpu.generate") and not keeper.ledger.redis.llen("cpu.caption")


def test_pauses_are_kept_in_the_bucket_and_put_back(settings, storage, desk):
    """After a flush what was paused is paused, with its reason; what is resumed is gone from the copy."""
    kept = Pauses(desk.ledger, storage)
    kept.write_copy()
    assert storage.head(KEY) is None
    desk.ledger.pause("tenant/acme", "an incident")
    kept.write_copy()
    before = desk.ledger.redis.hgetall(keys.PAUSES)
    desk.ledger.redis.flushdb()
    put_back(partial(desk.ledger.write, restoring=fenced(desk.ledger)), storage)
    desk.ledger.redis.delete(keys.RESTORING)
    assert desk.ledger.redis.hgetall(keys.PAUSES) == before
    desk.ledger.set_epoch()
    desk.ledger.resume("tenant/acme")
    kept.write_copy()
    desk.ledger.redis.flushdb()
    put_back(partial(desk.ledger.write, restoring=fenced(desk.ledger)), storage)
    desk.ledger.redis.delete(keys.RESTORING)
    assert not desk.ledger.redis.exists(keys.PAUSES)


def test_a_flushed_redis_does_not_erase_the_copy(settings, storage, desk):
    desk.ledger.pause("pool/cpu", "")
    kept = Pauses(desk.ledger, storage)
    kept.write_copy()
    desk.ledger.redis.flushdb()
    with pytest.raises(Exception, match="not yet reconciled"):
        kept.write_copy()
    assert b"pool/cpu" in storage.get_bytes(KEY)


def test_wanted_counts_what_could_start(settings, desk):
    """Not what is paused, nor what a tenant may not run beside what it runs."""
    limited = Ledger(settings.model_copy(update={"max_running_jobs": 2}), desk.ledger.redis, desk.ledger.clock)
    for _ in range(5):
        desk.submit(tenant="many")
    desk.submit(tenant="few")
    desk.submit(tenant="few", kind="caption", model="cnn-lstm")

    def seen():
        pool = pools.read(limited, "cpu")
        return pool.waiting, pool.held, pool.running, pool.wanted

    assert seen() == (4, 3, 0, 4)
    limited.claim(make_worker(), "w1:0", "1" * 32)
    assert seen() == (3, 3, 1, 4)
    limited.pause("model/caption/cnn-lstm", "")
    limited.pause("tenant/many", "")
    assert seen()[0] <= 2
    limited.pause("pool/cpu", "")
    assert seen() == (0, 6, 1, 1)
