"""A job's delivery over HTTP: folders that a submit may name, and how a job, a list and a batch's lines show it."""

import json
from io import BytesIO

import pytest

from api import create_app, keyfile
from tasks.delivery import URL_CHARS
from tests.api.conftest import PROMPT, Caller, problem

FOLDER = "s3://theirs/out/"


@pytest.fixture
def app(settings, storage, ledger):
    keyfile.add(settings.keys_file, "nobody")
    app = create_app(settings.model_copy(update={"s3_outputs": {"acme": ["theirs/out/", f"{settings.s3_bucket}/"]}}))
    app.test_client_class = Caller
    return app


def test_a_job_shows_its_delivery(acme, rival, hand):
    job = acme.submit(output={"url": FOLDER})
    bare = {"url": FOLDER, "status": None, "attempts": 0, "next_try_at": None, "last_try": None}
    assert job["delivery"] == bare and acme.submit()["delivery"] is None
    replay = f"/v1/jobs/{job['id']}/delivery/replay"
    assert "has not ended" in problem(acme.post(replay), 409, "conflict")["detail"]
    hand.finish(hand.claim())
    told = acme.get(job["links"]["self"]).json
    assert told["delivery"] == {**bare, "status": "pending", "next_try_at": told["completed_at"]}
    assert acme.get("/v1/jobs").json["data"][1]["delivery"] == told["delivery"]
    assert acme.post(replay).status_code == 202 and acme.get("/v1/limits").json["undelivered_webhooks"]["used"] == 1
    problem(rival.post(replay), 404, "not_found")


def test_a_replay_is_of_a_job_with_a_delivery(acme):
    job = acme.submit()
    refused = problem(acme.post(f"/v1/jobs/{job['id']}/delivery/replay"), 409, "conflict")
    assert "has no delivery" in refused["detail"]


def test_a_retry_a_form_and_the_defaults_of_a_batch_may_name_it(acme):
    form = {"kind": "generate", "prompt": "Once", "output": json.dumps({"url": FOLDER})}
    job = acme.post("/v1/jobs", data=form, content_type="multipart/form-data").json
    assert acme.post(job["links"]["cancel"]).json["delivery"]["status"] is None
    assert acme.post(job["links"]["retry"]).json["delivery"]["url"] == FOLDER
    defaults = json.dumps({"kind": "generate", "output": {"url": FOLDER}})
    form = {"defaults": defaults, "input": (BytesIO(b'{"input": {"prompt": "Once"}}\n'), "lines.jsonl")}
    batch = acme.post("/v1/batches", data=form, content_type="multipart/form-data")
    assert batch.status_code == 202, batch.json
    (line,) = map(json.loads, acme.get(batch.json["links"]["results"]).get_data(as_text=True).splitlines())
    assert line["job"]["delivery"]["url"] == FOLDER


LONG = FOLDER + "x" * (URL_CHARS - len(FOLDER) - 1) + "/"
WRONG = {
    LONG[:-1] + "x/": f"at most {URL_CHARS} characters",
    "s3://theirs/out": "ends in a slash",
    "s3://theirs": "s3://bucket/prefix/ is wanted",
    "s3:///out/": "s3://bucket/prefix/ is wanted",
    "https://theirs/out/": "s3://bucket/prefix/ is wanted",
    "s3://theirs/out/a b/": "without blanks",
    "s3://theirs/out/\u00e9/": "printable ASCII",
    "s3://theirs/out/../": ". or ..",
    "s3://theirs/out//": "empty part",
    "s3://theirs/": "BACKLOT_S3_OUTPUTS",
    "s3://theirs/outside/": "BACKLOT_S3_OUTPUTS",
    "s3://others/out/": "BACKLOT_S3_OUTPUTS",
}


@pytest.mark.parametrize("url", WRONG)
def test_a_folder_that_may_not_be_written_is_refused_at_submit(acme, url):
    (wrong,) = problem(acme.post("/v1/jobs", json={**PROMPT, "output": {"url": url}}), 422, "invalid_input")["errors"]
    assert wrong["pointer"] == "/output/url" and WRONG[url] in wrong["detail"]


def test_the_longest_folder_is_accepted(acme):
    assert acme.submit(output={"url": LONG})["delivery"]["url"] == LONG


def test_our_own_bucket_and_anothers_folder_are_refused(acme, rival, settings):
    """Whatever the operator lists, never our own."""
    own = acme.post("/v1/jobs", json={**PROMPT, "output": {"url": f"s3://{settings.s3_bucket}/x/"}})
    assert "own bucket" in problem(own, 422, "invalid_input")["errors"][0]["detail"]
    problem(rival.post("/v1/jobs", json={**PROMPT, "output": {"url": FOLDER}}), 422, "invalid_input")
    odd = problem(acme.post("/v1/jobs", json={**PROMPT, "output": {"url": FOLDER, "key": "x"}}), 422, "invalid_input")
    assert odd["errors"][0]["pointer"] == "/output/key"
