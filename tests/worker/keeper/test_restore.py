"""Redis flushed, or back with an older memory: the keeper puts back from the bucket what was lost, and only that."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from api import create_app, keyfile
from tasks.bucket.layout import attempt_prefix, job_json_key
from tasks.errors import Gone, NotFound, NotReady, StorageUnavailable
from tasks.job import Job, Upload
from tasks.ledger import Idempotency, keys
from tasks.request_shapes import AmendRequest
from tasks.service.jobs import Jobs
from tasks.service.uploads import create_upload
from tests.conftest import make_fixed
from worker.keeper import entries, segments
from worker.keeper.compact import Compactor
from worker.keeper.journal import Journal
from worker.keeper.keeper import Keeper
from worker.keeper.restore import Restore

KEY = Idempotency.of(["acme", "POST", "/v1/jobs", "k"], ["content"])


class House:
    """A keeper done by hand, and the service as a caller sees it."""

    def __init__(self, settings, ledger, storage, worker) -> None:
        self.settings, self.ledger, self.storage, self.worker = settings, ledger, storage, worker
        self.keeper, self.jobs = Keeper(settings), Jobs.of(settings)
        self.tokens = 0

    def written(self, job_json: bool = True) -> None:
        """The bucket has all that Redis has."""
        Journal(self.ledger, self.storage).write_segment()
        if job_json:
            Journal(self.ledger, self.storage).write_job_json(for_s=5)

    def claim(self):
        self.tokens += 1
        return self.ledger.claim(self.worker, f"w1:1:1:{self.tokens}", f"{self.tokens:08x}{self.tokens:024x}")

    def commit(self, claimed) -> str:
        return self.ledger.commit(claimed.fixed.id, claimed.token, {"text": "done"}, [], {})

    def flush(self) -> None:
        self.ledger.redis.flushdb()

    def restore(self) -> dict[str, int]:
        done = Restore(self.settings, self.ledger.redis, self.storage).run()
        self.ledger.set_epoch()
        return done

    def status(self, job) -> str:
        return self.jobs.get(job.tenant, job.id).status


@pytest.fixture
def house(settings, ledger, storage, worker) -> House:
    return House(settings, ledger, storage, worker)


def test_after_a_flush_accepted_jobs_wait_again_as_they_came(house, fixed):
    """With their ids, inputs, priorities, times of submit and uploads."""
    upload = {"upload_" + "a" * 26: Upload(key="tenants/acme/uploads/upload_a/x", bytes=1, etag="e")}
    jobs = [fixed(priority=n, metadata={"n": n}, uploads=upload) for n in range(3)]
    for job in jobs:
        house.ledger.submit(job)
    before = {job.id: house.jobs.get("acme", job.id) for job in jobs}
    house.written()
    house.flush()
    assert house.restore() == {"queued": 3, "concluded": 0, "job.json": 0, "erased": 0}
    for job in jobs:
        now = house.jobs.get("acme", job.id)
        assert now == before[job.id]
        assert job.id in house.ledger.redis.smembers(keys.upload_jobs("acme", next(iter(upload))))
    assert [house.claim().fixed.id for _ in jobs] == [job.id for job in reversed(jobs)]


def test_after_a_flush_changed_jobs_wait_as_they_were_changed(house, fixed):
    """Each as its last change left it, though compaction keeps no other; so also where Redis is restored twice."""
    jobs = [fixed(queue_ttl_s=60 * n) for n in (1, 2, 3)]
    for job in jobs:
        house.ledger.submit(job)
    for n, patch in enumerate(({"priority": 1}, {"priority": 9, "metadata": {"n": 2}, "queue_ttl_s": 30})):
        house.jobs.amend("acme", jobs[2].id, AmendRequest(**patch))
        if n == 0:
            house.written()
    house.jobs.amend("acme", jobs[1].id, AmendRequest(start_at=datetime.now(UTC) + timedelta(hours=1)))
    house.written()
    before = {job.id: house.jobs.get("acme", job.id) for job in jobs}
    compactor = Compactor(house.ledger, house.ledger.redis, house.storage)
    assert sum(map(compactor.compact, segments.names(house.storage))) == 6
    for _ in range(2):
        house.flush()
        house.restore()
        now = {job.id: house.jobs.get("acme", job.id) for job in jobs}
        assert now == before
    assert [house.claim().fixed.id for _ in range(2)] == [jobs[2].id, jobs[0].id]
    house.jobs.cancel("acme", jobs[1].id)
    house.written()
    house.flush()
    house.restore()
    assert house.status(jobs[1]) == "canceled"


def test_an_older_memory_learns_what_was_changed_since(house, fixed, memory):
    job, running = fixed(), fixed(priority=5)
    house.ledger.submit(job)
    house.ledger.submit(running)
    house.written()
    bring_back = memory()
    house.jobs.amend("acme", job.id, AmendRequest(metadata={"n": 1}))
    house.jobs.amend("acme", running.id, AmendRequest(metadata={"n": 2}))
    house.commit(house.claim())
    house.written()
    changed = house.jobs.get("acme", job.id)
    bring_back()
    house.restore()
    assert house.jobs.get("acme", job.id) == changed and house.status(running) == "succeeded"


def test_an_ended_job_stays_ended(house, fixed):
    """It is read from the bucket, and no worker gets it again."""
    house.ledger.submit(fixed())
    claimed = house.claim()
    house.commit(claimed)
    house.written()
    house.flush()
    assert house.restore()["queued"] == 0
    assert house.status(claimed.fixed) == "succeeded"
    assert house.claim() is None


def test_an_ended_job_whose_job_json_was_not_written_gets_it(house, fixed):
    """The journal's last second knows how it ended."""
    house.ledger.submit(fixed())
    claimed = house.claim()
    house.commit(claimed)
    house.written(job_json=False)
    assert house.storage.head(job_json_key("acme", claimed.fixed.id)) is None
    house.flush()
    assert house.restore() == {"queued": 0, "concluded": 0, "job.json": 1, "erased": 0}
    assert house.jobs.get("acme", claimed.fixed.id).result == {"text": "done"}


def test_a_worker_from_before_cannot_commit_over_the_new_attempt(house, fixed):
    """Its token is known to nobody, and the two attempts' folders differ though both are the first."""
    house.ledger.submit(fixed())
    old = house.claim()
    house.written()
    house.flush()
    assert house.restore()["queued"] == 1
    new = house.claim()
    assert new.fixed.id == old.fixed.id and new.number == old.number == 1
    assert house.commit(old) == "lost"
    assert attempt_prefix("acme", old.fixed.id, 1, old.token) != attempt_prefix("acme", new.fixed.id, 1, new.token)
    assert house.commit(new) == "succeeded"


def test_an_older_memory_learns_what_came_after_it(house, fixed, memory):
    """Redis comes back as it was before a job ended, another came, and a third was canceled."""
    done, canceled = fixed(), fixed()
    house.ledger.submit(done)
    claimed = house.claim()
    house.ledger.submit(canceled)
    house.written()
    bring_back = memory()
    house.commit(claimed)
    house.ledger.cancel("acme", canceled.id)
    late = fixed()
    house.ledger.submit(late)
    house.written()
    bring_back()
    assert house.restore() == {"queued": 1, "concluded": 2, "job.json": 0, "erased": 0}
    assert [house.status(job) for job in (done, canceled, late)] == ["succeeded", "canceled", "queued"]
    assert house.ledger.redis.zrange(keys.leases("cpu"), 0, -1) == []
    assert house.claim().fixed.id == late.id and house.claim() is None


def test_an_older_memory_whose_segments_are_compacted_does_no_ended_job_again(house, fixed, memory):
    """No segment has the end any more; job.json does. A job that still waits goes on waiting."""
    done, canceled, waits = fixed(priority=1), fixed(), fixed()
    for job in (done, canceled, waits):
        house.ledger.submit(job)
    house.written()
    bring_back = memory()
    claimed = house.claim()
    assert claimed.fixed.id == done.id
    house.commit(claimed)
    house.ledger.cancel("acme", canceled.id)
    house.written()
    before = {job.id: house.jobs.get("acme", job.id) for job in (done, canceled)}
    _compact_all(house)
    bring_back()
    assert house.restore()["concluded"] == 2
    assert {job_id: house.jobs.get("acme", job_id) for job_id in before} == before
    assert house.claim().fixed.id == waits.id and house.claim() is None
    assert house.commit(claimed) == "lost"


def test_an_older_memory_of_a_job_erased_since_does_not_run_it(house, fixed, memory):
    """Its tombstone outlives the segments: no worker gets it, and the keeper forgets it."""
    job = fixed()
    house.ledger.submit(job)
    house.written()
    bring_back = memory()
    house.ledger.cancel("acme", job.id)
    house.written()
    house.jobs.delete("acme", job.id)
    house.keeper.duties["trash"].work()
    house.written()
    for name in segments.names(house.storage):
        house.storage.delete(name)
    bring_back()
    assert house.restore() == {"concluded": 1}
    assert house.claim() is None
    house.keeper.duties["retention"].work()
    with pytest.raises(Gone, match="was erased"):
        house.jobs.get("acme", job.id)


def _compact_all(house) -> None:
    compactor = Compactor(house.ledger, house.ledger.redis, house.storage)
    for name in segments.names(house.storage):
        compactor.compact(name)


def test_a_dead_letter_whose_replay_was_lost_is_none_when_it_is_back(house, fixed, memory):
    """Its end is put back, and so is what the retry said; else the next bulk call would do it once more."""
    old = fixed(max_attempts=1)
    house.ledger.submit(old)
    claimed = house.claim()
    house.written()
    bring_back = memory()
    house.ledger.fail(old.id, claimed.token, StorageUnavailable("away"))
    house.ledger.submit(fixed(retry_of=old.id))
    house.written()
    bring_back()
    assert house.restore() == {"queued": 1, "concluded": 1, "job.json": 0, "erased": 0}
    assert house.status(old) == "failed"
    assert not house.ledger.redis.exists(keys.dead("acme"))


def test_where_nothing_is_missing_nothing_is_read(house, fixed, monkeypatch):
    """An ordinary restart costs a listing of the journal."""
    house.ledger.submit(fixed())
    house.written()
    house.ledger.redis.set(keys.EPOCH, "of the start before")

    def never(*_):
        raise AssertionError("a segment was read")

    monkeypatch.setattr(segments, "lines", never)
    assert house.restore() == {}


def test_an_erased_job_stays_erased(house, fixed):
    """Nothing of it comes back, and asking for it is 410 before and after."""
    job = fixed()
    house.ledger.submit(job)
    house.ledger.cancel("acme", job.id)
    house.written(job_json=False)
    house.jobs.delete("acme", job.id)
    house.written(job_json=False)
    house.flush()
    assert house.restore()["erased"] == 1
    house.keeper.duties["trash"].work()
    with pytest.raises(Gone, match="was erased"):
        house.jobs.get("acme", job.id)


def test_one_that_an_older_memory_still_has_is_forgotten_in_the_first_round(house, fixed, memory):
    """It was erased after that memory was made; its record is due for the keeper's next look at retention."""
    erased = fixed()
    house.ledger.submit(erased)
    house.commit(house.claim())
    house.written()
    bring_back = memory()
    house.ledger.forget(erased)
    house.written()
    bring_back()
    assert house.restore()["erased"] == 1
    assert house.ledger.redis.zscore(keys.RETAINED, erased.id) <= time.time() * 1000


def test_one_erased_before_its_job_json_was_written_has_a_tombstone_only(house, fixed):
    """The late job.json does not take the tombstone's place."""
    job = fixed()
    house.ledger.submit(job)
    house.ledger.cancel("acme", job.id)
    house.jobs.delete("acme", job.id)
    house.keeper.duties["trash"].work()
    house.written()
    with pytest.raises(Gone):
        house.jobs.get("acme", job.id)


def test_a_job_past_its_retention_stays_gone(house, fixed):
    """Its end is in the journal, but it is over."""
    job = fixed(retention_s=0.001)
    house.ledger.submit(job)
    house.ledger.cancel("acme", job.id)
    house.written(job_json=False)
    time.sleep(0.01)  # a retention that is over cannot be waited for otherwise
    house.flush()
    assert house.restore() == {"queued": 0, "concluded": 0, "job.json": 0, "erased": 0}
    with pytest.raises(NotFound):
        house.jobs.get("acme", job.id)


def test_an_idempotency_key_finds_its_job_again(house, fixed):
    """Of a living job and of one that has ended."""
    job = fixed()
    house.ledger.submit(job, KEY)
    house.written()
    house.flush()
    house.restore()
    assert house.ledger.submit(fixed(), KEY).job_id == job.id
    house.commit(house.claim())
    house.written()
    house.flush()
    house.restore()
    assert house.ledger.submit(fixed(), KEY).job_id == job.id
    assert house.status(job) == "succeeded"


def test_meanwhile_the_api_says_503_and_never_404(house, fixed, settings, storage):
    """Whoever asks for an accepted job while Redis is empty is told to ask again."""
    job = fixed()
    house.ledger.submit(job)
    house.written()
    bearer = keyfile.add(settings.keys_file, "acme")
    caller = create_app(settings).test_client()
    paths = [f"/v1/jobs/{job.id}", "/v1/jobs", f"/v1/jobs/{job.id}/outputs/a.txt"]
    house.flush()
    for path in paths:
        answer = caller.get(path, headers={"Authorization": f"Bearer {bearer}"})
        assert answer.status_code == 503 and answer.headers["Retry-After"], path
    house.restore()
    assert caller.get(paths[0], headers={"Authorization": f"Bearer {bearer}"}).json["status"] == "queued"


def test_restoring_twice_does_no_harm(house, fixed):
    """A keeper that died in the middle is followed by another."""
    jobs = [fixed() for _ in range(3)]
    for job in jobs:
        house.ledger.submit(job)
    house.written()
    house.flush()
    house.restore()
    house.ledger.redis.delete(keys.EPOCH, keys.JOURNAL)  # as if the first had been killed before it was through
    house.restore()
    assert sorted(house.claim().fixed.id for _ in jobs) == sorted(job.id for job in jobs)
    assert house.claim() is None


def test_two_keepers_do_not_restore_at_once(house, ledger):
    ledger.redis.delete(keys.EPOCH)
    ledger.redis.set(keys.RESTORING, "another", px=60_000)
    with pytest.raises(NotReady, match="another keeper"):
        house.restore()


def test_after_a_flush_retention_still_ends(house, fixed, settings, storage):
    """Ended jobs that only the bucket knows are found there, and forgotten in their time."""
    job = fixed(retention_s=3600)
    house.ledger.submit(job)
    house.ledger.cancel("acme", job.id)
    house.written()
    house.flush()
    house.restore()
    house.keeper.reconciler.reconcile()
    retained_until = Job.model_validate_json(storage.get_bytes(job_json_key("acme", job.id))).retained_until
    ((member, score),) = house.ledger.redis.zrange(keys.ARCHIVED, 0, -1, withscores=True)
    assert member == f"acme/{job.id}" and abs(score / 1000 - retained_until.timestamp()) < 1
    assert not house.ledger.redis.exists(keys.STOCK)
    house.ledger.redis.zadd(keys.ARCHIVED, {member: 1})
    house.keeper.duties["archived"].work()
    house.keeper.duties["trash"].work()
    assert b"erased_at" in storage.get_bytes(job_json_key("acme", job.id))


def test_a_flush_while_job_json_is_being_written_loses_no_end(house, fixed, monkeypatch):
    """The record that is missing then is not that of an erased job."""
    job, writer = fixed(), Journal(house.ledger, house.storage)
    house.ledger.submit(job)
    house.commit(house.claim())
    house.written(job_json=False)
    after = writer._after

    def and_then_it_is_flushed(*asked):
        entries = after(*asked)
        house.flush()
        return entries

    monkeypatch.setattr(writer, "_after", and_then_it_is_flushed)
    with pytest.raises(NotReady):
        writer.write_job_json(for_s=5)
    assert house.restore()["job.json"] == 1
    assert house.status(job) == "succeeded"


def test_a_flush_while_uploads_are_asked_for_deletes_none(house, fixed, monkeypatch):
    """No job seems to name the upload then, though one does."""
    upload = create_upload(house.jobs, "acme", "a.txt").id
    house.ledger.submit(fixed(uploads={upload: Upload(key="k", bytes=1, etag="e")}))

    def and_then_it_is_flushed(*_, **__):
        house.flush()
        return [f"acme/{upload}"]

    monkeypatch.setattr(house.keeper.redis, "zrangebyscore", and_then_it_is_flushed)
    with pytest.raises(NotReady):
        house.keeper.duties["uploads"].work()
    assert not house.ledger.redis.exists(keys.TRASH)


class TestCompacting:
    """Segments give way once their jobs have ended."""

    @pytest.fixture
    def compactor(self, house) -> Compactor:
        return Compactor(house.ledger, house.ledger.redis, house.storage)

    def names(self, house) -> list[str]:
        return segments.names(house.storage)

    def test_one_whose_jobs_have_all_ended_is_deleted(self, house, fixed, compactor):
        house.ledger.submit(fixed())
        house.commit(house.claim())
        house.written()
        (name,) = self.names(house)
        assert compactor.compact(name) == 0
        assert self.names(house) == []

    def test_of_others_what_lives_is_kept(self, house, fixed, compactor):
        living = fixed(priority=-10)
        for job in (fixed(), living, fixed()):
            house.ledger.submit(job)
        house.commit(house.claim())
        house.commit(house.claim())
        house.written()
        (name,) = self.names(house)
        assert compactor.compact(name) == 1
        assert [entry["id"] for entry in segments.read(house.storage, name)] == [living.id]
        house.flush()
        assert house.restore()["queued"] == 1

    def test_a_recent_idempotency_key_is_kept_too(self, house, fixed, compactor):
        job = fixed()
        house.ledger.submit(job, KEY)
        house.commit(house.claim())
        house.written()
        (name,) = self.names(house)
        assert compactor.compact(name) == 1 == compactor.compact(name)
        (kept,) = segments.read(house.storage, name)
        assert kept["type"] == "key" and "fixed" not in kept, "nothing else of the job is needed"
        house.flush()
        assert house.restore()["queued"] == 0
        assert house.ledger.submit(fixed(), KEY).job_id == job.id

    def test_a_job_that_has_just_ended_is_kept_until_that_is_in_the_bucket_too(self, house, fixed, compactor):
        """It was accepted long ago, and its end is in Redis alone."""
        job = fixed()
        house.ledger.submit(job)
        house.written()
        house.commit(house.claim())
        (name,) = self.names(house)
        assert compactor.compact(name) == 1
        house.flush()
        assert house.restore()["queued"] == 1
        assert house.ledger.record(job.id)["status"] == "queued"

    def test_not_before_job_json_is_written(self, house, fixed, compactor):
        house.ledger.submit(fixed())
        house.commit(house.claim())
        house.written(job_json=False)
        (name,) = self.names(house)
        compactor.compact(name)
        assert len(segments.read(house.storage, name)) == 2

    def test_a_redis_that_has_lost_its_jobs_is_not_believed(self, house, fixed, compactor):
        """An empty Redis knows no living job; that is no reason to delete the only trace of them."""
        house.ledger.submit(fixed())
        house.written()
        written = house.ledger.redis.get(keys.WRITTEN)
        house.flush()
        house.ledger.redis.set(keys.WRITTEN, written)
        (name,) = self.names(house)
        with pytest.raises(NotReady):
            compactor.compact(name)
        assert len(segments.read(house.storage, name)) == 1

    def test_rounds_look_at_those_that_are_due(self, house, fixed, compactor, monkeypatch):
        """A segment is left alone for a minute."""
        house.ledger.submit(fixed())
        house.commit(house.claim())
        house.written()
        compactor.round()
        assert len(self.names(house)) == 1
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 200)
        compactor.round()
        assert self.names(house) == []


def test_the_note_of_what_is_written_lies_in_the_bucket(house, fixed):
    """A lost Redis does not know it any more; without it every job.json would have to be looked for."""
    house.ledger.submit(fixed())
    house.commit(house.claim())
    house.written()
    assert segments.written(house.storage) == entries.number(house.ledger.redis.get(keys.WRITTEN))
    assert json.loads(house.storage.get_bytes(segments.WRITTEN))


def test_an_older_memory_tells_jobs_that_wait_of_ends_that_came_behind_it(house, memory):
    source = make_fixed()
    job = make_fixed(waits_for=[source.id])
    house.ledger.submit(source), house.ledger.submit(job)
    house.written()
    bring_back = memory()
    house.commit(house.claim())
    house.written()
    bring_back()
    house.restore()
    house.ledger.settle_chains()
    assert [house.status(source), house.status(job)] == ["succeeded", "queued"]


def test_after_a_flush_the_same_work_is_done_once(house, fixed):
    """The first of those that waited for one another leads; what was done before is done again."""
    jobs = [fixed(cache="ab") for _ in range(3)]
    for job in jobs:
        house.ledger.submit(job)
    house.written()
    house.flush()
    house.restore()
    assert house.commit(house.claim()) == "succeeded" and house.claim() is None
    assert {house.status(job) for job in jobs} == {"succeeded"}
    house.written()
    house.flush()
    house.restore()
    later = fixed(cache="ab")
    house.ledger.submit(later)
    assert house.status(later) == "queued"
