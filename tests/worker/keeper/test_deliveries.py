"""Deliveries into a tenant's own bucket: whole, last the job; through a bucket that refuses, is silent or is not there,
and through a Redis that lost its memory."""

import hashlib
import json
import socket
import time

import pytest

from tasks.bucket.layout import attempt_prefix
from tasks.bucket.storage import Patience, Storage
from tasks.delivery import OutputRequest
from tasks.service.jobs import Jobs
from tests.stack import until
from tests.worker.keeper.test_webhooks import flushed_and_restored, written
from worker.keeper import deliveries
from worker.keeper.deliveries import Deliveries
from worker.keeper.skipped import Skipped

ENDS_S = 20


class Desk:
    """A keeper's sender, a bucket of the tenant's own, and jobs that are ended by hand."""

    def __init__(self, settings, ledger, storage, worker) -> None:
        self.ledger, self.storage, self.worker = ledger, storage, worker
        self.bucket = settings.s3_bucket.replace("test", "theirs")
        allowed = {"s3_outputs": {"acme": [f"{self.bucket}/", "silent-bucket/"], "rival": [f"{self.bucket}/rival/"]}}
        self.settings = settings.model_copy(update=allowed)
        self.theirs = Storage(settings.model_copy(update={"s3_bucket": self.bucket}))
        self.jobs = Jobs.of(self.settings)
        self.sender, self.skipped = Deliveries(Jobs.of(self.settings), "k1", retry_s=0.01), Skipped("deliveries")

    def ended(self, fixed, data: bytes = b"the end", bucket: str = "", prefix: str = "out/", tenant: str = "acme"):
        job = fixed(output=OutputRequest(url=f"s3://{bucket or self.bucket}/{prefix}"), tenant=tenant)
        self.ledger.submit(job)
        claimed = self.ledger.claim(self.worker, f"w1:{job.id}", f"{time.time_ns():032d}")
        key = attempt_prefix(tenant, job.id, 1, claimed.token) + "text.txt"
        self.storage.put_bytes(key, data, "text/plain")
        output = {"name": "text.txt", "media_type": "text/plain", "bytes": len(data), "key": key}
        output["sha256"] = hashlib.sha256(data).hexdigest()
        self.ledger.commit(job.id, claimed.token, {"text": "the end"}, [output], {}, len(data))
        return job

    def round(self) -> None:
        self.sender.round(self.skipped)
        assert self.sender.wait(ENDS_S)

    def delivery(self, job):
        return self.jobs.get(job.tenant, job.id).delivery

    def until(self, job, status: str):
        def stands() -> bool:
            self.round()
            return self.delivery(job).status == status

        until(stands, ENDS_S, f"the delivery is {status}")
        return self.delivery(job)

    def there(self, prefix: str = "") -> dict[str, bytes]:
        return {seen.key: self.theirs.get_bytes(seen.key) for seen in self.theirs.list(prefix)}


@pytest.fixture
def desk(settings, ledger, storage, worker):
    made = Desk(settings, ledger, storage, worker)
    made.theirs.create_bucket()
    yield made
    assert made.sender.wait(ENDS_S)


def test_the_outputs_and_the_job_are_copied(desk, fixed):
    job = desk.ended(fixed)
    assert desk.delivery(job).status == "pending" and desk.delivery(job).next_try_at
    desk.round()
    found = desk.there()
    assert set(found) == {f"out/{job.id}/text.txt", f"out/{job.id}/job.json"}
    assert found[f"out/{job.id}/text.txt"] == b"the end"
    kept = json.loads(found[f"out/{job.id}/job.json"])
    assert (kept["id"], kept["status"], kept["result"]["text"]) == (job.id, "succeeded", "the end")
    delivery = desk.delivery(job)
    assert (delivery.status, delivery.attempts, delivery.last_try.detail) == ("delivered", 1, "2 files copied")
    assert desk.jobs.output_key("acme", job.id, "text.txt").startswith("tenants/acme/")


def test_a_large_output_goes_in_parts(desk, fixed):
    data = bytes(range(256)) * (17 * 4096)
    job = desk.ended(fixed, data)
    desk.round()
    assert desk.there()[f"out/{job.id}/text.txt"] == data


def test_a_bucket_that_is_not_there_is_tried_again(desk, fixed):
    job = desk.ended(fixed)
    desk.theirs._client().delete_bucket(Bucket=desk.bucket)
    desk.round()
    delivery = desk.delivery(job)
    assert delivery.status == "pending" and delivery.last_try.detail == "your bucket refused PutObject (NoSuchBucket)"
    desk.theirs.create_bucket()
    assert desk.until(job, "delivered").attempts >= 2


def test_a_folder_that_the_operator_no_longer_allows_gets_nothing(desk, fixed):
    """Neither one of another tenant's, nor our own bucket, whatever a submit was let through with."""
    shut = [desk.ended(fixed, tenant="rival"), desk.ended(fixed, bucket=desk.settings.s3_bucket)]
    desk.round()
    details = [desk.delivery(job).last_try.detail for job in shut]
    assert "BACKLOT_S3_OUTPUTS" in details[0] and "own bucket" in details[1]
    assert not desk.there() and not list(desk.storage.list("out/"))


def test_a_silent_bucket_holds_up_nobody(desk, fixed, monkeypatch):
    """Its try ends by the patience; meanwhile others are copied, of the same tenant and of another."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"

        def of(settings, patience):
            mute = {"s3_endpoint_url": endpoint} if settings.s3_bucket == "silent-bucket" else {}
            return Storage(settings.model_copy(update=mute), Patience(connect_s=1, read_s=1, attempts=1))

        monkeypatch.setattr(deliveries, "Storage", of)
        stuck = [desk.ended(fixed, bucket="silent-bucket") for _ in range(4)]
        others = [desk.ended(fixed), desk.ended(fixed, prefix="rival/", tenant="rival")]
        desk.sender.round(desk.skipped)
        until(lambda: all(desk.delivery(job).status == "delivered" for job in others), ENDS_S, "the others are copied")
        assert desk.sender._busy["acme", "silent-bucket"] == Deliveries.room.of_line
        assert desk.sender.wait(ENDS_S)
        assert desk.delivery(stuck[0]).last_try.detail.startswith("your bucket did not answer PutObject")
        desk.sender.round(desk.skipped)
        assert desk.sender._busy["acme", "silent-bucket"] == 1
        assert desk.sender.wait(ENDS_S)


def test_an_erased_job_fails_its_delivery(desk, fixed):
    job = desk.ended(fixed)
    desk.jobs.delete("acme", job.id)
    desk.round()
    assert desk.ledger.owed_state("delivery", "acme", job.id)["status"] == "failed" and not desk.there()


def test_an_output_that_is_damaged_is_never_delivered(desk, fixed):
    """Its SHA-256 is not the record's: the folder has no job.json."""
    job = desk.ended(fixed)
    desk.storage.put_bytes(desk.jobs.output_key("acme", job.id, "text.txt"), b"another", "text/plain")
    desk.round()
    assert desk.delivery(job).last_try.detail == "the output text.txt did not arrive whole"
    assert f"out/{job.id}/job.json" not in desk.there()


def test_what_a_killed_keeper_took_is_copied_by_another(desk, fixed):
    job = desk.ended(fixed)
    assert desk.ledger.take_owed("delivery", "killed", "t", [(("acme", desk.bucket), 4)], 0.3)
    desk.round()
    assert not desk.there()
    assert desk.until(job, "delivered").attempts == 1


def test_through_a_flush_what_was_not_told_is_copied(desk, fixed):
    """Redis loses all while the bucket is away; the compacted journal still has the end. What was told before is not
    copied again."""
    told = desk.ended(fixed, prefix="told/")
    desk.round()
    desk.theirs.delete_prefix("told/")
    waiting = desk.ended(fixed)
    written(desk)
    assert flushed_and_restored(desk)["deliveries"] == 1
    desk.until(waiting, "delivered")
    assert {key.split("/")[0] for key in desk.there()} == {"out"} and desk.delivery(told).status is None
    assert desk.jobs.replay("delivery", "acme", waiting.id).delivery.status == "pending"
