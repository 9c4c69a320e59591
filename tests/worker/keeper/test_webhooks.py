"""Webhooks as their receivers see them: signed by Standard Webhooks, at least once, whatever a receiver does."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from standardwebhooks import Webhook as Verifier

from tasks.errors import NotFound
from tasks.job import Job
from tasks.ledger import keys
from tasks.service.jobs import Jobs
from tasks.webhook import WebhookRequest
from tests.stack import until
from tests.web import serve
from worker.keeper import posting
from worker.keeper.compact import Compactor
from worker.keeper.journal import Journal
from worker.keeper.restore import Restore
from worker.keeper.sender import GIVEN_UP_S, LEASE_S
from worker.keeper.skipped import Skipped
from worker.keeper.webhooks import Webhooks

ENDS_S = 20


class Desk:
    """A keeper's sender, a receiver, and jobs that are ended by hand."""

    def __init__(self, settings, ledger, storage, worker, web) -> None:
        self.settings, self.ledger, self.storage, self.worker, self.web = settings, ledger, storage, worker, web
        self.jobs = Jobs.of(settings)
        self.secrets = self.jobs.webhooks.secrets
        self.secrets.rotate("acme")
        self.sender, self.skipped = Webhooks(Jobs.of(settings), "k1", retry_s=0.01), Skipped("webhooks")

    def ended(self, fixed, url: str, tenant: str = "acme", **changes):
        """A succeeded job with a webhook to the URL."""
        job = fixed(webhook=WebhookRequest(url=url), tenant=tenant, **changes)
        self.ledger.submit(job)
        claimed = self.ledger.claim(self.worker, f"w1:{job.id}", f"{time.time_ns():032d}")
        self.ledger.commit(job.id, claimed.token, {"text": "the end"}, [], {})
        return job

    def rounds(self, count: int = 1) -> None:
        """Rounds of the keeper until it has nothing under way."""
        for _ in range(count):
            self.sender.round(self.skipped)
            assert self.sender.wait(ENDS_S)

    def webhook(self, job):
        return self.jobs.get(job.tenant, job.id).webhook

    def until(self, job, status: str):
        def stands() -> bool:
            self.rounds()
            return self.webhook(job).status == status

        until(stands, ENDS_S, f"the webhook is {status}")
        return self.webhook(job)

    def verified(self, place: int = -1, secret: str = "") -> dict:
        """A message that came, verified by the library that receivers use."""
        secret = secret or self.secrets.of("acme")[0].secret
        return Verifier(secret).verify(self.web.posted[place], self.web.seen[place][1])

    def forward(self, seconds: float) -> None:
        """The ledger's clock, and that of the sender's."""
        now = self.ledger.clock() or time.time_ns() // 1_000_000
        for ledger in (self.ledger, self.sender._ledger):
            ledger.clock = lambda: now + round(seconds * 1000)


@pytest.fixture
def desk(settings, ledger, storage, worker, web):
    made = Desk(settings, ledger, storage, worker, web)
    yield made
    assert made.sender.wait(ENDS_S)


def test_the_end_of_a_job_is_told_and_the_library_verifies_it(desk, fixed, web):
    """The body is the job as a GET shows it; the URL is shown without its query and is sent with it."""
    job = desk.ended(fixed, web.gives("/hook", status=204) + "?key=secret")
    desk.rounds()
    told = desk.verified()
    assert (told["type"], told["data"]["id"], told["data"]["status"]) == ("job.completed", job.id, "succeeded")
    shown = json.loads(desk.jobs.get("acme", job.id).model_dump_json())
    assert {**told["data"], "webhook": None} == {**shown, "webhook": None}
    assert datetime.fromisoformat(told["timestamp"]) == datetime.fromisoformat(shown["completed_at"])
    path, headers = web.seen[-1]
    assert path == "/hook?key=secret" and headers["webhook-id"] == f"{job.id}_completed"
    webhook = desk.webhook(job)
    assert (webhook.status, webhook.attempts, webhook.last_answer.status) == ("delivered", 1, 204)
    assert webhook.url == web.url + "/hook" and "secret" not in json.dumps(shown)


def test_a_receiver_that_fails_is_told_again_with_the_same_id(desk, fixed, web):
    answers = iter([500, 503, 400])
    web.does("/hook", lambda request: _answer(request, next(answers, 200)))
    job = desk.ended(fixed, web.url + "/hook")
    desk.rounds()
    assert desk.webhook(job).status == "pending" and desk.webhook(job).next_try_at
    webhook = desk.until(job, "delivered")
    assert webhook.attempts == 4 and webhook.next_try_at is None and len(web.posted) == 4
    assert {headers["webhook-id"] for _, headers in web.seen} == {f"{job.id}_completed"}
    assert desk.jobs.get("acme", job.id).status == "succeeded"
    for place in range(4):
        desk.verified(place)


def test_after_three_days_it_is_given_up(desk, fixed, web):
    job = desk.ended(fixed, web.gives("/hook", status=500), retention_s=10 * 86400)
    desk.rounds()
    desk.forward(GIVEN_UP_S + 1)
    webhook = desk.until(job, "failed")
    assert (
        webhook.attempts == 2
        and webhook.last_answer.detail == "answered 500"
        and not desk.ledger.due_tenants("webhook")
    )


def test_delays_grow_to_half_a_day_within_their_jitter(desk, fixed):
    """About 13 tries in three days."""
    sender, reply = Webhooks(desk.jobs, "k1"), posting.Reply(500, "")
    job = desk.ended(fixed, "http://127.0.0.1:9/x")
    (owed,) = desk.ledger.take_owed("webhook", "k1", "t", [(("acme", "127.0.0.1:9"), 1)], 1)
    assert owed.job_id == job.id
    delays = [sender._judge(type(owed)(**{**vars(owed), "attempts": n}), reply)[1] for n in range(12)]
    for delay, wanted in zip(delays, [5, 20, 80, 320, 1280, 5120, 20480, *[43200] * 5], strict=True):
        assert 0.75 * wanted <= delay <= 1.25 * wanted
    asked = posting.Reply(429, "", retry_after_s=10**9)
    assert sender._judge(owed, asked) == ("pending", 43200)


def test_410_turns_it_off(desk, fixed, web):
    job = desk.ended(fixed, web.gives("/hook", status=410))
    desk.rounds(2)
    assert desk.webhook(job).status == "off" and len(web.posted) == 1


@pytest.mark.parametrize("wait", ["3", format_datetime(datetime.now(UTC) + timedelta(days=365), usegmt=True)])
def test_retry_after_is_honoured_within_bounds(desk, fixed, web, wait):
    job = desk.ended(fixed, web.gives("/hook", status=429, retry_after=wait))
    desk.rounds(2)
    webhook = desk.webhook(job)
    ahead_s = (webhook.next_try_at - webhook.last_answer.at).total_seconds()
    assert ahead_s == pytest.approx(3 if wait == "3" else 12 * 3600, abs=0.1) and len(web.posted) == 1


def test_a_redirect_is_not_followed(desk, fixed, web):
    web.gives("/elsewhere", status=200)
    job = desk.ended(fixed, web.gives("/hook", status=307, location=web.url + "/elsewhere"))
    desk.rounds()
    assert desk.webhook(job).last_answer.detail == "answered 307; a webhook follows no redirect"
    assert {path for path, _ in web.seen} == {"/hook"}


def test_an_answer_that_breaks_off_counts_by_its_status(desk, fixed, web):
    """Behind a whole head the message is delivered; without one it comes again."""

    def half_a_body(request) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    def half_a_head(request) -> None:
        request.wfile.write(b"HTTP/1.1 200")

    whole = desk.ended(fixed, web.does("/body", half_a_body))
    cut = desk.ended(fixed, web.does("/head", half_a_head))
    desk.rounds()
    assert desk.webhook(whole).status == "delivered"
    assert (desk.webhook(cut).status, desk.webhook(cut).last_answer.status) == ("pending", None)


@pytest.mark.parametrize("drips", [False, True])
def test_a_receiver_that_hangs_is_left_and_holds_up_nobody(desk, fixed, web, monkeypatch, drips):
    """It answers nothing, or a byte at a time: at POST_S the try is over. Meanwhile all others are told, of its own
    tenant and of another; the next time one of its webhooks is under way and no more."""
    monkeypatch.setattr(posting, "POST_S", 1.5)
    over = threading.Event()

    def hang(request) -> None:
        while not over.wait(0.1):
            request.wfile.write(b"H" if drips else b"")
            request.wfile.flush()

    desk.secrets.rotate("rival")
    with serve() as hanging:
        hanging.does("/hook", hang)
        stuck = [desk.ended(fixed, hanging.url + "/hook") for _ in range(Webhooks.room.of_line + 2)]
        others = [desk.ended(fixed, web.gives("/hook", status=200), tenant) for tenant in ("acme", "rival", "acme")]
        desk.sender.round(desk.skipped)
        until(lambda: all(desk.webhook(job).status == "delivered" for job in others), ENDS_S, "the others are told")
        assert {desk.webhook(job).attempts for job in stuck} == {0} and len(hanging.posted) == Webhooks.room.of_line
        assert desk.sender.wait(ENDS_S)
        assert [desk.webhook(job).last_answer.detail for job in stuck[:1]] == ["no answer within 1.5 s"]
        desk.sender.round(desk.skipped)
        assert desk.sender._busy.total() == 1
        over.set()
        assert desk.sender.wait(ENDS_S)


def test_a_private_address_is_never_reached(desk, fixed, web, settings):
    """Neither one that is spelled, nor one that a name leads to, nor one that the operator no longer allows."""
    job = desk.ended(fixed, web.gives("/hook", status=200))
    closed = settings.model_copy(update={"fetch_allow": []})
    sender = Webhooks(Jobs.of(closed), "k1")
    sender.round(desk.skipped)
    assert sender.wait(ENDS_S) and not web.seen
    webhook = desk.webhook(job)
    assert webhook.status == "pending" and "private address" in webhook.last_answer.detail
    assert "private" in posting.post("https://localhost/x", {}, b"", closed).detail


def test_both_secrets_sign_while_they_rotate(desk, fixed, web):
    (old,) = desk.secrets.of("acme")
    new, _ = desk.secrets.rotate("acme")
    desk.ended(fixed, web.gives("/hook"))
    desk.rounds()
    desk.verified(secret=old.secret), desk.verified(secret=new.secret)
    assert len(web.seen[-1][1]["webhook-signature"].split(" ")) == 2
    desk.secrets.rotate("acme")
    assert old.secret not in {one.secret for one in desk.secrets.of("acme")}


def test_without_a_secret_nothing_is_sent_and_the_job_says_so(desk, fixed, web):
    job = desk.ended(fixed, web.gives("/hook"), tenant="rival")
    desk.rounds()
    assert "POST /v1/webhooks/secret" in desk.webhook(job).last_answer.detail and not web.seen
    desk.secrets.rotate("rival")
    desk.until(job, "delivered")


def test_a_replay_is_sent_with_the_same_id(desk, fixed, web):
    job = desk.ended(fixed, web.gives("/hook"))
    desk.rounds()
    assert desk.jobs.replay("webhook", "acme", job.id).webhook.status == "pending"
    desk.rounds()
    assert len({headers["webhook-id"] for _, headers in web.seen}) == 1 and len(web.seen) == 2
    assert desk.webhook(job).attempts == 2


def test_an_erased_job_is_told_by_id_and_status_alone(desk, fixed, web):
    job = desk.ended(fixed, web.gives("/hook"))
    desk.jobs.delete("acme", job.id)
    desk.rounds()
    assert desk.verified()["data"] == {"id": job.id, "status": "succeeded"}
    with pytest.raises(NotFound):
        desk.jobs.get("acme", job.id)


def test_what_a_killed_keeper_took_is_sent_by_another(desk, fixed, web):
    """It had taken the webhook, and perhaps sent it, and told nothing."""
    job = desk.ended(fixed, web.gives("/hook"))
    line = ("acme", f"127.0.0.1:{web.port}")
    assert len(desk.ledger.take_owed("webhook", "killed", "t", [(line, 4)], LEASE_S)) == 1
    desk.rounds()
    assert not web.seen
    desk.forward(LEASE_S)
    desk.until(job, "delivered")


def written(desk, compacted: bool = True) -> None:
    """The journal is in the bucket, each ended job has its job.json, and segments are compacted."""
    journal = Journal(desk.ledger, desk.storage)
    journal.write_segments()
    journal.write_job_json(for_s=5)
    if compacted:
        compactor = Compactor(desk.ledger, desk.ledger.redis, desk.storage)
        for seen in list(desk.storage.list("journal/")):
            if seen.key.endswith(".jsonl"):
                compactor.compact(seen.key)


def flushed_and_restored(desk) -> dict[str, int]:
    desk.ledger.redis.flushdb()
    done = Restore(desk.settings, desk.ledger.redis, desk.storage).run()
    desk.ledger.set_epoch()
    return done


def test_through_a_flush_what_was_not_told_is_told(desk, fixed, web):
    """Redis loses all after a failed try; the compacted journal still has the end, and the job is told from job.json.
    What was told before is not told again."""
    told = desk.ended(fixed, web.gives("/told"))
    failing = desk.ended(fixed, web.gives("/hook", status=500))
    erased = desk.ended(fixed, web.gives("/erased", status=500))
    desk.rounds()
    desk.jobs.delete("acme", erased.id)
    written(desk)
    web.gives("/hook"), web.gives("/erased")
    assert flushed_and_restored(desk)["webhooks"] == 2
    desk.until(failing, "delivered")
    sent = [(path, json.loads(body)["data"]) for (path, _), body in zip(web.seen, web.posted, strict=True)]
    assert [path for path, _ in sent].count("/told") == 1 and desk.webhook(told).status is None
    assert [data["result"]["text"] for path, data in sent if path == "/hook"][-1] == "the end"
    assert [data for path, data in sent if path == "/erased"][-1] == {"id": erased.id, "status": "succeeded"}


def test_through_a_flush_right_after_the_end_it_is_told_once_at_least(desk, fixed, web):
    """The end and its `told` are in segments that nobody has compacted: nothing is owed twice."""
    told, failing = desk.ended(fixed, web.gives("/told")), desk.ended(fixed, web.gives("/hook", status=500))
    desk.rounds()
    written(desk, compacted=False)
    assert flushed_and_restored(desk)["webhooks"] == 1
    web.gives("/hook")
    desk.until(failing, "delivered")
    assert [path for path, _ in web.seen].count("/told") == 1 and desk.webhook(told).status is None


def test_once_it_is_told_the_journal_forgets_the_end(desk, fixed, web):
    """A segment keeps an end until its webhook is told."""
    job = desk.ended(fixed, web.gives("/hook", status=500))
    desk.rounds()
    written(desk)
    assert [seen.key for seen in desk.storage.list("journal/") if seen.key.endswith(".jsonl")]
    web.gives("/hook")
    desk.until(job, "delivered")
    written(desk)
    assert not [seen.key for seen in desk.storage.list("journal/") if seen.key.endswith(".jsonl")]


def test_job_json_and_the_bucket_hold_no_secret_and_no_query(desk, fixed, web):
    job = desk.ended(fixed, web.gives("/hook") + "?key=hidden")
    desk.rounds()
    written(desk)
    kept = desk.storage.get_bytes(f"tenants/acme/jobs/{job.id}/job.json")
    assert Job.model_validate_json(kept).webhook.url == web.url + "/hook" and b"hidden" not in kept
    secret = desk.secrets.of("acme")[0].secret
    assert desk.secrets.path.stat().st_mode & 0o777 == 0o600
    redis = desk.ledger.redis
    dumped = [redis.hgetall(key) for key in redis.keys("*") if redis.type(key) == "hash"]
    assert secret not in json.dumps(dumped) + json.dumps(redis.xrange(keys.JOURNAL))


def _answer(request, status: int) -> None:
    request.send_response(status)
    request.send_header("Content-Length", "0")
    request.end_headers()


EVENTS = ["started", "progress", "completed"]


def running(desk, fixed, url: str):
    job = fixed(webhook=WebhookRequest(url=url, events=EVENTS))
    desk.ledger.submit(job)
    claimed = desk.ledger.claim(desk.worker, f"w1:{job.id}", f"{time.time_ns():032d}")
    desk.ledger.report(job.id, claimed.token, "running", 0.5)
    return claimed


def test_started_and_progress_are_told_while_the_job_runs(desk, fixed, web):
    claimed = running(desk, fixed, web.gives("/hook"))
    desk.rounds()
    told = [desk.verified(place) for place in range(2)]
    assert sorted(one["type"] for one in told) == ["job.progress", "job.started"]
    assert {(one["data"]["status"], one["data"]["progress"]) for one in told} == {("running", 0.5)}
    desk.ledger.commit(claimed.fixed.id, claimed.token, {"text": "the end"}, [], {})
    desk.rounds()
    assert desk.verified()["type"] == "job.completed"
    assert len({headers["webhook-id"] for _, headers in web.seen}) == 3


def test_a_message_that_cannot_be_read_is_skipped_and_stops_no_other(desk, fixed, web):
    """Whoever has put it into the list."""
    desk.ledger.redis.sadd(keys.PASSING, "acme")
    desk.ledger.redis.rpush(keys.passing("acme"), "no message", "started soon job_x https:/")
    job = desk.ended(fixed, web.gives("/hook"))
    desk.until(job, "delivered")
    assert desk.skipped.count and not desk.sender._busy


def test_started_and_progress_are_never_sent_again(desk, fixed, web):
    """A receiver that fails, or that is stuck already, hears nothing more of them; the end is told as ever."""
    claimed = running(desk, fixed, web.gives("/hook", status=500))
    desk.rounds(3)
    assert len(web.posted) == 2
    desk.sender._slow.add(("acme", f"127.0.0.1:{web.port}"))
    other = running(desk, fixed, web.gives("/hook"))
    desk.rounds()
    assert len(web.posted) == 2
    for one in (claimed, other):
        desk.ledger.commit(one.fixed.id, one.token, {"text": "the end"}, [], {})
        desk.until(one.fixed, "delivered")
