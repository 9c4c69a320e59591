"""One job, claim to commit, on both pools: read this after tests/test_flow.py."""

import json

import pytest

from tasks.errors import LedgerFault, NotReady
from tasks.job import Status
from tasks.ledger import keys
from tests.stack import until
from tests.worker.conftest import celery_of
from worker import insist


def test_outputs_lie_under_the_attempts_prefix_and_in_the_record(house, pool):
    """What the record lists is in the bucket, under number and token of the attempt that committed."""
    job = house.ended(house.submit(f"{pool}-files", "hello"))
    assert job.status == Status.SUCCEEDED, job.error
    (output,) = job.outputs
    assert (output.name, output.media_type, output.bytes) == ("echo.txt", "text/plain", 5)
    record = house.ledger.record(job.id)
    (kept,) = json.loads(record["outputs"])
    assert kept["key"].startswith(f"tenants/acme/jobs/{job.id}/1-")
    assert house.storage.get_bytes(kept["key"]) == b"hello"


def test_job_json_is_written_beside_the_outputs(house, pool):
    """Soon after the end the bucket has the final job, without secrets of the record."""
    job = house.ended(house.submit(f"{pool}-noop", "hi"))
    key = f"tenants/acme/jobs/{job.id}/job.json"
    until(lambda: house.storage.head(key), 30, "job.json is there")
    written = json.loads(house.storage.get_bytes(key))
    assert (written["id"], written["status"], written["result"]) == (job.id, "succeeded", job.result)
    assert "token" not in written


def test_a_large_result_goes_into_the_bucket(house, pool):
    """A result over 32 KiB is an output, result.json, and the record only names it."""
    job = house.ended(house.submit(f"{pool}-noop", "x" * 40_000))
    assert job.result == {"output": "result.json"}
    assert [output.name for output in job.outputs] == ["result.json"]


def test_progress_and_phase_are_seen_while_it_runs(house, pool):
    """People see how far it is, and the text so far; after the end the progress is whole, and that text is gone."""
    job_id = house.submit(f"{pool}-sleep", "1.5")
    house.started(job_id)
    until(lambda: (house.job(job_id).progress or 0) > 0, 10, "progress")
    assert house.job(job_id).message.endswith("s left")
    first = until(lambda: house.ledger.redis.get(keys.text(job_id)), 10, "the text so far")
    until(lambda: len(house.ledger.redis.get(keys.text(job_id)) or "") > len(first), 10, "it grows")
    assert first.startswith("00000001.") and {*first[8:]} == {"."}
    assert house.ended(job_id).progress == 1
    assert not house.ledger.redis.exists(keys.text(job_id))


def test_the_last_report_before_the_commit_is_in_the_record(house, pool):
    """Also where the job is over before a round of reports begins."""
    for _ in range(3):
        job = house.ended(house.submit(f"{pool}-files", "hello"))
        assert (job.progress, job.message) == (1, "written")


def test_a_defect_of_a_model_fails_the_job_at_once(house, pool):
    """What a model raises is model_failed, in one attempt; the worker lives on."""
    job = house.ended(house.submit(f"{pool}-broken", "bad"))
    assert (job.status, job.error.code, len(job.attempts)) == (Status.FAILED, "model_failed", 1)
    assert "RuntimeError: this input breaks the model" in job.error.detail
    assert house.ended(house.submit(f"{pool}-noop", "still there")).status == Status.SUCCEEDED


def test_loading_is_no_part_of_the_run_timeout(house, pool):
    """A model that loads for three seconds runs under a limit of one."""
    job = house.ended(house.submit(f"{pool}-slowload", "", run_timeout_s=1))
    assert job.status == Status.SUCCEEDED, job.error


def test_jobs_of_a_gpu_worker_share_a_batch_and_a_bad_one_stands_alone(house):
    """Four jobs arrive together: the three good ones succeed, the bad one fails, whatever batch they were in."""
    jobs = [house.submit("gpu-broken", prompt) for prompt in ("one", "bad", "two", "three")]
    ended = [house.ended(job_id) for job_id in jobs]
    assert [job.status for job in ended] == ["succeeded", "failed", "succeeded", "succeeded"]


def test_an_input_that_cannot_be_read_fails_in_one_attempt(house, pool):
    """A permanent error is not tried again, and says what is wrong."""
    job = house.ended(house.submit(f"{pool}-noop", {"url": "upload:upload_" + "0" * 26}))
    assert (job.status, len(job.attempts), job.error.retryable) == (Status.FAILED, 1, False)


def test_every_job_leaves_the_leases_and_lines_empty(house, pool):
    """Nothing of an ended job is left in the ledger's working sets."""
    house.ended(house.submit(f"{pool}-noop", "x"))
    redis = house.ledger.redis
    until(lambda: not redis.zcard(keys.leases(pool)), 30)
    assert not [line for line in redis.keys("bl:line:*") if line.startswith(f"bl:line:{pool}.")]
    assert not [field for field in redis.hgetall(keys.fair(pool)) if field != "clock"]


def test_torchs_threads_sleep_at_barriers(house, pool):
    """Spinning on a busy core, they would hold up those they wait for."""
    assert celery_of(house.workers[pool].pid).environ()["OMP_WAIT_POLICY"] == "PASSIVE"


def test_a_ledger_that_is_away_is_asked_for_as_long_as_it_is_and_a_broken_one_a_few_times(monkeypatch):
    """What was computed waits for Redis; a script that fails would fail for ever."""
    monkeypatch.setattr(insist, "RETRY_S", 0)
    answers = [NotReady("away")] * 50 + [LedgerFault("broken")] + [NotReady("away")] * 50

    def ask(error_at_the_end):
        left = answers + [error_at_the_end] * 2

        def verb():
            if left:
                raise left.pop(0)
            return "succeeded"

        return verb

    assert insist.insist(ask(NotReady("away"))) == "succeeded"
    with pytest.raises(LedgerFault, match="broken"):
        insist.insist(ask(LedgerFault("broken")))
