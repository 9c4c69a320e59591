"""What one tenant may do: submits a minute, and jobs that wait. Nothing of it is asked of others."""

import pytest

from tasks.errors import QuotaExceeded, RateLimited
from tasks.ledger import Idempotency, Ledger, connect
from tests.conftest import PATIENT_S, make_fixed

KEY = Idempotency.of(["acme", "k"], ["content"])


@pytest.fixture
def limited(settings, clock):
    """limited(submits_per_minute=3): a ledger with these limits, on the test's clock."""
    def make(**limits) -> Ledger:
        made = Ledger(settings.model_copy(update=limits), connect(settings, read_timeout_s=PATIENT_S), clock)
        made.set_epoch()
        return made

    return make


def test_a_minutes_submits_may_be_made_at_once_and_come_back_evenly(limited, clock):
    """Six a minute: six at once, then one each ten seconds."""
    ledger = limited(submits_per_minute=6)
    assert [ledger.submit(make_fixed()).left for _ in range(6)] == [5, 4, 3, 2, 1, 0]
    with pytest.raises(RateLimited, match="6 jobs a minute") as refused:
        ledger.submit(make_fixed())
    assert refused.value.retry_after_s == pytest.approx(10)
    clock.forward(10)
    assert ledger.submit(make_fixed()).left == 0
    clock.forward(60)
    submitted = ledger.submit(make_fixed())
    assert (submitted.left, submitted.reset_s) == (5, 10)


def test_what_was_refused_or_is_a_repetition_costs_nothing(limited, clock):
    """A lost answer asked for again, a replay by Idempotency-Key, and a refusal: one submit was made."""
    ledger, job = limited(submits_per_minute=2), make_fixed()
    ledger.submit(job, KEY)
    for _ in range(3):
        assert ledger.submit(job, KEY).left == 1
        assert ledger.submit(make_fixed(), KEY).replay_fingerprint
    ledger.submit(make_fixed())
    for _ in range(5):
        with pytest.raises(RateLimited):
            ledger.submit(make_fixed())
    clock.forward(30)
    ledger.submit(make_fixed())


def test_tenants_are_counted_apart(limited):
    ledger = limited(submits_per_minute=1, max_waiting_jobs=1)
    ledger.submit(make_fixed(tenant="acme"))
    ledger.submit(make_fixed(tenant="rival"))


def test_a_tenant_with_its_fill_of_waiting_jobs_must_let_some_start(limited, worker):
    """On both pools together; a running job does not count."""
    ledger = limited(max_waiting_jobs=2)
    ledger.submit(make_fixed(pool="cpu"))
    ledger.submit(make_fixed(pool="gpu"))
    with pytest.raises(QuotaExceeded, match="2 of your jobs wait; a tenant may have 2 waiting"):
        ledger.submit(make_fixed())
    ledger.claim(worker, "w1:1", "1")
    ledger.submit(make_fixed())


def test_a_restore_is_asked_for_no_limit(limited):
    """An accepted job was paid for when it came."""
    ledger = limited(submits_per_minute=1, max_waiting_jobs=1)
    for _ in range(3):
        ledger.submit(make_fixed(), restoring=True)
