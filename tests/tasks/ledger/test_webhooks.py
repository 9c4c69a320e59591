"""Webhooks in the ledger: owed by every end, once; leased, told and replayed."""

import json

import pytest

from tasks.errors import Conflict, DeadlineExceeded, QuotaExceeded
from tasks.ledger import Ledger, keys
from tasks.ledger.owed import Owed
from tasks.webhook import WebhookRequest
from tests.tasks.ledger.conftest import AWAY

RECEIVER = WebhookRequest(url="https://a.example:8443/hook?key=1")
LINE = ("acme", "a.example:8443")
LEASE_S = 30


def taken(ledger: Ledger, count: int = 9, keeper: str = "k1", line=LINE) -> list[Owed]:
    taken.calls = getattr(taken, "calls", 0) + 1
    return ledger.take_owed("webhook", keeper, f"t{taken.calls}", [(line, count)], LEASE_S)


def state(ledger: Ledger, job) -> dict[str, str]:
    return ledger.owed_state("webhook", job.tenant, job.id)


ENDS = {
    "commit": lambda desk, claimed: desk.commit(claimed),
    "fail": lambda desk, claimed: desk.fail(claimed, DeadlineExceeded("")),
    "cancel": lambda desk, claimed: (desk.cancel(claimed), desk.fail(claimed)),
    "release": lambda desk, claimed: (desk.cancel(claimed), desk.release(claimed)),
    "sweep": lambda desk, claimed: desk.swept(after_s=12),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_end_itself_owes_the_webhook(desk, ledger, end):
    """Whatever ends the job; its entry has ids, the URL and the status, and nothing of the job."""
    claimed = desk.running(webhook=RECEIVER, max_attempts=1)
    assert not taken(ledger)
    ENDS[end](desk, claimed)
    (owed,) = taken(ledger)
    assert (owed.job_id, owed.url, owed.ended) == (claimed.fixed.id, RECEIVER.url, desk.status(claimed))
    assert ledger.limits("acme").undelivered == 1
    assert {*state(ledger, claimed.fixed)} == {
        "status", "url", "ended", "owed_ms", "kept_ms", "next_ms", "attempts", "before"
    }  # fmt: skip


def test_a_job_that_never_started_owes_it_too(desk, ledger):
    canceled, expired = desk.submit(webhook=RECEIVER), desk.submit(webhook=RECEIVER, queue_ttl_s=1)
    desk.cancel(canceled)
    ledger.clock.forward(2)
    ledger.expire(DeadlineExceeded(""))
    assert [(one.job_id, one.ended) for one in taken(ledger)] == [(canceled.id, "canceled"), (expired.id, "expired")]


def test_a_retry_owes_nothing_yet(desk, ledger):
    claimed = desk.running(webhook=RECEIVER, max_attempts=2)
    assert desk.fail(claimed, AWAY) == "queued"
    assert not taken(ledger) and not state(ledger, claimed.fixed)


def test_a_job_without_a_webhook_leaves_nothing(desk, ledger):
    desk.commit(desk.running())
    assert not ledger.redis.keys("bl:webhook*") and not ledger.redis.exists(keys.UNDELIVERED)


def test_a_leased_webhook_comes_again_where_its_keeper_tells_nothing(desk, ledger):
    desk.cancel(desk.submit(webhook=RECEIVER))
    (owed,) = taken(ledger)
    ledger.clock.forward(LEASE_S - 1)
    assert not taken(ledger, keeper="k2") and not ledger.due_tenants("webhook")
    ledger.clock.forward(1)
    assert ledger.due_tenants("webhook") == ["acme"] and ledger.due_hosts("webhook", "acme", 9) == [LINE[1]]
    assert taken(ledger, keeper="k2") == [owed]


def test_a_try_that_failed_comes_at_its_time(desk, ledger):
    job = desk.submit(webhook=RECEIVER)
    desk.cancel(job)
    (owed,) = taken(ledger)
    ledger.tell_owed("webhook", owed, "pending", "answered 500", 500, delay_s=60)
    seen = state(ledger, job)
    assert (seen["attempts"], json.loads(seen["answer"])["status"]) == ("1", 500)
    ledger.clock.forward(59)
    assert not taken(ledger)
    ledger.clock.forward(1)
    assert [one.attempts for one in taken(ledger)] == [1]


def test_of_two_keepers_that_tell_the_same_try_the_first_counts(desk, ledger):
    job = desk.submit(webhook=RECEIVER)
    desk.cancel(job)
    (owed,) = taken(ledger)
    assert ledger.tell_owed("webhook", owed, "delivered", "answered 200", 200)
    assert ledger.tell_owed("webhook", owed, "pending", "answered 500", 500, delay_s=1)
    assert state(ledger, job)["status"] == "delivered" and not taken(ledger)


def test_a_told_webhook_is_journaled_and_its_state_goes_with_the_record(desk, ledger, journal):
    job = desk.submit(webhook=RECEIVER, retention_s=7 * 86400)
    desk.cancel(job)
    ledger.tell_owed("webhook", taken(ledger)[0], "off", "answered 410", 410)
    assert journal()[-1] == {"type": "told", "id": job.id, "tenant": "acme", "outcome": "off"}
    kept_ms = ledger.redis.execute_command("PEXPIRETIME", keys.owed("webhook", "acme", job.id))
    assert kept_ms == ledger.clock.ms + 7 * 86400 * 1000
    assert not ledger.redis.keys("bl:webhooks*")


def test_an_erased_job_still_owes_its_webhook(desk, ledger):
    job = desk.submit(webhook=RECEIVER)
    desk.cancel(job)
    ledger.forget(job)
    (owed,) = taken(ledger)
    assert (owed.job_id, owed.ended) == (job.id, "canceled")
    ledger.tell_owed("webhook", owed, "delivered", "answered 200", 200)
    assert ledger.redis.ttl(keys.owed("webhook", "acme", job.id)) > 0


def test_erased_once_it_is_told_its_url_goes_at_once(desk, ledger):
    job = desk.submit(webhook=RECEIVER)
    desk.cancel(job)
    ledger.tell_owed("webhook", taken(ledger)[0], "delivered", "answered 200", 200)
    ledger.forget(job)
    assert "url" not in state(ledger, job) and 0 < ledger.redis.ttl(keys.owed("webhook", "acme", job.id)) <= 86400
    with pytest.raises(Conflict, match="no longer known"):
        ledger.replay_owed("webhook", "acme", job.id)


def test_a_replay_owes_it_again_and_counts_its_tries_anew(desk, ledger):
    job = desk.submit(webhook=RECEIVER)
    with pytest.raises(Conflict, match="has not ended"):
        ledger.replay_owed("webhook", "acme", job.id)
    desk.cancel(job)
    ledger.tell_owed("webhook", taken(ledger)[0], "failed", "answered 500", 500)
    ledger.clock.forward(100)
    ledger.replay_owed("webhook", "acme", job.id)
    (owed,) = taken(ledger)
    assert (owed.attempts, owed.before, owed.owed_ms) == (1, 1, ledger.clock.ms)
    assert ledger.redis.ttl(keys.owed("webhook", "acme", job.id)) == -1


def test_an_end_by_a_script_that_knows_no_webhooks_is_settled(desk, ledger):
    """A worker of the release before ends the job; the keeper settles it by the journal, once."""
    job = desk.submit(webhook=RECEIVER)
    desk.cancel(job)
    for key in (*ledger.redis.keys("bl:webhook*"), keys.UNDELIVERED):
        ledger.redis.delete(key)
    end = next(entry for _, entry in ledger.redis.xrange(keys.JOURNAL) if entry["type"] == "ended")
    assert ledger.settle("webhook", [end] * 60) == 1
    assert [one.job_id for one in taken(ledger)] == [job.id] and ledger.settle("webhook", [end]) == 0


@pytest.mark.parametrize("most", [2, 0])
def test_a_tenant_has_so_many_undelivered_and_no_more(desk, ledger, most):
    """A submit with a webhook is refused then; one without, and another tenant's, are not. 0: no limit."""
    ledger.settings = ledger.settings.model_copy(update={"max_undelivered_webhooks": most})
    for _ in range(2):
        desk.cancel(desk.submit(webhook=RECEIVER))
    if not most:
        desk.submit(webhook=RECEIVER)
        return
    with pytest.raises(QuotaExceeded, match="2 of your webhooks and deliveries are undelivered; a tenant may have 2"):
        desk.submit(webhook=RECEIVER)
    desk.submit(), desk.submit(tenant="rival", webhook=RECEIVER)
    ledger.tell_owed("webhook", taken(ledger, 1)[0], "delivered", "answered 200", 200)
    desk.submit(webhook=RECEIVER)


ALL = WebhookRequest(url=RECEIVER.url, events=["started", "progress", "completed"])


def passed(ledger: Ledger) -> list[str]:
    return [words.split(" ")[1] for words in ledger.passing(9)]


def test_the_first_start_is_passed_on_and_no_other(desk, ledger):
    claimed = desk.running(webhook=ALL, max_attempts=3)
    assert ledger.passing(9) == [f"acme started {ledger.clock.ms} {claimed.fixed.id} {RECEIVER.url}"]
    assert not ledger.passing(9) and not ledger.redis.exists(keys.PASSING)
    desk.fail(claimed, AWAY)
    ledger.due()
    assert desk.claim() and not ledger.passing(9)


def test_progress_is_passed_on_once_a_minute_at_most(desk, ledger):
    claimed = desk.running(webhook=ALL)
    assert passed(ledger) == ["started"]
    for second in range(121):
        ledger.report(claimed.fixed.id, claimed.token, "running", second / 200)
        ledger.clock.forward(1)
    assert passed(ledger) == ["progress"] * 3
    ledger.report(claimed.fixed.id, claimed.token, "uploading")
    assert not passed(ledger)


def test_events_that_nobody_wants_are_not_passed_on(desk, ledger):
    claimed, other = desk.running(webhook=RECEIVER), desk.running()
    for one in (claimed, other):
        ledger.report(one.fixed.id, one.token, "running", 0.5)
    assert not ledger.passing(9)
    wants_none = desk.running(webhook=WebhookRequest(url=RECEIVER.url, events=["started"]))
    desk.commit(wants_none)
    assert passed(ledger) == ["started"] and not taken(ledger) and not state(ledger, wants_none.fixed)
    with pytest.raises(Conflict, match="no webhook for its end"):
        ledger.replay_owed("webhook", "acme", wants_none.fixed.id)


def test_of_a_flood_the_last_thousand_are_kept_for_a_minute(desk, ledger):
    claimed = desk.running(webhook=ALL)
    for _ in range(1100):
        ledger.report(claimed.fixed.id, claimed.token, "running", 0.5)
        ledger.clock.forward(60)
    assert ledger.redis.llen(keys.passing("acme")) == 1000 and ledger.redis.ttl(keys.passing("acme")) <= 60
