"""`GET /v1/jobs/{id}/explanation` and `backlot explain`, over a real Redis and bucket, in each state of a job."""

import pytest

from tasks.bucket.layout import job_json_key
from tasks.errors import UnknownModel, WorkerLost
from tasks.ledger import keys
from tests.api.conftest import in_seconds, problem, unknown_job
from tests.stack import until

LINE = "gpu.generate:transformer"


@pytest.fixture
def explained(operator):
    """explained(job id) -> (what it waits for, all sentences as one text)."""

    def ask(job_id: str, query: str = "") -> tuple[str | None, str]:
        answer = operator.get(f"/v1/jobs/{job_id}/explanation{query}")
        assert answer.status_code == 200, answer.json
        assert answer.json["id"] == job_id
        return answer.json["waits_for"], " ".join(answer.json["sentences"])

    return ask


def test_without_a_worker_it_waits_for_one(acme, explained):
    word, told = explained(acme.submit()["id"])
    assert word == "worker" and f"number 1 of 1 in the line {LINE}" in told and "1 bell is in the queue" in told
    assert "No worker of the pool gpu is alive." in told and "No keeper is alive" in told


def test_behind_others_it_waits_for_a_slot_then_its_turn(acme, hand, explained):
    first, second, third = (acme.submit()["id"] for _ in range(3))
    hand.claim()
    word, told = explained(third)
    assert word == "turn" and "1 job of its line go first" in told and "number 2 of 2" in told
    assert "The worker hand serves this line: 1 of 2 slots are busy" in told
    hand.claim()
    assert explained(third)[0] == "slot"
    word, told = explained(first)
    assert word is None and "Attempt 1 runs on hand, in the slot hand:1." in told and "Its lease lapses in" in told
    assert "The worker was last heard" in told and explained(second)[0] is None


def test_a_start_time_and_a_retry_are_told(acme, hand, ledger, explained):
    assert explained(acme.submit(start_at=in_seconds(3600))["id"])[0] == "start_at"
    job = acme.submit()["id"]
    claimed = hand.claim()
    ledger.fail(job, claimed.token, WorkerLost("its process died"), delay_s=600)
    word, told = explained(job)
    assert word == "retry_at" and "Attempt 1 on hand ended as retry with worker_lost" in told and "in 9 min" in told
    assert "in no line" in told and "1 of 3 starts count" in told


@pytest.mark.parametrize("what", ["pool/gpu", "model/generate/transformer", "tenant/acme"])
def test_a_pause_is_told_with_its_reason(acme, operator, explained, what):
    job = acme.submit()["id"]
    operator.put(f"/v1/pauses/{what}", json={"reason": "wrong answers"})
    word, told = explained(job)
    assert word == "pause" and f"It waits, as {what} is paused: wrong answers." in told


def test_a_tenant_at_its_limit_is_told(settings, acme, hand, explained, monkeypatch):
    monkeypatch.setattr(hand.ledger, "settings", settings.model_copy(update={"max_running_jobs": 1}))
    _, second = (acme.submit()["id"] for _ in range(2))
    assert hand.claim() and hand.claim() is None
    word, told = explained(second)
    assert word == "tenant_limit" and "It is parked" in told


def test_a_model_that_nobody_knows_is_told(acme, ledger, explained):
    job = acme.submit()["id"]
    ledger.orphan(LINE, UnknownModel("nobody knows it"))
    word, told = explained(job)
    assert word == "known_model" and "It fails with unknown_model if none comes." in told


def test_a_redis_that_was_not_reconciled_is_told_though_all_else_says_503(acme, operator, ledger, explained):
    job, never = acme.submit()["id"], unknown_job()
    ledger.redis.delete(keys.EPOCH)
    problem(acme.post(f"/v1/jobs/{job}/cancel"), 503, "not_ready")
    assert explained(job)[0] == "reconciliation"
    word, told = explained(never)
    assert word == "reconciliation" and "The bucket was not asked." in told and "There is no job" not in told


def test_an_ended_job_a_dead_letter_and_one_that_cancels(acme, hand, ledger, explained):
    done, dead, stopping = acme.submit()["id"], acme.submit(max_attempts=1)["id"], acme.submit()["id"]
    hand.finish(hand.claim())
    ledger.fail(dead, hand.claim().token, WorkerLost("its process died"))
    hand.claim()
    acme.post(f"/v1/jobs/{stopping}/cancel")
    word, told = explained(done)
    assert word is None and "It succeeded" in told and "Record and outputs are kept until" in told
    assert "It is a dead letter" in explained(dead)[1] and "with worker_lost" in explained(dead)[1]
    assert "It was asked to stop" in explained(stopping)[1]


def test_one_that_only_the_bucket_knows_is_told_by_its_job_json(rival, hand, ledger, storage, explained):
    job = rival.submit()["id"]
    hand.finish(hand.claim())
    storage.put_bytes(job_json_key("rival", job), rival.get(f"/v1/jobs/{job}").data, "application/json")
    ledger.redis.delete(keys.job(job))
    word, told = explained(job, "?tenant=rival")
    assert word is None and "Redis has no record of it" in told and "It succeeded at" in told and "1 output" in told
    assert "There is no job" in explained(job)[1]


def test_an_erased_job_and_one_that_never_was(acme, hand, explained):
    job = acme.submit()["id"]
    hand.finish(hand.claim())
    acme.delete(f"/v1/jobs/{job}")
    assert "was erased" in explained(job)[1]
    assert "There is no job" in explained(unknown_job())[1]


@pytest.mark.parametrize(
    "damage",
    [{"status": ""}, {"line": "nowhere"}, {"run_ms": "soon"}, {"fixed": ""}, {"tenant": ""}, {"starts": "1e400"}],
)
def test_a_damaged_record_is_told_and_stays_as_it_is(acme, ledger, explained, damage):
    job = acme.submit()["id"]
    ledger.redis.hset(keys.job(job), mapping=damage)
    before = ledger.redis.hgetall(keys.job(job))
    word, told = explained(job)
    assert "starts" in damage or (word == "repair" and "Its record is damaged" in told)
    assert ledger.redis.hgetall(keys.job(job)) == before


@pytest.mark.parametrize(
    "key", [keys.DUE, keys.PAUSES, keys.ORPHANS, "bl:leases:gpu", f"bl:line:{LINE}", "bl:running:acme"]
)
def test_an_index_of_another_type_breaks_nothing(acme, ledger, explained, key):
    job = acme.submit()["id"]
    ledger.redis.delete(key)
    ledger.redis.set(key, "x")
    assert job in explained(job)[1]


def test_a_job_key_of_another_type_is_told(ledger, explained):
    job = unknown_job()
    ledger.redis.set(keys.job(job), "x")
    assert "its key is of another type" in explained(job)[1]


def test_it_is_the_operators_alone_and_shows_no_input(acme, operator, hand):
    job = acme.submit(input={"prompt": "acme-only"}, metadata={"secret": "acme-only"})["id"]
    problem(acme.get(f"/v1/jobs/{job}/explanation"), 403, "forbidden")
    hand.finish(hand.claim(), "acme-only")
    assert b"acme-only" not in operator.get(f"/v1/jobs/{job}/explanation").data
    problem(operator.get("/v1/jobs/nothing/explanation"), 404, "not_found")
    problem(operator.get(f"/v1/jobs/{job}/explanation?tenant=rival"), 404, "not_found")


def test_nothing_is_changed_by_asking(acme, ledger, operator):
    job = acme.submit()["id"]
    operator.get(f"/v1/jobs/{job}/explanation")

    def everything() -> dict[str, bytes]:
        return {key: ledger.redis.type(key) for key in sorted(ledger.redis.keys("*"))}

    before = everything()
    operator.get(f"/v1/jobs/{job}/explanation")
    assert everything() == before and until(lambda: ledger.record(job))["status"] == "queued"


def test_a_job_json_that_cannot_be_read_is_told(storage, explained):
    job = unknown_job()
    storage.put_bytes(job_json_key("acme", job), b"no json", "application/json")
    assert "What the bucket has of it cannot be read" in explained(job)[1]
