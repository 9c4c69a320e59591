"""The webhook of a whole batch: one message once its last job has ended, sent as a job's is, shown with the batch."""

import io
import json
from urllib.parse import quote

import pytest
from standardwebhooks import Webhook as Verifier

from tasks.ledger import keys
from tasks.service.jobs import Jobs
from tests.api.conftest import problem
from tests.api.test_batch_life import looks, made, post
from tests.api.test_batches import KEY, numbered
from worker.keeper.compact import Compactor
from worker.keeper.journal import Journal
from worker.keeper.restore import Restore
from worker.keeper.skipped import Skipped
from worker.keeper.webhooks import Webhooks

HOOK = "https://a.example/hook?key=hidden"


@pytest.fixture
def signing(acme):
    """A tenant that has a secret."""
    assert acme.post("/v1/webhooks/secret").status_code == 201
    return acme


@pytest.fixture
def keeper(settings, ledger, storage):
    """Rounds of the keeper: it looks at every batch, then sends what is due."""
    sender = Webhooks(Jobs.of(settings), "k1", retry_s=0.01)

    def rounds() -> None:
        looks(ledger, storage)
        sender.round(Skipped("webhooks"))
        assert sender.wait(20)
        looks(ledger, storage)

    yield rounds


def submit(caller, url: str, lines: int = 2, **more):
    return made(post(caller, numbered(lines), f"?webhook={quote(url, safe='')}", **more))


def finish(hand) -> None:
    while claimed := hand.claim():
        hand.finish(claimed)


def test_one_message_comes_when_the_last_job_has_ended(signing, hand, keeper, web):
    batch = submit(signing, web.gives("/hook") + "?key=hidden")
    assert batch["webhook"]["url"] == web.url + "/hook" and batch["webhook"]["status"] is None
    hand.finish(hand.claim())
    keeper()
    assert not web.posted
    finish(hand), keeper(), keeper()
    (body,), ((path, headers),) = web.posted, web.seen
    assert path == "/hook?key=hidden" and headers["webhook-id"] == f"{batch['id']}_completed"
    told = Verifier(signing.get("/v1/webhooks/secret").json["data"][0]["secret"]).verify(body, headers)
    now = made(signing.get(batch["links"]["self"]))
    assert told["type"] == "batch.completed" and told["data"]["counts"]["succeeded"] == 2
    assert {**told["data"], "webhook": None} == {**now, "webhook": None} and "hidden" not in json.dumps(now)
    assert now["webhook"]["status"] == "delivered" and signing.get("/v1/batches").json["data"] == [now]


def test_a_receiver_that_fails_is_told_again_and_a_replay_sends_it_anew(signing, rival, hand, keeper, web):
    batch = submit(signing, web.gives("/hook", status=500))
    replay = f"{batch['links']['self']}/webhook/replay"
    assert "have not ended" in problem(signing.post(replay), 409, "conflict")["detail"]
    finish(hand), keeper()
    told = made(signing.get(batch["links"]["self"]))["webhook"]
    assert (told["status"], told["attempts"], told["last_answer"]["status"]) == ("pending", 1, 500)
    web.gives("/hook")
    assert made(signing.post(replay))["webhook"]["status"] == "pending"
    keeper()
    assert made(signing.get(batch["links"]["self"]))["webhook"]["status"] == "delivered"
    assert len({headers["webhook-id"] for _, headers in web.seen}) == 1 and len(web.seen) == 2
    problem(rival.post(replay), 404, "not_found")
    without = made(post(signing, numbered(1)))
    assert (
        "no webhook" in problem(signing.post(f"{without['links']['self']}/webhook/replay"), 409, "conflict")["detail"]
    )


def test_an_erased_batch_is_told_by_id_and_status_alone(signing, keeper, web):
    """Erased before the keeper saw its end."""
    batch = submit(signing, web.gives("/hook"))
    signing.post(batch["links"]["cancel"])
    assert signing.delete(batch["links"]["self"]).status_code == 204
    keeper()
    (body,) = map(json.loads, web.posted)
    assert (body["type"], body["data"]) == ("batch.completed", {"id": batch["id"], "status": "done"})


def test_a_batch_without_a_job_is_told_too(signing, keeper, web):
    batch = made(post(signing, b"{", f"?webhook={quote(web.gives('/hook'))}"))
    keeper()
    assert json.loads(web.posted[0])["data"]["refused"] == 1 and batch["webhook"]


@pytest.mark.parametrize("told", [True, False])
def test_through_a_flush_it_is_told_and_not_again(signing, hand, keeper, web, ledger, storage, settings, told):
    batch = submit(signing, web.gives("/hook", status=200 if told else 500))
    finish(hand), keeper()
    journal = Journal(ledger, storage)
    journal.write_segments()
    journal.write_job_json(for_s=5)
    for name in [seen.key for seen in storage.list("journal/") if seen.key.endswith("jsonl")]:
        Compactor(ledger, ledger.redis, storage).compact(name)
    ledger.redis.flushdb()
    Restore(settings, ledger.redis, storage).run()
    ledger.set_epoch()
    web.gives("/hook")
    keeper()
    assert len(web.posted) == (1 if told else 2)
    assert made(signing.get(batch["links"]["self"]))["webhook"]["status"] == (None if told else "delivered")


def test_forms_and_uploads_may_name_it_and_a_key_covers_it(signing):
    lines = b"\n".join(numbered(1))
    form = {"webhook": HOOK, "input": (io.BytesIO(lines), "lines.jsonl")}
    assert made(signing.post("/v1/batches", data=form, content_type="multipart/form-data"))["webhook"]["events"]
    first = submit(signing, HOOK, headers=KEY)
    assert submit(signing, HOOK, headers=KEY)["id"] == first["id"]
    problem(post(signing, numbered(2), headers=KEY), 422, "idempotency_key_reused")


def test_a_webhook_that_may_not_be_is_refused_and_makes_no_job(signing, rival, ledger):
    for url, told in {
        "http://a.example/x": "only https",
        "s3://bucket/key": "https://host",
        "x" * 2049: "at most",
    }.items():
        refused = problem(post(signing, numbered(1), f"?webhook={quote(url, safe='')}"), 422, "invalid_input")
        assert refused["errors"][0]["pointer"].startswith("/webhook") and told in refused["errors"][0]["detail"]
    refused = problem(post(rival, numbered(1), f"?webhook={quote(HOOK)}"), 422, "invalid_input")
    assert "POST /v1/webhooks/secret" in refused["errors"][0]["detail"]
    assert not ledger.redis.keys("bl:batch*")


def test_undelivered_ones_count(signing, app, ledger):
    app.services.jobs.ledger.settings = ledger.settings.model_copy(update={"max_undelivered_webhooks": 1})
    ledger.redis.hset(keys.UNDELIVERED, "acme", 1)
    problem(post(signing, numbered(1), f"?webhook={quote(HOOK)}"), 429, "quota_exceeded")
    made(post(signing, numbered(1)))
