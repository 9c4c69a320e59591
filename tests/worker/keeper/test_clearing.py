"""What is past its time goes, and entries of another shape stay: only what is surely a job's or an upload's goes."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from tasks.bucket.layout import ARTEFACTS, artefact_key, job_json_key
from tasks.bucket.storage import NotSupported, Object, ObjectRefused, Unfinished
from tasks.errors import StorageUnavailable
from tasks.ids import new_id
from tasks.ledger import keys
from tasks.service.archive import Damaged
from tasks.service.jobs import Jobs
from tests.documents import blocks
from tests.stack import ROOT
from worker.keeper import debris
from worker.keeper.debris import Debris
from worker.keeper.keeper import Keeper
from worker.keeper.reconcile import Reconciler
from worker.keeper.skipped import Skipped

NOW = datetime.now(UTC)
UPLOAD = "upload_" + "a" * 26


def fails():
    raise ObjectRefused("the bucket refused AbortMultipartUpload (AccessDenied)")


@pytest.fixture
def keeper(settings, storage) -> Keeper:
    return Keeper(settings)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "/",
        "tenants/",
        "tenants/acme/",
        "tenants/acme/jobs/",
        "tenants/acme/uploads//",
        "tenants/acme/models/x/",
        "journal/",
        "artefacts/",
        "tenants/acme/jobs/job_1",
        "tenants/acme/jobs/job_1/2-a/b/",
    ],
)
def test_trash_of_another_shape_deletes_nothing(ledger, storage, keeper, prefix):
    """'tenants/' would be everything that everybody has."""
    kept = ["tenants/acme/jobs/job_1/1-a/a.txt", "journal/1-1-2-2.jsonl", "artefacts/acme/recommend/x.tar"]
    for key in kept:
        storage.put_bytes(key, b"x", "text/plain")
    ledger.redis.zadd(keys.TRASH, {prefix: 1, "tenants/acme/jobs/job_2/": 2})
    keeper.duties["trash"].work()
    assert all(storage.head(key) for key in kept)
    assert ledger.redis.zrange(keys.TRASH, 0, -1) == [prefix], "put off, not lost; the other is done"
    assert keeper.duties["trash"].skipped.count == 1


def test_artefacts_go_by_their_own_keys(ledger, storage, keeper, monkeypatch):
    """A folder marker, deleted as a prefix, would take all with it; what is none of ours stays."""
    storage.put_bytes(artefact_key("acme", "recommend", "young"), b"x", "application/x-tar")
    old = [
        Object(key, 0, "e", NOW - timedelta(days=400))
        for key in (ARTEFACTS, f"{ARTEFACTS}acme/", f"{ARTEFACTS}notes", artefact_key("acme", "recommend", "you"))
    ]
    monkeypatch.setattr(keeper.storage, "list", lambda prefix: old)
    keeper.duties["artefacts"].work()
    assert storage.head(artefact_key("acme", "recommend", "young"))
    assert keeper.duties["artefacts"].skipped.count == 3


class TestReconciling:
    """The look through the bucket meets whatever lies there."""

    @pytest.mark.parametrize(
        "key",
        [
            "tenants/",
            "tenants/notes",
            "tenants/acme/",
            "tenants/acme/jobs/",
            "tenants/acme/notes/a/b",
            "tenants//jobs/a",
            "tenants/acme/jobs/notes.txt",
            "tenants/acme/uploads/notes.txt",
            "tenants/acme/uploads/notes/a.txt",
        ],
    )
    def test_what_is_neither_a_jobs_nor_an_uploads_is_passed_over(self, ledger, storage, monkeypatch, key):
        upload = f"tenants/zoo/uploads/{UPLOAD}/a.wav"
        storage.put_bytes(upload, b"xyz", "audio/wav")
        listed = [Object(key, 5, "e", NOW), Object(upload, 3, "e", NOW)]
        monkeypatch.setattr(storage, "list", lambda prefix: iter(listed))
        reconciler = Reconciler(ledger, storage, Skipped("reconcile"))
        reconciler.reconcile()
        assert ledger.redis.exists(keys.STOCK_TAKEN) and reconciler.skipped.count == 1
        assert ledger.redis.hgetall(keys.STORED) == {"zoo": "3"}
        assert ledger.redis.zrange(keys.UPLOADS, 0, -1) == [f"zoo/{UPLOAD}"]
        assert not ledger.redis.exists(keys.TRASH)

    @pytest.mark.parametrize(
        "text",
        [
            b"remember the milk",
            b"[]",
            b"{}",
            b"\xff",
            b'{"outputs": 1}',
            b"null",
            b"",
            b'{"outputs": [], "retained_until": "soon"}',
            b'{"outputs": [{}], "retained_until": null}',
        ],
    )
    def test_a_job_json_that_cannot_be_read_is_left_alone(self, settings, ledger, storage, text):
        """A caller is told that it is damaged, and may erase it."""
        job_id = new_id("job")
        for name in ("job.json", "1-aaaaaaaa/a.txt", "2-bbbbbbbb/a.txt"):
            storage.put_bytes(f"tenants/acme/jobs/{job_id}/{name}", text, "application/json")
        reconciler = Reconciler(ledger, storage)
        reconciler.reconcile()
        assert ledger.redis.exists(keys.STOCK_TAKEN) and reconciler.skipped.count == 1
        assert not ledger.redis.exists(keys.TRASH) and not ledger.redis.exists(keys.ARCHIVED)
        jobs = Jobs.of(settings)
        with pytest.raises(Damaged, match="cannot be read"):
            jobs.get("acme", job_id)
        jobs.delete("acme", job_id)
        assert ledger.redis.zscore(keys.TRASH, f"tenants/acme/jobs/{job_id}/")

    def test_a_damaged_record_loses_no_folder(self, ledger, storage, fixed, worker):
        """Its outputs, starts or status cannot be read: nobody knows which folder is the committed one."""
        for damage in ({"outputs": "["}, {"starts": "two"}, {"outputs": '[{"key": 1}]'}):
            ledger.submit(job := fixed())
            claimed = ledger.claim(worker, "w1:1:1:1", new_id("t"))
            storage.put_bytes(f"tenants/acme/jobs/{job.id}/1-{claimed.token[-8:]}/a.txt", b"x", "text/plain")
            ledger.commit(job.id, claimed.token, {}, [], {})
            ledger.redis.hset(keys.job(job.id), mapping=damage)
        ledger.redis.delete(keys.TRASH)
        Reconciler(ledger, storage).reconcile()
        assert not ledger.redis.exists(keys.TRASH)


def test_a_damaged_record_is_forgotten_in_its_time(ledger, storage, keeper, fixed):
    """Its uploads too, where it still says which; one that does not say whose it is stays, and stops no other."""
    upload = {UPLOAD: {"key": "k", "bytes": 1, "etag": "e"}}
    jobs = [fixed(uploads=upload) for _ in range(4)]
    for job in jobs:
        ledger.submit(job)
        ledger.cancel("acme", job.id)
    damaged, text, nobodys, whole = (job.id for job in jobs)
    ledger.redis.hset(keys.job(damaged), "fixed", jobs[0].model_dump_json().replace('"cpu"', '"The Moon"'))
    ledger.redis.hset(keys.job(text), "fixed", "remember the milk")
    ledger.redis.hset(keys.job(nobodys), "fixed", "remember the milk")
    ledger.redis.hdel(keys.job(nobodys), "tenant")
    ledger.redis.zadd(keys.RETAINED, {nobodys: 1, damaged: 2, text: 3, whole: 4})
    keeper.duties["retention"].work()
    assert [bool(ledger.record(job_id)) for job_id in (damaged, text, nobodys, whole)] == [False, False, True, False]
    assert ledger.redis.zrange(keys.RETAINED, 0, -1) == [nobodys]
    assert ledger.redis.smembers(keys.upload_jobs("acme", UPLOAD)) == {text, nobodys}


def test_records_that_cannot_be_read_keep_no_other_from_shrinking(ledger, storage, keeper, fixed, worker):
    odd, even = (fixed(input={"prompt": "x" * 5000}) for _ in range(2))
    for job in (odd, even):
        ledger.submit(job)
        claimed = ledger.claim(worker, "w1:1:1:1", new_id("t"))
        ledger.commit(job.id, claimed.token, {}, [], {})
        storage.put_bytes(job_json_key("acme", job.id), b"{}", "application/json")
    ledger.redis.hset(keys.job(odd.id), "fixed", "[" * 5000)
    ledger.redis.zadd(keys.WHOLE, {odd.id: 1, even.id: 2})
    keeper.duties["records"].work()
    assert ledger.record(even.id)["shrunk"] == "1" and "shrunk" not in ledger.record(odd.id)
    assert ledger.redis.zscore(keys.WHOLE, odd.id) > 1
    assert keeper.duties["records"].skipped.count == 1


class TestDebris:
    """Parts of uploads that broke off."""

    @pytest.fixture
    def begin(self, storage):
        """begin(key): an upload in parts that nobody finishes."""

        def upload(key: str) -> str:
            client = storage._client()
            begun = client.create_multipart_upload(Bucket=storage.bucket, Key=key)["UploadId"]
            client.upload_part(Bucket=storage.bucket, Key=key, UploadId=begun, PartNumber=1, Body=b"half")
            return begun

        return upload

    def test_those_of_ours_that_are_a_day_old_are_aborted(self, storage, begin, monkeypatch):
        """A younger one may be on its way, and what lies elsewhere in the bucket is somebody else's."""
        begin("tenants/acme/uploads/upload_1/a.wav")
        begin("notes/a.wav")
        skipped = Skipped("debris")
        Debris(storage).abort(skipped)
        assert len(list(storage.unfinished(""))) == 2
        monkeypatch.setattr(debris, "OLD", timedelta(0))
        Debris(storage).abort(skipped)
        assert [one.key for one in storage.unfinished("")] == ["notes/a.wav"]
        assert list(storage.unfinished("tenants/")) == [] and skipped.count == 0

    def test_one_that_the_bucket_does_not_give_up_keeps_no_other(self, storage, begin, monkeypatch):
        begin("tenants/acme/uploads/upload_1/a.wav")
        (real,) = storage.unfinished("tenants/")
        odd, abort = Unfinished("tenants/acme/x", "1", real.begun), storage.abort
        monkeypatch.setattr(debris, "OLD", timedelta(0))
        monkeypatch.setattr(storage, "unfinished", lambda folder: [odd, real] if folder == "tenants/" else [])
        monkeypatch.setattr(storage, "abort", lambda one: fails() if one is odd else abort(one))
        skipped = Skipped("debris")
        Debris(storage).abort(skipped)
        monkeypatch.undo()
        assert list(storage.unfinished("tenants/")) == [] and skipped.count == 1

    def test_a_server_that_cannot_list_them_is_asked_once(self, storage, monkeypatch, caplog):
        asked = []

        class Without:
            exceptions = storage._client().exceptions

            def get_paginator(self, name):
                asked.append(name)
                raise ClientError({"Error": {"Code": "NotImplemented"}}, name)

        monkeypatch.setattr(storage, "_client", Without)
        with pytest.raises(NotSupported):
            list(storage.unfinished("tenants/"))
        duty = Debris(storage)
        for _ in range(3):
            duty.abort(Skipped("debris"))
        assert len(asked) == 2 and caplog.text.count("are not looked for") == 1

    def test_the_documented_rule_is_one_that_s3_knows(self, storage):
        """By the shape that the SDK sends."""
        (rule,) = (block.text for block in blocks(ROOT / "docs" / "operations.md") if block.language == "json")
        wanted = storage._client().meta.service_model.operation_model("PutBucketLifecycleConfiguration").input_shape
        report = ParamValidator().validate({"Bucket": "b", "LifecycleConfiguration": json.loads(rule)}, wanted)
        assert not report.has_errors(), report.generate_report()

    def test_a_bucket_that_is_away_is_an_error(self, storage, monkeypatch):
        """And is asked again."""

        def away(folder):
            raise StorageUnavailable("the bucket did not answer")
            yield

        duty = Debris(storage)
        monkeypatch.setattr(storage, "unfinished", away)
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                duty.abort(Skipped("debris"))


def test_records_that_are_gone_count_no_longer(ledger, keeper, fixed):
    """A keeper of a release that did not count them has forgotten one; the others stay counted."""
    gone, kept, others = fixed(), fixed(), fixed(tenant="rival")
    for job in (gone, kept, others):
        ledger.submit(job)
    ledger.redis.delete(keys.job(gone.id))
    keeper.duties["held"].work()
    assert set(ledger.redis.hgetall(keys.held("acme"))) == {kept.id}
    for tenant in ("acme", "rival"):
        assert int(ledger.redis.hget(keys.HELD, tenant)) == sum(map(int, ledger.redis.hvals(keys.held(tenant))))
