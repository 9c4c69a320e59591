"""Estimates of jobs in a real ledger: slots, lines and durations are read from Redis. Workers are played by hand."""

import json

import pytest

from tasks.durations import Durations
from tasks.ids import member_id, new_batch_id
from tasks.ledger import Worker, keys
from tasks.service import pool_slots
from tasks.service.etas import Etas

LSTM, CNN = "cpu.generate:lstm", "cpu.caption:cnn-lstm"


def measure(ledger, line: str, run_s: float, processes: tuple[str, ...] = ("w1:1:1",)) -> None:
    kept = Durations([run_s] * 64, [5.0], dict.fromkeys(processes, 1))
    ledger.redis.hset(keys.DURATIONS, line, kept.as_json())


def submitted(ledger, fixed, count: int, **changes) -> list[str]:
    made = [fixed(**changes) for _ in range(count)]
    for one in made:
        ledger.submit(one)
    return [one.id for one in made]


def eta(ledger, job_id: str):
    """As a process that has read no pool before estimates it."""
    record = ledger.record(job_id)
    return Etas(ledger).of_job(record, ledger.position(record))


@pytest.fixture
def serving(ledger, worker):
    """Makes the worker live, with so many slots; claims for each of its slots that is named."""

    def serve(slots: int, *busy: str, who: Worker = worker, draining: bool = False, fresh: bool = False) -> None:
        ledger.renew(who, draining, about={"slots": str(slots)})
        if not fresh and not busy:  # one slot has ended a claim
            ledger.redis.hset(keys.slots(who.id), f"{who.id}:7:1:1", "0 -")
        for n, slot in enumerate(busy):
            assert ledger.claim(who, slot, f"{n:032d}")

    return serve


def test_none_is_said_until_a_slot_lives_and_durations_are_known(ledger, fixed, serving, worker):
    jobs = submitted(ledger, fixed, 3)
    measure(ledger, LSTM, 10.0)
    assert eta(ledger, jobs[2]) is None, "no worker"
    serving(1, draining=True)
    assert eta(ledger, jobs[2]) is None, "it takes no jobs"
    ledger.redis.delete(keys.slots("w1"))
    serving(1, fresh=True)
    assert eta(ledger, jobs[2]) is None, "its processes have yet to start"
    serving(1, "w1:1:1:1")
    assert 15 < eta(ledger, jobs[2]).likely < 25
    assert eta(ledger, jobs[0]).until == "end" and 8 < eta(ledger, jobs[0]).likely <= 10.5
    ledger.redis.delete(keys.DURATIONS)
    assert eta(ledger, jobs[2]) is None and eta(ledger, jobs[0]) is None, "nothing is measured"
    ledger.redis.hset(keys.DURATIONS, LSTM, "damaged")
    assert eta(ledger, jobs[2]) is None


def test_jobs_of_other_lines_that_go_first_count(ledger, fixed, serving):
    """One behind of its own line, four of another before it, all on one slot whose process knows both models."""
    submitted(ledger, fixed, 4, kind="caption", model="cnn-lstm")
    (one,) = submitted(ledger, fixed, 1, priority=-1)
    submitted(ledger, fixed, 3, priority=-2)
    measure(ledger, LSTM, 1.0)
    measure(ledger, CNN, 10.0)
    serving(1, "w1:1:1:1")
    assert 25 < eta(ledger, one).likely < 45
    ledger.pause("model/caption/cnn-lstm", "")
    assert eta(ledger, one).likely < 11, "a paused model's jobs do not go first"


def test_another_worker_takes_its_share_of_the_other_line(ledger, fixed, serving):
    """Eight captions before it; three slots more serve captions alone, so a quarter of them goes first."""
    submitted(ledger, fixed, 8, kind="caption", model="cnn-lstm")
    (one,) = submitted(ledger, fixed, 1)
    measure(ledger, LSTM, 1.0)
    measure(ledger, CNN, 10.0)
    serving(1)
    assert eta(ledger, one).likely > 60
    serving(3, who=Worker("w2", "cpu", ["cpu.caption"], [CNN]))
    assert 15 < eta(ledger, one).likely < 27  # two of 10 s, and 5 s of load


def test_a_cold_process_loads_the_model_before_the_first_job(ledger, fixed, serving):
    """A slot that never ran it; then one of a process that has."""
    jobs = submitted(ledger, fixed, 2)
    measure(ledger, LSTM, 1.0)
    serving(1)
    assert 5.5 < eta(ledger, jobs[1]).likely < 6.5
    ledger.redis.delete(keys.slots("w1"))
    ledger.redis.hset(keys.slots("w1"), "w1:1:1:1", "0 -")
    assert 0.8 < eta(ledger, jobs[1]).likely < 1.2


def test_a_batch_is_estimated_by_its_last_jobs(ledger, fixed, serving, worker):
    """Until all have ended: six of 10 s on two slots, 30 s; no more once none lives."""
    batch_id = new_batch_id()
    record = {"id": batch_id, "tenant": "acme", "lines": "6", "created_ms": "1", "sealed_ms": "2", "queued": "6"}
    for line in range(1, 7):
        ledger.submit(fixed(id=member_id(batch_id, line), batch=batch_id))
    ledger.redis.set(keys.batch_lines("acme", batch_id), "0111111")
    measure(ledger, LSTM, 10.0, ("w1:1:1", "w1:2:1"))
    assert Etas(ledger).of_batch(record) is None
    serving(2, "w1:1:1:1", "w1:2:1:1")
    told = Etas(ledger).of_batch(record)
    assert told.until == "end" and 26 < told.likely < 34
    assert Etas(ledger).of_batch({**record, "scheduled": "1"}) is None
    assert Etas(ledger).of_batch({name: value for name, value in record.items() if name != "sealed_ms"}) is None
    ledger.pause("model/generate/lstm", "")
    assert Etas(ledger).of_batch(record) is None


def test_a_damaged_record_has_no_estimate(ledger, fixed, serving, caplog):
    """Nor does it keep others from theirs, nor a key of another type."""
    caplog.set_level("DEBUG")
    jobs = submitted(ledger, fixed, 4)
    measure(ledger, LSTM, 1.0)
    serving(2, "w1:1:1:1", "w1:1:1:2")
    ledger.redis.hset(keys.job(jobs[2]), "tag", "first")
    ledger.redis.hset(keys.job(jobs[0]), "attempt_ms", "soon")
    assert eta(ledger, jobs[0]) is None and eta(ledger, jobs[2]) is None
    assert "without an estimate" in caplog.text
    ledger.redis.delete(keys.job(jobs[1]))
    ledger.redis.set(keys.job(jobs[1]), "no hash")
    ledger.redis.hset(keys.worker("w1"), "host", "studio")
    assert eta(ledger, jobs[3]).until == "start"
    ledger.redis.hset(keys.worker("w1"), "slots", "many")
    assert eta(ledger, jobs[3]) is None


def test_a_pool_is_read_once_for_many_jobs(ledger, fixed, serving, monkeypatch):
    """Within the time that it is kept, an estimate costs one trip."""
    jobs = submitted(ledger, fixed, 3)
    measure(ledger, LSTM, 1.0)
    serving(1, "w1:1:1:1")
    monkeypatch.setattr(pool_slots, "KEPT_S", 60)
    etas = Etas(ledger)
    records = [ledger.record(job) for job in jobs]
    assert etas.of_job(records[1], 1) is not None
    ledger.redis.config_resetstat()
    assert etas.of_job(records[1], 1) is not None and etas.of_job(records[2], 2) is not None
    calls = {name.removeprefix("cmdstat_"): told["calls"] for name, told in ledger.redis.info("commandstats").items()}
    assert {name: calls.get(name, 0) for name in ("zcount", "hkeys", "hmget", "hgetall")} == {
        "zcount": 4,
        "hkeys": 2,
        "hmget": 0,
        "hgetall": 0,
    }


def test_of_very_many_running_jobs_a_part_is_read(ledger, fixed, serving, monkeypatch):
    monkeypatch.setattr(pool_slots, "RUNNING_READ", 3)
    jobs = submitted(ledger, fixed, 11)
    measure(ledger, LSTM, 10.0, tuple(f"w1:{n}:1" for n in range(10)))
    serving(10, *(f"w1:{n}:1:1" for n in range(10)))
    pool = pool_slots.PoolSlots(ledger).of("cpu")
    assert [slot.line for slot in pool.servers[0].slots] == [LSTM] * 10
    assert 8 < eta(ledger, jobs[10]).likely <= 10.5
    assert json.loads(ledger.redis.hget(keys.DURATIONS, LSTM))["run_s"]
