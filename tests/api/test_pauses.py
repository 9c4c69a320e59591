"""What an operator pauses starts no more, is listed, and its callers are told."""

import json

import pytest

from tests.api.conftest import PROMPT, problem

WHATS = ["pool/gpu", "model/generate/transformer", "tenant/acme"]


@pytest.mark.parametrize("what", WHATS)
def test_what_is_paused_starts_no_more_and_says_why(acme, operator, hand, what):
    """Submits are taken; a job that runs goes on; resumed, those that waited start."""
    running = acme.post("/v1/jobs", json=PROMPT).json
    claimed = hand.claim()
    told = operator.put(f"/v1/pauses/{what}", json={"reason": "a bad release"}).json["data"]
    scope, _, name = what.partition("/")
    assert [(one["scope"], one["name"], one["reason"]) for one in told] == [(scope, name, "a bad release")]
    submitted = acme.post("/v1/jobs", json=PROMPT)
    assert submitted.status_code == 202 and hand.claim() is None
    job = acme.get(f"/v1/jobs/{submitted.json['id']}").json
    assert job["status"] == "queued" and job["message"] == f"waits, as the {scope} {name} is paused: a bad release"
    listed = acme.get("/v1/jobs").json["data"]
    assert [one["message"] for one in listed] == [job["message"], None]
    pools = operator.get("/v1/pools").json
    gpu = next(pool for pool in pools["data"] if pool["name"] == "gpu")
    assert (gpu["waiting"], gpu["held"], gpu["running"], gpu["wanted"]) == (0, 1, 1, 1)
    assert pools["paused"] == told == operator.get("/v1/pauses").json["data"]
    assert hand.finish(claimed) == "succeeded" and acme.get(f"/v1/jobs/{running['id']}").json["status"] == "succeeded"
    assert operator.delete(f"/v1/pauses/{what}").json["data"] == []
    hand.ledger.unpark("acme")
    assert hand.claim().fixed.id == job["id"]
    assert acme.get(f"/v1/jobs/{job['id']}").json["message"] is None


def test_other_tenants_go_on(acme, rival, operator, hand):
    operator.put("/v1/pauses/tenant/acme", json={})
    waits, runs = (caller.post("/v1/jobs", json=PROMPT).json["id"] for caller in (acme, rival))
    assert hand.claim().fixed.id == runs and hand.claim() is None
    assert acme.get(f"/v1/jobs/{waits}").json["message"] == "waits, as the tenant acme is paused"


@pytest.mark.parametrize("method", ["get", "put", "delete"])
def test_a_tenants_key_pauses_nothing(acme, method):
    path = "/v1/pauses" if method == "get" else "/v1/pauses/pool/gpu"
    problem(getattr(acme, method)(path, **({"json": {}} if method == "put" else {})), 403, "forbidden")


@pytest.mark.parametrize("what", ["pool/tpu", "model/generate/nothing", "model/dance/lstm", "tenant/A B"])
def test_what_is_not_there_is_not_paused(operator, what):
    """A typo would be taken for a pause that holds."""
    problem(operator.put(f"/v1/pauses/{what}", json={}), 404, "not_found")
    problem(operator.delete(f"/v1/pauses/{what}"), 404, "not_found")
    assert operator.get("/v1/pauses").json["data"] == []


def test_what_is_gone_can_be_resumed(operator, ledger):
    """A model that was paused and then left models.toml."""
    ledger.pause("model/generate/old", "")
    assert operator.delete("/v1/pauses/model/generate/old").json["data"] == []


@pytest.mark.parametrize("body", [{"reason": 5}, {"why": "x"}, {"reason": "x" * 501}, {"reason": "a\u0000b"}])
def test_a_reason_is_a_short_line(operator, body):
    assert operator.put("/v1/pauses/pool/gpu", json=body).status_code == 422
    assert operator.put("/v1/pauses/pool/gpu", json={"reason": "x" * 500}).status_code == 200


def test_a_reason_may_be_any_text(operator, acme):
    """What stands in a reason is no JSON of ours."""
    reason = 'it\'s "broken" \\ 🔥 {"since_ms": 1}'
    operator.put("/v1/pauses/pool/gpu", json={"reason": reason})
    job = acme.post("/v1/jobs", json=PROMPT).json
    assert acme.get(f"/v1/jobs/{job['id']}").json["message"].endswith(reason)


def test_a_damaged_pause_holds_without_its_reason(operator, acme, ledger):
    ledger.redis.hset("bl:pauses", mapping={"pool/gpu": "no json", "pool": "[]", "": json.dumps({"reason": 1})})
    job = acme.post("/v1/jobs", json=PROMPT).json
    assert acme.get(f"/v1/jobs/{job['id']}").json["message"] == "waits, as the pool gpu is paused"
    assert len(operator.get("/v1/pauses").json["data"]) == 3


def test_a_tenant_that_runs_as_many_as_it_may_is_told(settings, acme, hand, ledger, monkeypatch):
    monkeypatch.setattr(hand.ledger, "settings", settings.model_copy(update={"max_running_jobs": 1}))
    ids = [acme.post("/v1/jobs", json=PROMPT).json["id"] for _ in range(2)]
    assert hand.claim() and hand.claim() is None
    assert acme.get(f"/v1/jobs/{ids[1]}").json["message"] == "waits, as its tenant runs as many jobs as it may"
