"""`cache: true` over HTTP: a request whose work was done is answered at once; its outputs outlive the job that ran."""

import io
import json

import pytest

from tasks.ledger import keys
from tests.api.conftest import PROMPT, problem
from tests.api.test_life import path
from worker.keeper.journal import Journal
from worker.keeper.records import Records
from worker.keeper.skipped import Skipped
from worker.keeper.trash import Trash


@pytest.fixture
def ran(acme, hand):
    """A job with `cache` that has succeeded, with an output in the bucket."""
    job = acme.submit(cache=True, params={"seed": 3})
    hand.finish(hand.claim())
    return acme.get(path(job)).json


def again(caller, **changes):
    return caller.submit(**{"cache": True, "params": {"seed": 3}, **changes})


def text_of(caller, storage, job):
    """The output as a caller gets it: its link leads to the bytes."""
    answer = caller.get(job["outputs"][0]["url"])
    assert answer.status_code == 307
    return storage.get_bytes(answer.headers["Location"].partition("?")[0].partition(storage.bucket + "/")[2])


def test_the_same_request_has_succeeded_at_once(acme, ran, storage):
    job = again(acme, metadata={"take": 2}, priority=3)
    assert (job["status"], job["done"], job["cached_from"], job["cache"]) == ("succeeded", True, ran["id"], True)
    assert job["result"] == ran["result"] and job["metadata"] == {"take": 2} and job["attempts"] == []
    assert [output["sha256"] for output in job["outputs"]] == [output["sha256"] for output in ran["outputs"]]
    assert text_of(acme, storage, job) == b"the end"
    assert (ran["cached_from"], ran["cache"]) == (None, True)
    assert acme.get("/v1/jobs").json["data"][0]["cached_from"] == ran["id"]


def test_a_default_is_the_same_as_the_value_itself(acme, hand):
    acme.submit(cache=True)
    hand.finish(hand.claim())
    assert acme.submit(cache=True, params={"seed": 0})["status"] == "succeeded"
    assert acme.submit(cache=True, params={"seed": 1})["status"] == "queued"


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"seed": 4}},
        {"model": "lstm"},
        {"input": {"prompt": "Twice"}},
        {"cache": False},
        {"start_at": "2100-01-01T00:00:00Z"},
    ],
)
def test_another_request_runs(acme, ran, change):
    if "start_at" in change:
        problem(acme.post("/v1/jobs", json={**PROMPT, "cache": True, **change}), 422, "invalid_input")
        return
    assert again(acme, **change)["status"] == "queued"


def test_another_tenant_runs_its_own(rival, ran):
    assert again(rival)["status"] == "queued"


def test_a_retry_runs(acme, ran):
    assert acme.post(path(ran, "/retry")).json["status"] == "queued"


def test_ten_at_once_are_one_run(acme, hand):
    jobs = [again(acme) for _ in range(10)]
    assert [job["status"] for job in jobs] == ["queued"] * 10
    assert jobs[9]["message"] == f"waits for {jobs[0]['id']}, which does the same work"
    hand.finish(hand.claim())
    assert hand.claim() is None
    assert [acme.get(path(job)).json["cached_from"] for job in jobs[1:]] == [jobs[0]["id"]] * 9


def test_a_form_and_a_batch_have_it_too(acme, ran):
    form = {"kind": "generate", "prompt": PROMPT["input"]["prompt"], "params": '{"seed": 3}', "cache": "true"}
    as_form = {"content_type": "multipart/form-data"}
    assert acme.post("/v1/jobs", data=form, **as_form).json["cached_from"] == ran["id"]
    file = {**form, "prompt": (io.BytesIO(PROMPT["input"]["prompt"].encode()), "prompt.txt")}
    assert acme.post("/v1/jobs", data=file, **as_form).json["cached_from"] == ran["id"]
    lines = "".join(json.dumps({**PROMPT, "params": {"seed": seed}}) + "\n" for seed in (3, 3, 8, 8))
    query = {"defaults": '{"cache": true}'}
    batch = acme.post("/v1/batches", data=lines, content_type="application/jsonl", query_string=query).json
    assert (batch["counts"]["succeeded"], batch["counts"]["queued"]) == (2, 2)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_it_is_true_or_false(acme, value):
    problem(acme.post("/v1/jobs", json={**PROMPT, "cache": value}), 422, "invalid_input")


class TestErased:
    def test_the_one_that_ran_may_go_first(self, acme, ran, ledger, storage):
        """Its outputs stay for the other, are charged once, and go with it."""
        job = again(acme)
        trash, skipped = Trash(ledger, storage), Skipped("trash")
        stored = ledger.redis.hget(keys.STORED, "acme")
        acme.delete(path(ran))
        trash.empty(skipped)
        problem(acme.get(path(ran)), 410, "gone")
        assert text_of(acme, storage, job) == b"the end"
        assert ledger.redis.hget(keys.STORED, "acme") == stored
        third = again(acme)
        assert third["cached_from"] == ran["id"]
        acme.delete(path(job))
        trash.empty(skipped)
        assert text_of(acme, storage, third) == b"the end"
        acme.delete(path(third))
        trash.empty(skipped)
        trash.empty(skipped)
        left = [seen.key for seen in storage.list("tenants/acme/jobs/")]
        assert len(left) == 3 and all(key.endswith("/job.json") for key in left)
        assert ledger.redis.hget(keys.STORED, "acme") == "0"

    def test_the_other_may_go_first(self, acme, ran, ledger, storage):
        job = again(acme)
        acme.delete(path(job))
        Trash(ledger, storage).empty(Skipped("trash"))
        assert text_of(acme, storage, ran) == b"the end"


def test_a_shrunk_record_answers_still(acme, hand, ledger, storage, monkeypatch):
    """The result of one that may be cited stays whole; another's is read from the bucket, its output too."""
    acme.submit(cache=True)
    hand.finish(hand.claim(), "y" * 2000)
    job = acme.submit(cache=True, retention_s=60)
    journal = Journal(ledger, storage)
    journal.write_segments()
    journal.write_job_json(5)
    monkeypatch.setattr("worker.keeper.records.WHOLE_S", -10)
    Records(ledger, storage).shrink(5)
    assert "result" not in ledger.record(job["id"])
    seen = acme.get(path(job)).json
    assert seen["result"]["text"] == "y" * 2000 and text_of(acme, storage, seen) == b"y" * 2000
    assert acme.submit(cache=True)["result"] == seen["result"]
