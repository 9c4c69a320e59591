"""Deliveries in the ledger: owed by a success and by no other end, beside the job's webhook, leased, told, replayed."""

import pytest

from tasks.delivery import OutputRequest
from tasks.errors import Conflict, QuotaExceeded
from tasks.ledger import Ledger, keys
from tasks.ledger.owed import Owed
from tests.tasks.ledger.test_webhooks import LINE, RECEIVER

FOLDER = OutputRequest(url="s3://theirs/out/")
BUCKET = ("acme", "theirs")


def taken(ledger: Ledger, what: str = "delivery", line=BUCKET, keeper: str = "k1") -> list[Owed]:
    taken.calls = getattr(taken, "calls", 0) + 1
    return ledger.take_owed(what, keeper, f"t{taken.calls}", [(line, 9)], 30)


def test_a_success_owes_the_delivery_and_no_other_end_does(desk, ledger):
    job = desk.running(output=FOLDER)
    assert not taken(ledger)
    desk.commit(job)
    desk.fail(desk.running(output=FOLDER, max_attempts=1)), desk.cancel(desk.submit(output=FOLDER))
    (owed,) = taken(ledger)
    assert (owed.job_id, owed.url, owed.ended) == (job.fixed.id, FOLDER.url, "succeeded")
    assert ledger.due_tenants("delivery") == [] and ledger.limits("acme").undelivered == 1


def test_webhook_and_delivery_of_a_job_stand_side_by_side(desk, ledger, journal):
    """Told, each has an entry of its own in the journal."""
    job = desk.running(output=FOLDER, webhook=RECEIVER)
    desk.commit(job)
    (hook,), (owed,) = taken(ledger, "webhook", LINE), taken(ledger)
    assert hook.url == RECEIVER.url and owed.url == FOLDER.url and ledger.limits("acme").undelivered == 2
    ledger.tell_owed("webhook", hook, "failed", "answered 500", 500)
    ledger.tell_owed("delivery", owed, "delivered", "2 files copied")
    assert [entry["type"] for entry in journal()[-2:]] == ["told", "delivered"]
    states = [ledger.owed_state(what, "acme", job.fixed.id)["status"] for what in ("webhook", "delivery")]
    assert states == ["failed", "delivered"] and not ledger.redis.exists(keys.UNDELIVERED)


def test_a_job_without_one_leaves_nothing(desk, ledger):
    desk.commit(desk.running(webhook=RECEIVER))
    assert not ledger.redis.keys("bl:deliver*")


def test_a_lease_is_prolonged_while_the_copy_goes_on(desk, ledger):
    desk.commit(desk.running(output=FOLDER))
    (owed,) = taken(ledger)
    ledger.clock.forward(29)
    ledger.lease_owed("delivery", [owed], ["theirs"], 30)
    ledger.clock.forward(29)
    assert not taken(ledger, keeper="k2")
    ledger.clock.forward(1)
    assert taken(ledger, keeper="k2") == [owed]
    ledger.tell_owed("delivery", owed, "delivered", "")
    ledger.lease_owed("delivery", [owed], ["theirs"], 30)
    assert not ledger.redis.keys("bl:deliveries*")


def test_a_replay_is_of_a_success(desk, ledger):
    job = desk.running(output=FOLDER, max_attempts=1)
    with pytest.raises(Conflict, match="has not ended; its delivery is sent at its end"):
        ledger.replay_owed("delivery", "acme", job.fixed.id)
    desk.fail(job)
    with pytest.raises(Conflict, match="has no delivery for its end"):
        ledger.replay_owed("delivery", "acme", job.fixed.id)
    other = desk.running(output=FOLDER)
    desk.commit(other)
    ledger.tell_owed("delivery", taken(ledger)[0], "failed", "")
    ledger.replay_owed("delivery", "acme", other.fixed.id)
    assert [(one.job_id, one.attempts, one.before) for one in taken(ledger)] == [(other.fixed.id, 1, 1)]


def test_an_erased_job_still_has_its_delivery_told(desk, ledger):
    job = desk.running(output=FOLDER)
    desk.commit(job)
    ledger.forget(job.fixed)
    (owed,) = taken(ledger)
    ledger.tell_owed("delivery", owed, "failed", "erased")
    assert ledger.redis.ttl(keys.owed("delivery", "acme", job.fixed.id)) > 0


def test_deliveries_count_as_undelivered(desk, ledger):
    ledger.settings = ledger.settings.model_copy(update={"max_undelivered_webhooks": 1})
    desk.commit(desk.running(output=FOLDER))
    for wanted in ({"output": FOLDER}, {"webhook": RECEIVER}):
        with pytest.raises(QuotaExceeded, match="1 of your webhooks and deliveries"):
            desk.submit(**wanted)
    desk.submit()
