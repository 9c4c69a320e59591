"""The keeper's duties, each called by hand; the keeper as a process is in every test of the workers."""

import time

import psutil
import pytest

from tasks.bucket.layout import job_json_key
from tasks.errors import NotReady
from tasks.ledger import Ledger, Worker, keys
from tests.stack import until
from worker.keeper import events
from worker.keeper.idle import Idle
from worker.keeper.keeper import BUSY_SHARE, LATE_S, LATE_SHARE, LEFT_CORES, SPARE_SHARE, Keeper


@pytest.fixture
def keeper(settings, storage) -> Keeper:
    return Keeper(settings)


def test_it_sets_the_epoch_and_only_then_verbs_work(settings, keeper, fixed):
    """A Redis nobody has reconciled with takes no job."""
    ledger = Ledger(settings)
    with pytest.raises(NotReady):
        ledger.submit(fixed())
    keeper.duties["epoch"].work()
    assert ledger.submit(fixed()).bell


def test_a_redis_that_may_evict_is_refused(keeper):
    """Anything but noeviction may silently drop jobs."""
    keeper.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(NotReady, match="needs noeviction"):
            keeper.duties["epoch"].work()
    finally:
        keeper.redis.config_set("maxmemory-policy", "noeviction")


def test_lost_bells_are_rung_again_up_to_the_cap(ledger, keeper, fixed):
    """More jobs wait, and nobody rang: after a second the queue has as many bells as it may, and no more."""
    most = keeper.settings.bells
    for _ in range(most + 4):
        ledger.submit(fixed())
    assert ledger.redis.llen("cpu.generate") == 0
    until(lambda: keeper.duties["bells"].work() or ledger.redis.llen("cpu.generate") == most, 10, "the bells are there")
    keeper.duties["bells"].work()
    assert ledger.redis.llen("cpu.generate") == most


def test_if_those_who_come_do_not_know_the_model_more_are_rung_for_until_every_worker_has_a_bell(ledger, keeper, fixed):
    """Else the same one might come each time, though another knows the model. Whoever comes takes all bells here."""
    for number in range(5):
        ledger.renew(Worker(f"w{number}", "cpu", ["cpu.generate"], []))
    ledger.submit(fixed())

    def taken() -> int:
        keeper.duties["bells"].work()
        bells = ledger.redis.llen("cpu.generate")
        ledger.redis.delete("cpu.generate")
        return bells

    assert [until(taken, 20, "bells") for _ in range(6)] == [1, 2, 4, 5, 1, 2]


def test_a_job_whose_start_time_has_come_is_rung_for(ledger, keeper, fixed):
    """Scheduled jobs wait in Redis, not in a worker's memory."""
    job = fixed(start_ms=int(ledger.redis.time()[0]) * 1000 + 1500)
    assert not ledger.submit(job).bell
    assert ledger.record(job.id)["status"] == "scheduled"
    until(lambda: keeper.round() or ledger.record(job.id)["status"] == "queued", 10)
    assert ledger.redis.llen("cpu.generate") == 1


def test_what_an_uncommitted_attempt_left_is_deleted_and_the_committed_stays(ledger, storage, keeper, fixed, worker):
    """A worker never deletes; the keeper does, later, and never what a record lists."""
    job = fixed()
    ledger.submit(job)
    ledger.claim(worker, "w1:1:1:1", "00000001aa")
    left, kept = (f"tenants/acme/jobs/{job.id}/{n}-{token}/a.txt" for n, token in ((1, "000001aa"), (2, "000002aa")))
    storage.put_bytes(left, b"half", "text/plain")
    ledger.release(job.id, "00000001aa")
    ledger.claim(worker, "w1:1:1:1", "00000002aa")
    storage.put_bytes(kept, b"whole", "text/plain")
    ledger.commit(
        job.id,
        "00000002aa",
        {},
        [{"name": "a.txt", "media_type": "text/plain", "bytes": 5, "sha256": "0" * 64, "key": kept}],
        {},
    )
    keeper.duties["trash"].work()
    assert storage.head(left), "not before its time"
    for prefix in (left, kept):
        ledger.redis.zadd(keys.TRASH, {prefix.rpartition("/")[0] + "/": 1})
    keeper.duties["trash"].work()
    assert storage.head(left) is None
    assert storage.head(kept)
    assert not ledger.redis.exists(keys.TRASH)


def test_past_its_retention_a_job_is_forgotten_with_all_it_left(ledger, storage, keeper, fixed):
    """Record, index and outputs are gone; of job.json a tombstone is left, and that goes a month later."""
    job = fixed(retention_s=0.01)
    ledger.submit(job)
    ledger.cancel("acme", job.id)
    output = f"tenants/acme/jobs/{job.id}/1-000001aa/a.txt"
    storage.put_bytes(output, b"x", "text/plain")
    keeper.duties["segments"].work()
    until(lambda: keeper.round() or not storage.head(output), 10)
    assert ledger.record(job.id) is None
    assert b"erased_at" in storage.get_bytes(job_json_key("acme", job.id))
    ledger.redis.zadd(keys.TOMBSTONES, {f"acme/{job.id}": 1})
    keeper.round()
    assert not list(storage.list(f"tenants/acme/jobs/{job.id}/"))
    assert not ledger.redis.zcard(keys.tenant_jobs("acme"))


def test_an_upload_lives_as_long_as_a_job_that_names_it(ledger, storage, keeper):
    """Asked after a day: named by a job it stays, else it goes."""
    used, unused = (f"upload_{c * 26}" for c in "ab")
    for upload in (used, unused):
        storage.put_bytes(f"tenants/acme/uploads/{upload}/x.txt", b"x", "text/plain")
        ledger.redis.zadd(keys.UPLOADS, {f"acme/{upload}": 1})
    ledger.redis.sadd(keys.upload_jobs("acme", used), "job_1")
    keeper.round()
    until(lambda: keeper.round() or not storage.head(f"tenants/acme/uploads/{unused}/x.txt"), 10)
    assert storage.head(f"tenants/acme/uploads/{used}/x.txt")


def test_names_that_are_no_lines_keep_no_queue_from_its_bells(ledger, keeper, fixed):
    """Nor does a line of another type."""
    ledger.submit(fixed())
    ledger.redis.sadd(keys.LINES, "", "milk", "a.b:c:d", "cpu.caption:odd", "bl:job:x")
    ledger.redis.set(keys.line("cpu.caption:odd"), "of another type")
    until(lambda: keeper.duties["bells"].work() or ledger.redis.llen("cpu.generate") == 1, 10, "the bell is there")
    assert keeper.duties["bells"].skipped.count == 4


def test_jobs_that_scripts_set_aside_are_told_of_once(ledger, keeper, caplog):
    """Of the last hour, where a keeper starts; then each as it comes."""
    ledger.redis.xadd(keys.FAULTS, {"verb": "due", "id": "job_old", "words": "it has no status"}, id="1-1")
    ledger.redis.xadd(keys.FAULTS, {"verb": "sweep", "id": "job_1", "words": "it has no status"})
    keeper.duties["set_aside"].work()
    ledger.redis.xadd(keys.FAULTS, {"verb": "claim", "id": "job_2", "words": "its key is of another type"})
    ledger.redis.xadd(keys.FAULTS, {"odd": "milk"})
    for _ in range(2):
        keeper.duties["set_aside"].work()
    assert keeper.duties["set_aside"].skipped.count == 3
    assert "job_1 at sweep" in caplog.text and "its key is of another type" in caplog.text
    assert "job_old" not in caplog.text


def test_lines_and_tenants_that_cannot_be_read_keep_no_other_waiting(ledger, keeper, fixed):
    """A job whose model is on another pool follows it, beside lines that are none; parked tenants likewise."""
    ledger.submit(job := fixed(model="transformer"))
    ledger.redis.sadd(keys.LINES, "", "milk", "cpu.caption:odd")
    ledger.redis.set(keys.line("cpu.caption:odd"), "of another type")
    keeper.duties["lines"].work()
    assert ledger.record(job.id)["line"] == "gpu.generate:transformer"
    assert keeper.duties["lines"].skipped.count == 3
    assert "" not in ledger.redis.hkeys(keys.POOLS)
    ledger.redis.sadd(keys.PARKED, "acme", "zoo")
    ledger.redis.set(keys.parked("acme"), "of another type")
    keeper.duties["parked"].work()
    assert keeper.duties["parked"].skipped.count <= 1 and not ledger.redis.sismember(keys.PARKED, "zoo")


def test_of_two_keepers_one_writes_job_json_at_a_time(settings, storage, ledger, keeper, fixed, monkeypatch):
    """The other writes nothing meanwhile, and takes over from one that died."""
    other, ended, puts = Keeper(settings), [fixed() for _ in range(4)], []
    put_many = keeper.storage.put_many

    def end(job):
        ledger.submit(job)
        ledger.cancel("acme", job.id)
        keeper.duties["segments"].work()

    def put_beside_the_other(objects):
        puts.append(len(objects))
        other.duties["job_json"].work()
        return put_many(objects)

    for job in ended[:3]:
        end(job)
    monkeypatch.setattr(keeper.storage, "put_many", put_beside_the_other)
    with monkeypatch.context() as patched:
        patched.setattr(other.storage, "put_many", lambda objects: pytest.fail("both write"))
        keeper.duties["job_json"].work()
    assert puts == [3] and all(storage.head(job_json_key("acme", job.id)) for job in ended[:3])
    ledger.redis.set(f"{keys.WRITTEN}:lock", "of one that died", px=200)
    end(ended[3])
    until(lambda: other.duties["job_json"].work() or storage.head(job_json_key("acme", ended[3].id)), 20)


def test_job_json_leaves_a_busy_machine_to_the_jobs_until_it_is_late(keeper, ledger, monkeypatch):
    """CPU seconds of a round by the cores that are idle; of a late one most of a core, however busy the machine is."""
    given: list[float] = []
    monkeypatch.setattr(keeper.journal, "write_job_json", lambda for_s, cpu_s: given.append(cpu_s) or [])
    for cores, lag_s in ((0.0, 0), (LEFT_CORES, 0), (LEFT_CORES + 1, 0), (64.0, 0), (0.0, LATE_S + 1)):
        monkeypatch.setattr(keeper.idle, "cores", lambda cores=cores: cores)
        monkeypatch.setattr(keeper.journal, "lag_s", lambda lag_s=lag_s: lag_s)
        keeper.write_job_json()
    shares = [seconds / keeper.settings.renew_s for seconds in given]
    assert shares == pytest.approx([BUSY_SHARE, BUSY_SHARE, SPARE_SHARE, LATE_SHARE, LATE_SHARE])


def test_what_this_process_computes_counts_as_idle():
    """Else its own work would take its time from it. No machine has more to give than its cores."""
    idle, end = Idle(), time.monotonic() + 0.2
    while time.monotonic() < end:
        pass
    assert 0 < idle.cores() <= psutil.cpu_count() * 1.1


def test_the_event_stream_is_trimmed_by_age_and_by_length(settings, ledger):
    """By whole nodes of the stream, so a few more may stay."""
    now = ledger.redis.time()[0] * 1000
    with ledger.redis.pipeline() as pipeline:
        for number in range(1000):
            pipeline.xadd(keys.EVENTS, {"id": "job"}, id=f"{now - 1_000_000}-{number + 1}")
        for number in range(3000):
            pipeline.xadd(keys.EVENTS, {"id": "job"}, id=f"{now}-{number + 1}")
        pipeline.execute()
    events.trim(ledger.redis, settings.model_copy(update={"events_s": 10_000}))
    assert ledger.redis.xlen(keys.EVENTS) == 4000
    events.trim(ledger.redis, settings)
    assert 3000 <= ledger.redis.xlen(keys.EVENTS) <= 3100
    events.trim(ledger.redis, settings.model_copy(update={"events_max": 1000}))
    assert 1000 <= ledger.redis.xlen(keys.EVENTS) <= 1100
