"""The bucket is away while a job uploads or fetches: it waits, says so, and the model does not run again."""

import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tasks.broker import Broker
from tasks.bucket.layout import upload_key
from tasks.errors import StorageUnavailable
from tasks.job import Fixed, Status, Upload
from tasks.ledger import Claimed, Ledger
from tests.conftest import make_fixed
from tests.stack import RedisServer, S3Server, Stack, make_settings, make_storage, until
from tests.worker.conftest import MODELS, House
from tests.worker.relay import Relay
from worker.attempt import Attempt
from worker.patience import patiently


@dataclass
class Away:
    """A worker whose bucket can be away; `house.storage` goes past the relay."""

    house: House
    relay: Relay

    def runs(self, job_id: str) -> int:
        """How often the model ran."""
        mark = self.house.marks[job_id]
        return len(mark.read_text().splitlines()) if mark.exists() else 0

    def submit(self, kib: int = 1, model: str = "gpu-late", **limits) -> str:
        """A job of a model that counts its runs and writes so many KiB."""
        mark = self.house.stack.folder / uuid.uuid4().hex
        job_id = self.house.submit(model, f"0 {kib} {mark}", **limits)
        self.house.marks[job_id] = mark
        return job_id

    def waits(self, job_id: str, what: str) -> None:
        until(lambda: what in (self.house.job(job_id).message or ""), 20, f"{job_id} says that it waits")


@pytest.fixture(scope="module")
def away(redis_server: RedisServer, s3_server: S3Server, tmp_path_factory) -> Iterator[Away]:
    folder = tmp_path_factory.mktemp("away")
    settings = make_settings(
        redis_server.for_a_stack(),
        s3_server,
        f"away-{uuid.uuid4().hex[:12]}",
        folder,
        models=MODELS,
        gpu_slots=3,
        grace_s=2,
        retry_s=0.2,
    )
    storage = make_storage(settings)
    with Relay(s3_server.port) as before:
        stack = Stack(settings.model_copy(update={"s3_endpoint_url": before.url}), folder)
        with Stack(settings, folder).keeper(), stack.worker("gpu") as gpu:
            yield Away(House(stack, Ledger(settings), Broker(settings), storage, {"gpu": gpu}), before)


@pytest.fixture(autouse=True)
def _back(away) -> Iterator[None]:
    yield
    away.relay.away, away.relay.drop = False, 0


def test_a_bucket_that_is_away_is_waited_for_and_the_model_runs_once(away):
    """The job says what it waits for while it does, and not after; one attempt, one run."""
    away.relay.away = True
    job_id = away.submit()
    away.waits(job_id, "waiting for the bucket to take the outputs: the bucket did not answer PutObject")
    assert away.house.job(job_id).phase == "uploading"
    away.relay.away = False
    job = away.house.ended(job_id)
    assert (job.status, len(job.attempts), away.runs(job_id)) == (Status.SUCCEEDED, 1, 1), job.error
    assert job.message is None


def test_connections_dropped_in_the_middle_of_a_body_cost_no_run(away):
    """More of them than boto3 itself tries again; the object is whole in the end."""
    away.relay.drop = 6
    job = away.house.ended(away.submit(kib=1024))
    assert away.relay.drop == 0, "all were dropped"
    assert (job.status, len(job.attempts), away.runs(job.id)) == (Status.SUCCEEDED, 1, 1), job.error
    (kept,) = json.loads(away.house.ledger.record(job.id)["outputs"])
    assert len(away.house.storage.get_bytes(kept["key"])) == 1024 << 10


def test_a_cancel_is_heard_while_the_bucket_is_waited_for(away):
    away.relay.away = True
    job_id = away.submit()
    away.waits(job_id, "take the outputs")
    away.house.ledger.cancel("acme", job_id)
    assert away.house.ended(job_id).status == Status.CANCELED


def test_a_bucket_that_is_away_costs_nothing_of_the_run_timeout(away):
    """The model's turn was over in time; uploading has a limit of its own."""
    away.relay.away = True
    job_id = away.submit(run_timeout_s=1)
    away.waits(job_id, "take the outputs")
    threading.Event().wait(3)  # three looks of the worker's parent, which would stop it
    away.relay.away = False
    job = away.house.ended(job_id)
    assert (job.status, len(job.attempts), away.runs(job_id)) == (Status.SUCCEEDED, 1, 1), job.error


def test_a_limit_of_uploading_that_ends_while_the_bucket_is_away_is_no_fault_of_the_job(away):
    """What is said is the truth, and the job may be tried again."""
    away.relay.away = True
    job_id = away.submit(model="gpu-late-hasty", max_attempts=2)
    until(lambda: len(away.house.job(job_id).attempts) == 2, 30, "the second attempt")
    away.relay.away = False
    job = away.house.ended(job_id)
    assert (job.attempts[0].error.code, job.attempts[0].error.retryable) == ("storage_unavailable", True)
    assert "upload_timeout_s = 2 s" in job.attempts[0].error.detail
    assert job.status == Status.SUCCEEDED, job.error


def with_an_input_in_the_bucket(away: Away, model: str) -> Fixed:
    """A job, not submitted, whose prompt is the upload "1"."""
    upload, name = "upload_" + "1" * 26, "prompt.txt"
    key = upload_key("acme", upload, name)
    away.house.storage.put_bytes(key, b"1", "text/plain")
    seen = away.house.storage.head(key)
    return make_fixed(
        pool="gpu",
        model=model,
        input={"prompt": {"url": f"upload:{upload}"}},
        uploads={upload: Upload(key=key, bytes=seen.bytes, etag=seen.etag)},
    )


def test_one_computes_while_the_next_is_fetched_and_the_one_before_is_uploaded(away):
    """Threads of one process: an upload or a fetch that lasts does not hold up the model, nor does the model them."""
    fixed = with_an_input_in_the_bucket(away, "gpu-rows")
    away.relay.away = True
    before = away.submit()
    away.waits(before, "take the outputs")
    computing = away.house.submit("gpu-rows", "1000000")
    away.house.started(computing)
    away.house.ledger.submit(fixed)
    away.house.broker.ring(fixed.queue)
    away.waits(fixed.id, "give the input prompt")
    phases = [away.house.job(job_id).phase for job_id in (before, computing, fixed.id)]
    assert phases == ["uploading", "running", "fetching"]
    away.relay.away = False
    assert away.house.ended(before).status == Status.SUCCEEDED
    until(lambda: away.house.job(fixed.id).phase == "batching", 20, "the next waits for its turn")
    assert away.house.job(computing).status == "running"
    away.house.ledger.cancel("acme", computing)
    assert away.house.ended(computing).status == Status.CANCELED
    assert away.house.ended(fixed.id).status == Status.SUCCEEDED


def test_an_input_in_the_bucket_is_waited_for(away):
    """An upload that cannot be read for a moment costs no attempt."""
    fixed = with_an_input_in_the_bucket(away, "gpu-noop")
    away.relay.away = True
    away.house.ledger.submit(fixed)
    away.house.broker.ring(fixed.queue)
    away.waits(fixed.id, "waiting for the bucket to give the input prompt")
    away.relay.away = False
    job = away.house.ended(fixed.id)
    assert (job.status, len(job.attempts)) == (Status.SUCCEEDED, 1), job.error


# -- by hand


def attempt_of(fixed: Fixed, ledger: Ledger) -> Attempt:
    return Attempt(Claimed(fixed, "a" * 32, 1, {}))


def test_a_bucket_that_stays_away_fails_the_attempt_once_its_time_is_over(ledger, fixed):
    """And says why; what it asked was asked more than once."""
    asked = []

    def ask():
        asked.append(1)
        raise StorageUnavailable("the bucket did not answer")

    with pytest.raises(StorageUnavailable, match="did not answer"):
        patiently(attempt_of(fixed(), ledger), "take the outputs", 1.0, ledger, ask)
    assert len(asked) > 1


def test_what_is_no_fault_of_the_bucket_is_not_asked_again(ledger, fixed):
    asked = []

    def ask():
        asked.append(1)
        raise ValueError("no such file")

    with pytest.raises(ValueError):
        patiently(attempt_of(fixed(), ledger), "take the outputs", 1.0, ledger, ask)
    assert asked == [1]
