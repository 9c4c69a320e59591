"""What one tenant may do: submits a minute, and jobs that wait. Nothing of it is asked of others."""

import pytest

from tasks.errors import QuotaExceeded, RateLimited, StorageUnavailable, UploadsLimited
from tasks.job import Upload
from tasks.ledger import Idempotency, Ledger, connect, keys
from tasks.ledger.shapes import Rate, Used
from tests.conftest import PATIENT_S, fenced, make_fixed

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
        ledger.submit(make_fixed(), restoring=fenced(ledger))


def test_limits_tell_what_each_verb_would_charge(limited, worker, clock):
    """Rates as the next submit and upload find them; every sort of waiting job; nothing of another tenant."""
    ledger = limited(submits_per_minute=6, uploads_per_minute=2, max_record_bytes=5000)
    assert ledger.limits("acme") == Used(Rate(6, 0), Rate(2, 0), 0, 0, 0, 0, 5000, 0)
    jobs = [make_fixed(), make_fixed(start_ms=clock.ms + 60_000), make_fixed()]
    lefts = [ledger.submit(job).left for job in jobs]
    ledger.claim(worker, "w1:1", "1")
    assert ledger.upload("acme", "upload_1", 600, 60, a_minute=2) == Rate(1, 30)
    used = ledger.limits("acme")
    assert (used.submits, used.uploads) == (Rate(lefts[-1], 30), Rate(1, 30))
    assert (used.waiting, used.running, used.stored) == (2, 1, 600)
    assert used.held == int(ledger.redis.hget(keys.HELD, "acme")) > 3000
    assert ledger.limits("rival") == Used(Rate(6, 0), Rate(2, 0), 0, 0, 0, 0, 5000, 0)
    clock.forward(30)
    assert ledger.limits("acme").submits == Rate(6, 0)


class TestStoredBytes:
    """Outputs count from their commit, uploads from the first job that names them, each once."""

    UPLOADS = {"upload_1": Upload(key="tenants/acme/uploads/upload_1/a.wav", bytes=600, etag="x")}

    def commit(self, ledger, worker, size: int, token: str = "1") -> str:
        claimed = ledger.claim(worker, "w1:1", token)
        outputs = [
            {"name": name, "media_type": "text/plain", "bytes": size // 2, "sha256": "", "key": name}
            for name in ("a.txt", "b.txt")
        ]
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

    def test_an_upload_counts_from_the_moment_its_place_is_made(self, limited):
        """By the bytes declared; a job that names it says how many there are, and may bring all that are allowed."""
        ledger = limited(max_stored_bytes=1000)
        ledger.upload("acme", "upload_1", 600, kept_s=60)
        with pytest.raises(QuotaExceeded, match="600 bytes of outputs and uploads, and these are 401 more; .* 1,000"):
            ledger.upload("acme", "upload_2", 401, kept_s=60)
        ledger.upload("acme", "upload_2", 400, kept_s=60)
        assert self.stored(ledger) == 1000
        with pytest.raises(QuotaExceeded):
            ledger.upload("acme", "upload_3", 0, kept_s=60)
        ledger.submit(
            make_fixed(
                uploads=self.UPLOADS
                | {"upload_2": Upload(key="tenants/acme/uploads/upload_2/a.wav", bytes=300, etag="x")}
            )
        )
        assert self.stored(ledger) == 900
        assert ledger.count("acme", "upload_1", 0) == 300

    def test_a_failed_attempt_counts_nothing(self, limited, worker):
        ledger = limited(max_stored_bytes=1000)
        ledger.submit(make_fixed(max_attempts=1))
        claimed = ledger.claim(worker, "w1:1", "1")
        ledger.fail(claimed.fixed.id, claimed.token, StorageUnavailable("away"))
        assert self.stored(ledger) == 0


def test_uploads_are_begun_so_many_a_minute(limited, clock):
    """Apart from submits; and one that is asked for again costs nothing."""
    ledger = limited(submits_per_minute=1)
    for name in ("upload_1", "upload_2", "upload_2"):
        ledger.upload("acme", name, 5, kept_s=60, a_minute=2)
    with pytest.raises(UploadsLimited, match="may begin 2 uploads a minute") as refused:
        ledger.upload("acme", "upload_3", 5, kept_s=60, a_minute=2)
    assert refused.value.retry_after_s == pytest.approx(30)
    ledger.upload("rival", "upload_3", 5, kept_s=60, a_minute=2)
    ledger.submit(make_fixed())
    clock.forward(30)
    ledger.upload("acme", "upload_3", 5, kept_s=60, a_minute=2)


def test_to_ask_whether_a_job_would_be_recorded_changes_nothing(limited):
    """It is refused for what a submit would be, and costs no part of the minute."""
    ledger = limited(submits_per_minute=1)
    before = {key: ledger.redis.dump(key) for key in ledger.redis.keys("*")}
    for _ in range(3):
        ledger.submit(make_fixed(), KEY, asking=True)
    assert {key: ledger.redis.dump(key) for key in ledger.redis.keys("*")} == before
    ledger.submit(make_fixed())
    with pytest.raises(RateLimited):
        ledger.submit(make_fixed(), KEY, asking=True)


class TestRecordBytes:
    """The share of Redis' memory that a tenant's records may take."""

    LONG = {"prompt": "x" * 10_000}

    def held(self, ledger) -> int:
        assert int(ledger.redis.hget(keys.HELD, "acme") or 0) == sum(map(int, ledger.redis.hvals(keys.held("acme"))))
        return int(ledger.redis.hget(keys.HELD, "acme") or 0)

    def test_over_it_a_tenant_submits_nothing_and_others_may(self, limited):
        """What is asked for later counts as what waits now; erasing gives room at once."""
        ledger, far = limited(max_record_bytes=40_000), {"start_ms": 4_000_000_000_000}
        jobs = [make_fixed(input=self.LONG, **far) for _ in range(3)]
        for job in jobs:
            ledger.submit(job)
        assert 3 * 11_024 < self.held(ledger) < 40_000
        with pytest.raises(QuotaExceeded, match="records of your jobs take 3.,... bytes; a tenant's may take 40,000"):
            ledger.submit(make_fixed(input=self.LONG))
        ledger.submit(make_fixed(tenant="rival", input=self.LONG))
        ledger.cancel("acme", jobs[0].id)
        with pytest.raises(QuotaExceeded):
            ledger.submit(make_fixed(input=self.LONG))
        ledger.forget(jobs[0])
        ledger.submit(make_fixed(input=self.LONG))

    def test_it_is_at_most_a_quarter_of_redis_memory(self, limited, own_memory):
        ledger = limited()
        own_memory(ledger, 4 * 1024**3)
        assert ledger.submit(make_fixed()).job_id
        ledger.redis.hset(keys.HELD, "acme", 1024**3 - 1000)
        with pytest.raises(QuotaExceeded, match="may take 1,073,741,824"):
            ledger.submit(make_fixed())
        own_memory(ledger, 8 * 1024**3)
        with pytest.raises(QuotaExceeded, match="may take 1,073,741,824"):
            ledger.submit(make_fixed())

    @pytest.fixture
    def own_memory(self, redis_server):
        """own_memory(ledger, bytes): Redis' maxmemory, for this test."""
        yield lambda ledger, most: ledger.redis.config_set("maxmemory", most)
        redis_server.client().config_set("maxmemory", 0)

    def test_a_result_counts_and_a_record_that_has_shrunk_does_not(self, limited, worker):
        ledger = limited()
        ledger.submit(make_fixed(input=self.LONG))
        before = self.held(ledger)
        claimed = ledger.claim(worker, "w1:1", "1")
        ledger.commit(claimed.fixed.id, "1", {"text": "y" * 5000}, [], {})
        assert before + 5000 < self.held(ledger) < before + 5100
        ledger.shrink(claimed.fixed.id, claimed.fixed.model_copy(update={"input": {}, "shrunk": True}), ["result"])
        assert self.held(ledger) == 0
        ledger.forget(claimed.fixed)
        assert self.held(ledger) == 0

    def test_a_large_request_that_is_kept_counts_until_it_is_forgotten(self, limited):
        """A person may yet retry what was canceled."""
        ledger, job = limited(), make_fixed(input=self.LONG)
        ledger.submit(job)
        ledger.cancel("acme", job.id)
        ledger.shrink(job.id, None, [])
        assert 10_000 < self.held(ledger) < 11_000
        ledger.forget(job)
        assert self.held(ledger) == 0

    def test_a_restored_job_counts_and_so_does_one_that_has_ended(self, limited, worker):
        ledger, job = limited(max_record_bytes=1), make_fixed(input=self.LONG)
        ledger.submit(job, restoring=fenced(ledger))
        ledger.submit(job, restoring=fenced(ledger))
        assert 11_000 < self.held(ledger) < 12_000
        ended = {**ledger.record(job.id), "status": "failed", "ended_ms": "5", "retained_ms": "9", "result": "z" * 3000}
        ledger.conclude(job.id, ended)
        assert 14_000 < self.held(ledger) < 15_000
