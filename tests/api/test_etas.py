"""Estimates as callers see them: on a job and on a batch that are read by id, and in the snapshot of a job's events."""

import json

import pytest

from tasks.durations import Durations
from tasks.eta import Eta
from tasks.ledger import keys
from tests.api.conftest import PROMPT, Hand, as_job, in_seconds
from tests.stack import until

LINE = "gpu.generate:transformer"


@pytest.fixture
def measured(ledger, hand: Hand) -> None:
    """Jobs of the model take 10 s, where the hand's two slots have it loaded."""
    kept = Durations([10.0] * 64, [], {"hand": 1})
    ledger.redis.hset(keys.DURATIONS, LINE, kept.as_json())


def test_a_job_shows_when_it_starts_and_when_it_ends(acme, hand, measured):
    """None before a worker lives; until the start while it is queued, until the end while it runs, then none."""
    jobs = [acme.submit() for _ in range(4)]
    assert [job["eta_s"] for job in jobs] == [None] * 4
    assert as_job(acme.get(f"/v1/jobs/{jobs[3]['id']}")).eta_s is None
    first, _ = hand.claim(), hand.claim()
    shown = until(lambda: (job := as_job(acme.get(f"/v1/jobs/{jobs[3]['id']}"))).eta_s and job, 5)
    assert shown.queue_position == 2 and shown.eta_s.until == "start"
    assert 4 < shown.eta_s.low <= shown.eta_s.likely <= shown.eta_s.high < 25
    running = as_job(acme.get(f"/v1/jobs/{first.fixed.id}"))
    assert running.eta_s.until == "end" and 3 < running.eta_s.likely <= 10.5
    told = acme.get(f"/v1/jobs/{first.fixed.id}/events").get_data(as_text=True)
    snapshot = json.loads(told.split("data: ")[1].split("\n")[0])
    assert Eta.model_validate(snapshot["job"]["eta_s"]).until == "end"
    assert {job["eta_s"] for job in acme.get("/v1/jobs").json["data"]} == {None}, "lists do without"
    hand.finish(first)
    assert as_job(acme.get(f"/v1/jobs/{first.fixed.id}")).eta_s is None


def test_a_held_job_shows_no_estimate(acme, operator, hand, measured):
    """A pause and a start time have no duration."""
    acme.submit()
    hand.claim()  # so that it lives
    job = acme.submit()
    assert acme.get(f"/v1/jobs/{job['id']}").json["eta_s"]["low"] == 0
    assert operator.put("/v1/pauses/tenant/acme", json={}).status_code in (200, 201)
    assert acme.get(f"/v1/jobs/{job['id']}").json["eta_s"] is None
    later = acme.submit(start_at=in_seconds(3600))
    assert acme.get(f"/v1/jobs/{later['id']}").json["eta_s"] is None


def test_a_batch_shows_when_it_is_done(acme, hand, measured):
    """Six of 10 s behind one that runs, on two slots: 30 to 40 s; a slow machine has passed some of it."""
    acme.submit()
    hand.claim()
    body = b"\n".join([json.dumps(PROMPT).encode()] * 6)
    made = acme.post("/v1/batches", data=body, content_type="application/jsonl").json
    path = made["links"]["self"]
    eta = acme.get(path).json["eta_s"]
    assert eta["until"] == "end" and 20 < eta["likely"] < 45
    assert acme.get("/v1/batches").json["data"][0]["eta_s"] is None, "lists do without"
    acme.post(made["links"]["cancel"])
    assert acme.get(path).json["eta_s"] is None
