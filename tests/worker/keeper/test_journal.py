"""The journal: segments in the bucket, job.json, a trimmed stream, and the living jobs rebuilt from segments."""

import json

import pytest

from tasks.bucket.layout import job_json_key
from tasks.bucket.storage import ObjectRefused
from tasks.errors import StorageUnavailable
from tasks.job import Job
from tasks.ledger import Idempotency, keys
from tasks.service.archive import Archive
from worker.keeper import journal, segments
from worker.keeper.entries import living
from worker.keeper.journal import Journal
from worker.keeper.skipped import Skipped
from worker.keeper.trash import Trash


@pytest.fixture
def keeper_side(ledger, storage) -> Journal:
    return Journal(ledger, storage)


def all_entries(storage) -> list[dict]:
    return [entry for name in segments.names(storage) for entry in segments.read(storage, name)]


def end(ledger, worker, token: str) -> str:
    claimed = ledger.claim(worker, "w1:1:1:1", token)
    ledger.commit(claimed.fixed.id, token, {"text": "done"}, [], {})
    return claimed.fixed.id


def test_living_jobs_are_rebuilt_from_segments_alone(ledger, storage, worker, fixed, keeper_side):
    """Redis is flushed; what was accepted and has not ended comes back whole from the bucket, once each."""
    jobs = [fixed(tenant=tenant, metadata={"n": n}, priority=n) for n, tenant in enumerate(["a", "b", "a", "b"])]
    key = Idempotency.of(["a", "POST", "/v1/jobs", "k"], ["content"])
    ledger.submit(jobs[0], key)
    for job in jobs[1:]:
        ledger.submit(job)
    keeper_side.write_segment()
    ended = end(ledger, worker, "1")
    ledger.cancel("a", jobs[0].id)
    ledger.claim(worker, "w1:1:1:1", "2")  # running is living
    keeper_side.write_segment()
    ledger.redis.flushdb()

    alive = living(all_entries(storage))
    assert set(alive) == {job.id for job in jobs} - {ended, jobs[0].id}
    for job in jobs:
        if job.id in alive:
            assert alive[job.id].fixed == job
    assert alive.keys().isdisjoint({ended})


def test_an_idempotency_key_survives_in_the_journal(ledger, storage, fixed, keeper_side):
    """Restored, the same key would find the same job."""
    job, key = fixed(tenant="a"), Idempotency.of(["a"], ["content"])
    ledger.submit(job, key)
    keeper_side.write_segment()
    assert living(all_entries(storage))[job.id].idempotency == key


def test_segments_written_twice_or_overlapping_do_no_harm(ledger, storage, worker, fixed, keeper_side):
    """Two keepers may write the same entries; each job is still counted once."""
    for _ in range(3):
        ledger.submit(fixed())
    keeper_side.write_segment()
    end(ledger, worker, "1")
    ledger.redis.delete(keys.SEGMENTED)
    keeper_side.write_segment()
    assert len(list(storage.list(segments.FOLDER))) == 2
    assert len(living(all_entries(storage))) == 2


def test_the_stream_is_trimmed_once_job_json_is_written(ledger, storage, worker, fixed, keeper_side):
    """Not before: until then Redis still has what the bucket lacks."""
    ledger.submit(fixed())
    ended = end(ledger, worker, "1")
    assert keeper_side.write_job_json(for_s=5) == []  # nothing is in a segment yet
    keeper_side.write_segment()
    (job,) = keeper_side.write_job_json(for_s=5)
    written = Job.model_validate_json(storage.get_bytes(f"tenants/acme/jobs/{ended}/job.json"))
    assert written == job and written.result == {"text": "done"}
    assert ledger.redis.get(keys.WRITTEN) == ledger.redis.get(keys.SEGMENTED)


def test_secrets_of_an_input_url_are_in_no_job_json(ledger, storage, fixed, keeper_side):
    """The journal needs the whole URL to run the job again; job.json, which people read, has none of its query."""
    job = fixed(input={"prompt": {"url": "https://example.com/a.txt?signature=secret"}})
    ledger.submit(job)
    ledger.cancel("acme", job.id)
    keeper_side.write_segment()
    keeper_side.write_job_json(for_s=5)
    assert b"secret" not in storage.get_bytes(f"tenants/acme/jobs/{job.id}/job.json")
    assert any("secret" in json.dumps(entry) for entry in all_entries(storage))


def test_a_bucket_that_is_away_loses_no_entry(ledger, storage, fixed, keeper_side, monkeypatch):
    """The cursor moves only after the object is there."""
    ledger.submit(fixed())

    def away(*_):
        raise StorageUnavailable("the bucket did not answer")

    monkeypatch.setattr(storage, "put_bytes", away)
    with pytest.raises(StorageUnavailable):
        keeper_side.write_segment()
    monkeypatch.undo()
    assert keeper_side.write_segment() == 1


class TestOddEntries:
    """One entry that cannot be read moves the cursor like any other, and stays findable."""

    @pytest.fixture
    def ended(self, ledger, fixed, worker):
        def make() -> str:
            ledger.submit(fixed())
            return end(ledger, worker, f"{len(ledger.redis.keys('bl:job:*')):02}")

        return make

    @pytest.fixture
    def poison(self, ledger):
        """A journal entry as if the job had ended again, with other fields."""

        def add(job_id: str, **fields) -> str:
            record = {**ledger.redis.hgetall(keys.job(job_id)), **fields}
            return ledger.redis.xadd(keys.JOURNAL, {"type": "ended", "id": job_id, **record})

        return add

    def unreadable(self, storage) -> dict[str, bytes]:
        return {
            seen.key.removeprefix(segments.UNREADABLE): storage.get_bytes(seen.key)
            for seen in storage.list(segments.UNREADABLE)
        }

    @pytest.mark.parametrize(
        ("fields", "left_out"),
        [
            ({"status": "over"}, None),
            ({"created_ms": "soon"}, None),
            ({"fixed": "[]"}, None),
            ({"fixed": "{"}, None),
            ({"started_ms": "soon"}, "started_ms"),
            ({"result": "["}, "result"),
            ({"outputs": '[{"name": 1}]'}, "outputs"),
            ({"starts": "two"}, "attempts"),
            ({"attempt:1": "{}"}, "attempts"),
            ({"retained_ms": "inf?"}, "retained_ms"),
            ({"metrics": '{"run_s": "long"}'}, "metrics"),
            ({"error": '{"code": 1}'}, "error"),
            ({"progress": "7"}, "progress"),
        ],
    )
    def test_an_end_that_cannot_be_shown(self, ledger, storage, keeper_side, ended, poison, fields, left_out):
        """What can be shown is in its job.json; where nothing can, the job.json that there was stays."""
        job_id = ended()
        keeper_side.write_segment()
        (whole,) = keeper_side.write_job_json(for_s=5)
        sid = poison(job_id, **fields)
        after = ended()
        keeper_side.write_segment()
        jobs = keeper_side.write_job_json(for_s=5)
        assert jobs[-1].id == after and ledger.redis.xlen(keys.JOURNAL) == 0
        assert ledger.redis.get(keys.WRITTEN) == ledger.redis.get(keys.SEGMENTED)
        assert json.loads(self.unreadable(storage)[f"{sid}.json"])["id"] == job_id
        assert keeper_side.skipped.count == 1
        written = Archive(ledger, storage).get("acme", job_id)
        if left_out:
            assert left_out in written.message and written.status == "succeeded"
        else:
            assert written == whole

    @pytest.mark.parametrize(("error", "tries"), [(ObjectRefused, 1), (StorageUnavailable, journal.UNANSWERED_ROUNDS)])
    def test_one_whose_job_json_alone_cannot_be_put_is_set_aside(
        self, storage, keeper_side, ended, monkeypatch, error, tries
    ):
        """At once where the bucket refuses it, after some rounds where the bucket does not answer."""
        refused, after, takes = ended(), ended(), storage.put_bytes

        def put(key, *rest):
            if refused in key:
                raise error("the bucket does not take it")
            takes(key, *rest)

        keeper_side.write_segment()
        monkeypatch.setattr(storage, "put_bytes", put)
        for _ in range(tries - 1):
            with pytest.raises(StorageUnavailable):
                keeper_side.write_job_json(for_s=5)
        assert [job.id for job in keeper_side.write_job_json(for_s=5)] == [after]
        assert len(self.unreadable(storage)) == 1

    def test_each_of_several_that_cannot_be_put_is_set_aside(self, storage, keeper_side, ended, monkeypatch):
        """One after the other: each has its own rounds. The rest of their batch is written."""
        jobs, takes = [ended() for _ in range(30)], storage.put_bytes

        def put(key, *rest):
            if jobs[3] in key or jobs[20] in key:
                raise StorageUnavailable("the bucket did not answer")
            takes(key, *rest)

        keeper_side.write_segment()
        monkeypatch.setattr(storage, "put_bytes", put)
        for _ in range(2 * (journal.UNANSWERED_ROUNDS - 1)):
            with pytest.raises(StorageUnavailable):
                keeper_side.write_job_json(for_s=5)
        written = {job.id for job in keeper_side.write_job_json(for_s=5)}
        assert written == set(jobs) - {jobs[3], jobs[20]} and len(self.unreadable(storage)) == 2

    @pytest.mark.parametrize("error", [ObjectRefused, StorageUnavailable])
    def test_where_the_bucket_takes_nothing_nothing_is_set_aside(
        self, ledger, storage, keeper_side, ended, monkeypatch, error
    ):
        """Its rights are wrong, or it is away; however long, the entries wait."""

        def put(*_):
            raise error("the bucket does not take it")

        job_id = ended()
        keeper_side.write_segment()
        monkeypatch.setattr(storage, "put_bytes", put)
        for _ in range(journal.UNANSWERED_ROUNDS + 2):
            with pytest.raises(StorageUnavailable):
                keeper_side.write_job_json(for_s=5)
        monkeypatch.undo()
        assert [job.id for job in keeper_side.write_job_json(for_s=5)] == [job_id]
        assert not self.unreadable(storage)

    def test_other_objects_beside_the_segments_are_left_alone_and_told_of(self, ledger, storage, keeper_side, fixed):
        for name in ("notes.jsonl", "x", "1-2.jsonl", "a-b-c-d.jsonl", "unreadable/1-1.json", "written.json"):
            storage.put_bytes(segments.FOLDER + name, b"remember the milk", "text/plain")
        ledger.submit(fixed())
        keeper_side.write_segment()
        skipped = Skipped("segments")
        assert len(segments.names(storage, skipped)) == 1 and skipped.count == 4
        assert segments.written(storage) == (0, 0)

    def test_lines_that_cannot_be_read_are_passed_over(self, storage, ledger, fixed, keeper_side):
        ledger.submit(fixed())
        keeper_side.write_segment()
        (name,) = segments.names(storage)
        whole = storage.get_bytes(name)
        odd = [
            b"\xff",
            b"[]",
            b"{}",
            b"null",
            b'{"type": []}',
            b"[" * 100_000,
            whole.replace(b'"created_ms"', b'"x"'),
            whole.replace(b'"sid": "', b'"sid": "x'),
            whole[:-9],
        ]
        storage.put_bytes(name, b"\n".join([odd[0], b"", whole, *odd[1:]]), "application/jsonl")
        (entry,) = segments.read(storage, name)
        assert entry == json.loads(whole)
        assert [line for line, read in segments.lines(storage, name) if read is None] == odd

    def test_a_cursor_that_is_none_begins_anew(self, ledger, storage, keeper_side, ended):
        """To write a thing twice does no harm."""
        ended()
        ledger.redis.mset({keys.SEGMENTED: "garbage", keys.WRITTEN: "garbage"})
        assert keeper_side.write_segment() == 2
        assert len(keeper_side.write_job_json(for_s=5)) == 1


def test_a_segment_is_bounded_by_bytes_and_by_count(ledger, storage, fixed, keeper_side, monkeypatch):
    """None has more than one entry beyond the bound, and all come in one round."""
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 50_000)
    monkeypatch.setattr(journal, "SEGMENT_ENTRIES", 40)
    for _ in range(10):
        ledger.submit(fixed(input={"prompt": "x" * 20_000}))
    for _ in range(45):
        ledger.submit(fixed())
    keeper_side.write_segments()
    sizes = [(len(segments.read(storage, name)), len(storage.get_bytes(name))) for name in segments.names(storage)]
    assert sum(count for count, _ in sizes) == 55 and len(all_entries(storage)) == 55
    assert [count for count, _ in sizes[:3]] == [3, 3, 3]
    assert all(size < 50_000 + 21_000 and count <= 40 for count, size in sizes)
    assert keeper_side.write_segments() == 0


def test_one_erased_while_its_job_json_is_written_is_trashed_again(
    ledger, storage, worker, fixed, keeper_side, monkeypatch
):
    """Its job.json may come after its tombstone."""
    first, second = fixed(), fixed()
    for number, job in enumerate((first, second)):
        ledger.submit(job)
        end(ledger, worker, f"{number}")
    keeper_side.write_segment()
    put_many, trash = storage.put_many, Trash(ledger, storage)

    def erase_and_put(objects):
        ledger.forget(first)
        trash.empty(Skipped("trash"))
        return put_many(objects)

    monkeypatch.setattr(storage, "put_many", erase_and_put)
    assert len(keeper_side.write_job_json(for_s=5)) == 2
    trash.empty(Skipped("trash"))
    assert b"erased_at" in storage.get_bytes(job_json_key("acme", first.id))
    assert b'"succeeded"' in storage.get_bytes(job_json_key("acme", second.id))


@pytest.mark.parametrize(("least", "rounds"), [(4, [2, 2, 1, 0]), (2, [1, 1, 1, 1])])
def test_a_round_without_cpu_left_writes_one_small_batch(
    ledger, storage, worker, fixed, keeper_side, monkeypatch, least, rounds
):
    """Of an accepted job and its end, two entries, each."""
    monkeypatch.setattr(journal, "LEAST_ENTRIES", least)
    for number in range(5):
        ledger.submit(fixed())
        end(ledger, worker, f"{number}")
    keeper_side.write_segments()
    assert [len(keeper_side.write_job_json(for_s=60, cpu_s=0)) for _ in rounds] == rounds
    assert len(keeper_side.write_job_json(for_s=60)) == 5 - sum(rounds)
