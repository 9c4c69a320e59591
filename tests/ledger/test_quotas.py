"""What one tenant may do: submits a minute, and jobs that wait. Nothing of it is asked of others."""

import pytest

from tasks.errors import QuotaExceeded, RateLimited, StorageUnavailable
from tasks.job import Upload
from tasks.ledger import Idempotency, Ledger, connect, keys
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


class TestStoredBytes:
    """Outputs count from their commit, uploads from the first job that names them, each once."""

    UPLOADS = {"upload_1": Upload(key="tenants/acme/uploads/upload_1/a.wav", bytes=600, etag="x")}

    def commit(self, ledger, worker, size: int, token: str = "1") -> str:
        claimed = ledger.claim(worker, "w1:1", token)
        outputs = [{"name": name, "media_type": "text/plain", "bytes": size // 2, "sha256": "", "key": name}
                   for name in ("a.txt", "b.txt")]
        assert ledger.commit(claimed.fixed.id, claimed.token, {}, outputs, {}) == "succeeded"
        ledger.commit(claimed.fixed.id, claimed.token, {}, outputs, {})  # its first answer was lost
        return claimed.fixed.id

    def stored(self, ledger) -> int:
        return int(ledger.redis.hget(keys.STORED, "acme") or 0)

    def test_over_it_a_tenant_submits_nothing_until_something_is_gone(self, limited, worker):
        """Others may; and what was accepted is done, even beyond the limit."""
        ledger = limited(max_stored_bytes=1000)
        ledger.submit(make_fixed(uploads=self.UPLOADS))
        ledger.submit(make_fixed(uploads=self.UPLOADS))
        assert self.stored(ledger) == 600
        job_id = self.commit(ledger, worker, 800)
        assert self.stored(ledger) == 1400
        with pytest.raises(QuotaExceeded, match="1,400 bytes of outputs and uploads; a tenant may have 1,000"):
            ledger.submit(make_fixed())
        ledger.submit(make_fixed(tenant="rival"))
        assert ledger.count("acme", job_id, 0) == 600
        assert ledger.count("acme", job_id, 0) == 600
        ledger.submit(make_fixed())

    def test_a_refusal_costs_no_submit_of_the_minute(self, limited):
        ledger = limited(max_stored_bytes=1, submits_per_minute=2)
        ledger.submit(make_fixed(uploads=self.UPLOADS))
        with pytest.raises(QuotaExceeded):
            ledger.submit(make_fixed())
        ledger.count("acme", "upload_1", 0)
        assert ledger.submit(make_fixed()).left == 0

    def test_a_replay_by_its_key_is_answered_all_the_same(self, limited):
        ledger, job = limited(max_stored_bytes=1), make_fixed(uploads=self.UPLOADS)
        ledger.submit(job, KEY)
        assert ledger.submit(job, KEY).job_id == job.id
        assert ledger.submit(make_fixed(), KEY).replay_fingerprint

    def test_a_failed_attempt_counts_nothing(self, limited, worker):
        ledger = limited(max_stored_bytes=1000)
        ledger.submit(make_fixed(max_attempts=1))
        claimed = ledger.claim(worker, "w1:1", "1")
        ledger.fail(claimed.fixed.id, claimed.token, StorageUnavailable("away"))
        assert self.stored(ledger) == 0
