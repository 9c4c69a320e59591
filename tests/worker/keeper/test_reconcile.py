"""What a tenant has in the bucket, counted: deleted bytes go off it, and a look through the bucket heals it."""

import pytest

from tasks.bucket.layout import attempt_prefix, log_key, logs_prefix
from tasks.errors import NotReady, StorageUnavailable
from tasks.ledger import keys
from tasks.service.intake import UPLOAD_KEPT_S
from tasks.service.jobs import Jobs
from tests.conftest import make_fixed
from worker.keeper.journal import Journal
from worker.keeper.keeper import Keeper
from worker.keeper.reconcile import EVERY_MS
from worker.keeper.skipped import Skipped
from worker.keeper.trash import Trash

UPLOAD = "upload_" + "a" * 26


class House:
    """A keeper done by hand, over a real bucket."""

    def __init__(self, settings, ledger, storage, worker) -> None:
        self.ledger, self.storage, self.worker = ledger, storage, worker
        self.redis, self.keeper, self.jobs = ledger.redis, Keeper(settings), Jobs.of(settings)
        self.tokens = 0

    def succeeded(self, size: int, **changes) -> str:
        """A job with an output of so many bytes, and as many beside it that its first attempt left."""
        fixed = make_fixed(**changes)
        self.ledger.submit(fixed)
        for last in (False, True):
            self.tokens += 1
            claimed = self.ledger.claim(self.worker, f"w1:1:1:{self.tokens}", f"{self.tokens:08x}{self.tokens:024x}")
            key = attempt_prefix("acme", fixed.id, claimed.number, claimed.token) + "a.txt"
            self.storage.put_bytes(key, b"x" * size, "text/plain")
            if last:
                self.ledger.commit(
                    fixed.id,
                    claimed.token,
                    {},
                    [{"name": "a.txt", "media_type": "text/plain", "bytes": size, "sha256": "", "key": key}],
                    {},
                )
            else:
                self.ledger.fail(fixed.id, claimed.token, StorageUnavailable("away"))
        journal = Journal(self.ledger, self.storage)
        journal.write_segment()
        journal.write_job_json(for_s=5)
        return fixed.id

    def upload(self, size: int) -> None:
        self.storage.put_bytes(f"tenants/acme/uploads/{UPLOAD}/a.wav", b"x" * size, "audio/wav")

    def stock_taken(self) -> None:
        """The whole bucket once more."""
        self.redis.set(keys.STOCK, "")
        while self.redis.exists(keys.STOCK):
            self.keeper.reconciler.reconcile()

    @property
    def stored(self) -> dict[str, str]:
        assert sum(map(int, self.redis.hvals(keys.stored("acme")))) == int(self.redis.hget(keys.STORED, "acme") or 0)
        return self.redis.hgetall(keys.stored("acme"))


@pytest.fixture
def house(settings, ledger, storage, worker) -> House:
    return House(settings, ledger, storage, worker)


def test_an_erased_job_counts_until_its_objects_are_deleted(house):
    first, second = house.succeeded(100), house.succeeded(20)
    house.jobs.delete("acme", first)
    assert house.stored == {first: "100", second: "20"}
    house.keeper.duties["trash"].work()
    assert house.stored == {second: "20"}


def test_what_an_attempt_left_counts_neither_before_nor_after_it_is_deleted(house):
    job = house.succeeded(100)
    house.stock_taken()
    for prefix in house.redis.zrange(keys.TRASH, 0, -1):
        house.redis.zadd(keys.TRASH, {prefix: 1})
    house.keeper.duties["trash"].work()
    assert house.stored == {job: "100"}
    assert len(list(house.storage.list(f"tenants/acme/jobs/{job}/"))) == 2, "the output and job.json"


def test_an_upload_counts_until_no_job_names_it(house):
    house.upload(500)
    upload = {"key": f"tenants/acme/uploads/{UPLOAD}/a.wav", "bytes": 500, "etag": "e"}
    job = house.succeeded(10, uploads={UPLOAD: upload})
    house.redis.zadd(keys.UPLOADS, {f"acme/{UPLOAD}": 1})
    house.jobs.delete("acme", job)
    house.keeper.duties["uploads"].work()
    house.keeper.duties["trash"].work()
    assert house.stored == {}


def test_an_upload_that_a_job_names_while_it_is_trash_stays(house):
    house.upload(500)
    house.redis.zadd(keys.TRASH, {f"tenants/acme/uploads/{UPLOAD}/": 1})
    upload = {"key": f"tenants/acme/uploads/{UPLOAD}/a.wav", "bytes": 500, "etag": "e"}
    house.ledger.submit(make_fixed(uploads={UPLOAD: upload}))
    house.keeper.duties["trash"].work()
    assert house.storage.head(upload["key"]) and not house.redis.exists(keys.TRASH)


def test_trash_of_before_a_flush_waits_until_it_is_known_what_was_committed(house):
    job = house.succeeded(100)
    (output,) = [seen.key for seen in house.storage.list(f"tenants/acme/jobs/{job}/") if "/2-" in seen.key]
    house.redis.flushdb()
    with pytest.raises(NotReady):
        Trash(house.ledger, house.storage)._empty(output.rpartition("/")[0] + "/")
    assert house.storage.head(output)


def test_a_look_through_the_bucket_counts_what_was_never_counted(house):
    """An upload that no job names yet, and a job of a release that did not count."""
    house.upload(500)
    job = house.succeeded(100)
    house.redis.delete(keys.STORED, keys.stored("acme"))
    house.stock_taken()
    assert house.stored == {UPLOAD: "500", job: "100"}
    house.stock_taken()
    assert house.stored == {UPLOAD: "500", job: "100"}
    assert house.redis.zscore(keys.UPLOADS, f"acme/{UPLOAD}") > UPLOAD_KEPT_S * 1000, "so that it goes in its time"


def test_after_a_flush_the_count_comes_back_and_goes_with_the_retention(house):
    """Of jobs that only the bucket knows, too."""
    job = house.succeeded(100)
    house.redis.flushdb()
    house.keeper.duties["epoch"].work()
    house.stock_taken()
    assert house.stored == {job: "100"}
    house.redis.zadd(keys.ARCHIVED, {f"acme/{job}": 1})
    house.keeper.duties["archived"].work()
    house.keeper.duties["trash"].work()
    assert house.stored == {}


@pytest.mark.parametrize("before", [None, "1"])
def test_a_look_begins_again_where_redis_loses_its_memory_meanwhile(house, monkeypatch, before):
    """Also one that was asked for by a restore; what it had told went with the memory."""
    monkeypatch.setattr("worker.keeper.reconcile.OWNERS_A_ROUND", 1)
    jobs = [house.succeeded(100) for _ in range(3)]
    if before:
        house.redis.set(keys.STOCK, before)
    house.keeper.reconciler.reconcile()
    house.redis.flushdb()
    house.keeper.duties["epoch"].work()
    while house.redis.exists(keys.STOCK):
        house.keeper.reconciler.reconcile()
    assert house.stored == dict.fromkeys(jobs, "100")
    assert set(house.redis.zrange(keys.ARCHIVED, 0, -1)) == {f"acme/{job}" for job in jobs}


def test_after_a_flush_outputs_stay_for_the_jobs_that_list_them(house):
    """They are counted once, and go with the last of these jobs."""
    first, other = house.succeeded(7, cache="ab"), make_fixed(cache="ab")
    house.ledger.submit(other)
    journal = Journal(house.ledger, house.storage)
    journal.write_segment()
    journal.write_job_json(for_s=5)
    house.redis.flushdb()
    house.ledger.set_epoch()
    house.jobs.archive.erase("acme", first)
    house.redis.set(keys.STOCK, "")
    house.keeper.duties["trash"].work()
    house.stock_taken()
    trash = Trash(house.ledger, house.storage)
    for job_id, left in ((first, 1), (other.id, 0)):
        if job_id == other.id:
            house.jobs.archive.erase("acme", job_id)
        house.redis.zadd(keys.TRASH, {f"tenants/acme/jobs/{job_id}/": 0})
        for _ in range(2):
            trash.empty(Skipped("trash"))
        seen = [one.key for one in house.storage.list("tenants/acme/jobs/") if one.key.endswith("a.txt")]
        assert len(seen) == left, job_id
        assert sum(map(int, house.stored.values())) == 7 * left
        if left:
            assert house.jobs.output_link("acme", other.id, "a.txt")


def test_what_attempts_left_before_a_flush_goes_and_the_committed_stays(house):
    """Also where two attempts have the same number, as after a restore, and where only the bucket knows the job."""
    jobs = [house.succeeded(100), house.succeeded(100)]
    prefixes = [f"tenants/acme/jobs/{job}/" for job in jobs]
    for prefix in prefixes:
        house.storage.put_bytes(f"{prefix}1-0139f715/a.txt", b"x" * 100, "text/plain")
    house.storage.put_bytes(f"{prefixes[0]}checkpoints/1-0139f715", b"so far", "application/octet-stream")
    house.redis.delete(keys.job(jobs[1]))
    house.redis.delete(keys.TRASH)
    house.stock_taken()
    for prefix in house.redis.zrange(keys.TRASH, 0, -1):
        house.redis.zadd(keys.TRASH, {prefix: 1})
    house.keeper.duties["trash"].work()
    for job, prefix in zip(jobs, prefixes, strict=True):
        committed = house.jobs.archive.output_key("acme", job, "a.txt")
        assert [seen.key for seen in house.storage.list(prefix)] == [committed, f"{prefix}job.json"]
    assert house.jobs.output_link("acme", jobs[1], "a.txt")


def test_the_folder_of_an_attempt_under_way_is_left_alone(house, fixed, worker):
    house.ledger.submit(job := fixed())
    claimed = house.ledger.claim(worker, "w1:1:1:1", "00000001" + 24 * "a")
    running, stray = (f"tenants/acme/jobs/{job.id}/{folder}/a.txt" for folder in ("1-aaaaaaaa", "1-bbbbbbbb"))
    for key in (running, stray):
        house.storage.put_bytes(key, b"x", "text/plain")
    house.stock_taken()
    assert claimed and house.redis.zrange(keys.TRASH, 0, -1) == [stray.removesuffix("a.txt")]


def test_the_bucket_is_looked_through_once_a_day(house):
    """And at once where it never was."""
    house.keeper.reconciler.reconcile()
    taken = house.redis.get(keys.STOCK_TAKEN)
    house.upload(500)
    house.keeper.reconciler.reconcile()
    assert house.stored == {} and house.redis.get(keys.STOCK_TAKEN) == taken
    house.redis.set(keys.STOCK_TAKEN, float(taken) - EVERY_MS - 1)
    house.keeper.reconciler.reconcile()
    assert house.stored == {UPLOAD: "500"}


def test_a_listing_that_breaks_off_is_begun_again(house, monkeypatch):
    """Its rest is not taken for the end."""
    house.upload(500)

    def broken(prefix):
        raise StorageUnavailable("the bucket did not answer")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(house.keeper.reconciler.storage, "list", broken)
        with pytest.raises(StorageUnavailable):
            house.keeper.reconciler.reconcile()
    assert house.redis.get(keys.STOCK_TAKEN) is None
    house.keeper.reconciler.reconcile()
    assert house.stored == {UPLOAD: "500"}


@pytest.mark.parametrize("flushed", [False, True])
def test_logs_are_nobodys_strays_and_go_with_their_job(house, flushed):
    """Those of failed attempts too; they count as no bytes. Also where only the bucket knows the job."""
    job = house.succeeded(100)
    logs = [log_key("acme", job, number, f"{number:032x}") for number in (1, 2)]
    for key in logs:
        house.storage.put_bytes(key, b"so far\n", "text/plain")
    if flushed:
        house.redis.flushdb()
        house.keeper.duties["epoch"].work()
    house.stock_taken()
    for prefix in house.redis.zrange(keys.TRASH, 0, -1):
        house.redis.zadd(keys.TRASH, {prefix: 1})
    house.keeper.duties["trash"].work()
    assert [seen.key for seen in house.storage.list(logs_prefix("acme", job))] == logs
    assert house.stored == {job: "100"}
    house.jobs.delete("acme", job)
    house.keeper.duties["trash"].work()
    assert list(house.storage.list(logs_prefix("acme", job))) == []
