"""Idempotency-Key: one job a key and tenant, whoever asks again; another body is seen as such."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.errors import Conflict
from tasks.ledger import Idempotency, keys
from tests.conftest import make_fixed

SCOPE = ("acme", "POST", "/v1/jobs", "key-1")
KEY = Idempotency.of(SCOPE, ["prompt", "Once"])
OTHER_BODY = Idempotency.of(SCOPE, ["prompt", "Twice"])


def test_a_replay_names_the_first_job_and_records_no_second(ledger, desk, journal):
    first, again = make_fixed(), make_fixed()
    assert ledger.submit(first, KEY).replay_fingerprint is None
    replay = ledger.submit(again, KEY)
    assert (replay.job_id, replay.replay_fingerprint) == (first.id, KEY.fingerprint)
    assert desk.line() == [first.id] and ledger.record(again.id) is None and len(journal()) == 1


def test_another_body_under_the_same_key_is_told_by_its_fingerprint(ledger):
    first = make_fixed()
    ledger.submit(first, KEY)
    replay = ledger.submit(make_fixed(), OTHER_BODY)
    assert replay.job_id == first.id and replay.replay_fingerprint == KEY.fingerprint != OTHER_BODY.fingerprint


def test_the_submit_itself_asked_twice_is_no_replay(ledger):
    job = make_fixed()
    assert ledger.submit(job, KEY) == ledger.submit(job, KEY)


def test_keys_of_two_tenants_and_two_keys_of_one_are_apart(ledger):
    for tenant, key in (("acme", KEY), ("rival", KEY), ("acme", Idempotency.of([*SCOPE[:3], "key-2"], ["x"]))):
        assert ledger.submit(make_fixed(tenant=tenant), key).replay_fingerprint is None


def test_parts_of_a_scope_do_not_run_together():
    """('ab', 'c') is another scope than ('a', 'bc')."""
    assert Idempotency.of(["ab", "c"], []).digest != Idempotency.of(["a", "bc"], []).digest
    assert Idempotency.of(["é"], []).digest != Idempotency.of(["e", "\u0301"], []).digest


def test_while_its_inputs_come_in_a_key_is_taken(ledger):
    """The second request is told to come again; the first may go on, also when it asks twice."""
    first, second = make_fixed(), make_fixed()
    assert ledger.reserve("acme", KEY, first.id) is None
    assert ledger.reserve("acme", KEY, first.id) is None
    for refused in (lambda: ledger.reserve("acme", KEY, second.id), lambda: ledger.submit(second, KEY)):
        with pytest.raises(Conflict, match="still being received"):
            refused()
    assert ledger.submit(first, KEY).job_id == first.id
    holder = ledger.reserve("acme", KEY, second.id)
    assert (holder.job_id, holder.replay_fingerprint) == (first.id, KEY.fingerprint)


def test_a_key_is_kept_a_day_and_an_upload_two_minutes(ledger):
    job, name = make_fixed(), keys.idempotency("acme", KEY.digest)
    ledger.reserve("acme", KEY, job.id)
    assert 0 < ledger.redis.pttl(name) <= 120_000
    ledger.submit(job, KEY)
    assert 23.9 * 3600 * 1000 < ledger.redis.pttl(name) <= 24 * 3600 * 1000


def test_of_many_at_once_one_job_comes(ledger, desk):
    """Eight requests with one key in the same moment."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ledger.submit(make_fixed(), KEY), range(8)))
    assert len({a.job_id for a in answers}) == 1 and len(desk.line()) == 1
    assert sum(a.replay_fingerprint is None for a in answers) == 1


def test_a_replay_after_the_end_still_names_the_job(ledger, desk):
    job = make_fixed()
    ledger.submit(job, KEY)
    desk.commit(desk.claim())
    assert ledger.submit(make_fixed(), KEY).job_id == job.id


def test_the_journal_holds_key_and_fingerprint(ledger, journal):
    """So that a key survives a restore."""
    ledger.submit(make_fixed(), KEY)
    assert (journal()[0]["key"], journal()[0]["fingerprint"]) == (keys.idempotency("acme", KEY.digest), KEY.fingerprint)
