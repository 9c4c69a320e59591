"""Damaged records: pages show what can be shown, and each door says what it can of one."""

import json

import pytest

from tasks.errors import Conflict, StorageUnavailable
from tasks.job import Job
from tasks.ledger import keys
from tasks.reduced import reduced, view
from tasks.service.dead_letters import DeadLetters, Which
from tasks.service.jobs import Jobs

UPLOAD = "upload_" + "a" * 26


@pytest.fixture
def jobs(settings, storage, ledger) -> Jobs:
    return Jobs.of(settings)


@pytest.fixture
def failed(ledger, worker, fixed):
    """failed(): a dead letter."""
    tokens = iter(range(100))

    def make(**changes):
        ledger.submit(job := fixed(max_attempts=1, **changes))
        claimed = ledger.claim(worker, "w1:1:1:1", f"{next(tokens):032}")
        ledger.fail(job.id, claimed.token, StorageUnavailable("away"))
        return job

    return make


class TestView:
    """Of one record."""

    @pytest.fixture
    def record(self, ledger, failed) -> dict:
        job = failed(metadata={"n": 1}, params={"stop": []})
        return ledger.record(job.id)

    def test_a_whole_record_is_shown_whole(self, record):
        assert view(record) == Job.of_record(record)
        assert reduced(record) == (Job.of_record(record), [])

    @pytest.mark.parametrize("name", ["input", "params", "metadata", "deadline_s", "uploads", "priority"])
    def test_a_part_of_the_request_that_cannot_be_read(self, record, name):
        fixed = {**json.loads(record["fixed"]), name: "odd"}
        job, left_out = reduced({**record, "fixed": json.dumps(fixed)})
        assert left_out == [name] and job.message == f"cannot be shown: {name}"
        whole = Job.of_record(record).model_copy(update={"message": job.message})
        assert {key for key in Job.model_fields if getattr(job, key) != getattr(whole, key)} <= {name}

    def test_the_message_that_there_was_stays(self, record):
        job, _ = reduced({**record, "message": "half way", "outputs": "{"})
        assert job.message == "half way; cannot be shown: outputs" and job.outputs == []

    @pytest.mark.parametrize("fields", [{"fixed": "["}, {"fixed": "1"}, {"status": "odd"}, {"created_ms": ""}])
    def test_one_of_which_nothing_can_be_shown(self, record, fields):
        with pytest.raises((ValueError, KeyError, TypeError)):
            view({**record, **fields})


@pytest.mark.parametrize(
    "damage",
    [{"fixed": "["}, {"fixed": "[]"}, {"fixed": '{"id": "another"}'}, {"fixed": "{}"}, {"status": "odd"}, None, "gone"],
)
def test_one_record_that_cannot_be_shown_leaves_the_page_there(jobs, ledger, failed, damage):
    """In both lists, whatever is asked for; None: without the field; 'gone': a key of another type."""
    odd, even = failed(), failed()
    match damage:
        case None:
            ledger.redis.hdel(keys.job(odd.id), "fixed")
        case "gone":
            ledger.redis.delete(keys.job(odd.id))
            ledger.redis.set(keys.job(odd.id), "of another type")
        case _:
            ledger.redis.hset(keys.job(odd.id), mapping=damage)
    letters = DeadLetters(jobs)
    for asked in ({}, {"kind": "generate"}, {"model": "lstm"}):
        assert [job.id for job in jobs.list("acme", **asked).jobs] == [even.id]
        assert [job.id for job in letters.read("acme", Which(**asked)).jobs] == [even.id]
    assert [job.id for job in letters.read("acme", Which(error_code="storage_unavailable")).jobs] == [even.id]
    assert [job.id for job in jobs.list("acme", status="failed").jobs] == [even.id]


def test_what_is_left_out_is_logged_once(jobs, ledger, failed, caplog):
    odd = failed()
    ledger.redis.hset(keys.job(odd.id), "fixed", "[")
    for _ in range(3):
        jobs.list("acme")
    assert caplog.text.count(odd.id) == 1


def test_a_retry_of_a_request_that_cannot_be_read_is_a_conflict(jobs, ledger, failed):
    """One by one, and among dead letters, where the others are replayed."""
    odd, even = failed(), failed()
    fixed = json.loads(ledger.record(odd.id)["fixed"])
    ledger.redis.hset(keys.job(odd.id), "fixed", json.dumps({**fixed, "input": "odd"}))
    with pytest.raises(Conflict, match="submit it anew"):
        jobs.retry("acme", odd.id)
    done = DeadLetters(jobs).replay("acme", Which(kind="generate"))
    assert [job.retry_of for job in done.jobs] == [even.id] and [one.id for one in done.refused] == [odd.id]


def test_a_purge_takes_damaged_ones_too(jobs, ledger, failed):
    """Their uploads are given back where they still say which."""
    odd = failed(uploads={UPLOAD: {"key": "k", "bytes": 1, "etag": "e"}})
    fixed = json.loads(ledger.record(odd.id)["fixed"])
    ledger.redis.hset(keys.job(odd.id), "fixed", json.dumps({**fixed, "input": "odd"}))
    assert DeadLetters(jobs).purge("acme", Which()).ids == [odd.id]
    assert not ledger.redis.exists(keys.upload_jobs("acme", UPLOAD), keys.job(odd.id))


def test_a_reason_tells_nothing_of_what_stands_in_the_record(jobs, ledger, failed, caplog):
    """Links of inputs are in no log."""
    odd = failed(input={"prompt": {"url": "https://example.com/?signature=secret"}})
    fixed = json.loads(ledger.record(odd.id)["fixed"])
    ledger.redis.hset(keys.job(odd.id), "fixed", json.dumps({**fixed, "kind": [fixed["input"]]}))
    assert jobs.list("acme").jobs == []
    assert odd.id in caplog.text and "kind: Input should be a valid string" in caplog.text
    assert "secret" not in caplog.text
