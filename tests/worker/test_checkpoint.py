"""Checkpoints: written now and then, read by the next attempt, gone with the job; a killed process costs little."""

import ctypes
import json
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import tasks
from tasks.broker import Broker
from tasks.errors import StorageUnavailable
from tasks.job import Status, Upload, new_id
from tasks.ledger import Ledger, keys
from tasks.storage import checkpoint_key, upload_key
from tests.conftest import make_fixed
from tests.stack import RedisServer, S3Server, Stack, free_port, make_settings, make_storage, until
from tests.worker.conftest import ENDS_S, House
from worker import checkpoints
from worker.attempt import Attempt
from worker.checkpoints import Checkpoints

DATABASE = 13
SONNET = Path(tasks.__file__).parent / "transcribe" / "samples" / "sonnet1_librivox.opus"  # ten stretches


@pytest.fixture
def kept(ledger, storage, monkeypatch) -> Checkpoints:
    """Written when the test says so."""
    monkeypatch.setattr(Checkpoints, "_rounds", lambda self: None)
    monkeypatch.setattr(checkpoints, "EVERY_S", 0)
    return Checkpoints(storage, ledger)


@pytest.fixture
def begin(ledger, worker, fixed):
    """Starts an attempt: of a new job, or the next of one."""
    tokens = iter(range(1, 100))

    def start(job=None) -> Attempt:
        if job is None:
            ledger.submit(fixed())
        return Attempt(ledger.claim(worker, f"w1:{uuid.uuid4().hex}", f"{next(tokens):032d}"))

    return start


def fail(ledger, attempt: Attempt) -> str:
    return ledger.fail(attempt.fixed.id, attempt.claimed.token, StorageUnavailable("away"))


def test_the_next_attempt_gets_what_the_last_one_saved(kept, begin, ledger):
    """The newest; and its own saves go into an object of its own."""
    first = begin()
    save, saved = kept.of(first)
    assert saved() is None
    for data in (b"one", b"two", b"three"):
        save(data)
    kept.write()
    fail(ledger, first)
    second = begin(first.fixed)
    save, saved = kept.of(second)
    assert saved() == b"three"
    save(b"four")
    kept.write()
    assert [kept.storage.get_bytes(checkpoint_key("acme", first.fixed.id, each.claimed.number, each.claimed.token))
            for each in (first, second)] == [b"three", b"four"]


def test_saves_are_written_every_few_seconds_at_most(kept, begin, monkeypatch):
    """However often an algorithm saves; a job that is over before that writes nothing."""
    monkeypatch.setattr(checkpoints, "EVERY_S", 60)
    attempt = begin()
    save, _ = kept.of(attempt)
    save(b"soon over")
    kept.write()
    assert list(kept.storage.list("tenants/")) == []


def test_an_attempt_that_lost_its_job_notes_nothing(kept, begin, ledger):
    """What the owner saved stays what the next one reads."""
    zombie = begin()
    save_late, _ = kept.of(zombie)
    fail(ledger, zombie)
    owner = begin(zombie.fixed)
    save, _ = kept.of(owner)
    save(b"the owner's")
    kept.write()
    save_late(b"the zombie's")
    kept.write()
    fail(ledger, owner)
    assert kept.of(begin(owner.fixed))[1]() == b"the owner's"


def test_after_its_end_nothing_is_written(kept, begin):
    attempt = begin()
    save, _ = kept.of(attempt)
    kept.forget(attempt)
    save(b"late")
    kept.write()
    assert list(kept.storage.list("tenants/")) == []


def test_a_bucket_that_is_away_costs_the_checkpoint_and_not_the_job(kept, begin, ledger, caplog):
    """Said in the log, both where it is written and where it is read."""
    first = begin()
    save, _ = kept.of(first)
    save(b"one")
    kept.write()
    fail(ledger, first)
    second = begin(first.fixed)
    away = kept.storage.settings.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{free_port()}"})
    kept.storage = type(kept.storage)(away)
    save, saved = kept.of(second)
    assert saved() is None
    save(b"two")
    kept.write()
    assert "work begins anew" in caplog.text and "a checkpoint was not kept" in caplog.text


def test_a_model_that_holds_the_gil_is_saved_all_the_same(storage, ledger, begin, monkeypatch):
    """The thread that writes would get a moment between two calls into C, and a write takes many."""
    monkeypatch.setattr(checkpoints, "EVERY_S", 0)
    attempt = begin()
    save, _ = Checkpoints(storage, ledger).of(attempt)
    for done in (b"one", b"two"):
        ctypes.PyDLL(None).usleep(1_000_000)
        save(done)
    key = ledger.record(attempt.fixed.id)["checkpoint"]
    assert storage.get_bytes(key) == b"two"


# -- a real worker


@pytest.fixture(scope="module")
def shipped(redis_server: RedisServer, s3_server: S3Server, tmp_path_factory) -> Iterator[House]:
    """A cpu worker of one process with the models that ship."""
    folder = tmp_path_factory.mktemp("checkpoint")
    redis_server.client(DATABASE).flushdb()
    settings = make_settings(redis_server.url(DATABASE), s3_server, f"kept-{uuid.uuid4().hex[:12]}", folder)
    storage = make_storage(settings)
    stack = Stack(settings, folder)
    with stack.keeper(), stack.worker("cpu") as cpu:
        yield House(stack, Ledger(settings), Broker(settings), storage, {"cpu": cpu})


def transcribe(house: House, recording: Path) -> str:
    """The id of a job that transcribes an upload."""
    upload = new_id("upload")
    key = upload_key("acme", upload, recording.name)
    house.storage.put_file(key, recording, "audio/opus")
    seen = house.storage.head(key)
    fixed = make_fixed(kind="transcribe", model="hmm", input={"audio": f"upload:{upload}"}, run_timeout_s=3600,
                       uploads={upload: Upload(key=key, bytes=seen.bytes, etag=seen.etag)})
    house.ledger.submit(fixed)
    house.broker.ring(fixed.queue)
    return fixed.id


def test_after_kill_9_the_next_attempt_goes_on_from_the_checkpoint(shipped):
    """A word that is put into the checkpoint, and nowhere else, stands in the transcript."""
    job_id = transcribe(shipped, SONNET)
    until(lambda: shipped.ledger.record(job_id).get("checkpoint", "-") != "-", ENDS_S, "a checkpoint")
    record = shipped.ledger.record(job_id)
    process = int(record["slot"].split(":")[1])
    os.kill(process, signal.SIGSTOP)
    head, first, *rest = shipped.storage.get_bytes(record["checkpoint"]).decode().split("\n")
    start, end, words = json.loads(first)
    marked = json.dumps([start, end, [["kilroy", start, end, 0.5], *words]])
    shipped.storage.put_bytes(record["checkpoint"], "\n".join([head, marked, *rest]).encode(), "text/plain")
    os.kill(process, signal.SIGKILL)
    job = shipped.ended(job_id)
    assert job.status == Status.SUCCEEDED, job.error
    assert [attempt.outcome for attempt in job.attempts] == ["retry", "succeeded"]
    assert job.result["text"].startswith("kilroy ") and len(job.result["text"].split()) > 60
    folder = f"tenants/acme/jobs/{job_id}/checkpoints/"
    assert shipped.ledger.redis.zscore(keys.TRASH, folder), "the checkpoints go, now that the job has ended"


def test_one_written_in_the_moment_the_job_ends_goes_too(kept, begin, ledger, monkeypatch):
    """The ledger hears of a checkpoint before it is written, and is told once more after."""
    attempt = begin()
    save, _ = kept.of(attempt)
    save(b"late")
    put = kept.storage.put_bytes

    def ends_meanwhile(*args) -> None:
        ledger.commit(attempt.fixed.id, attempt.claimed.token, {}, [], {})
        ledger.redis.delete(keys.TRASH)
        put(*args)

    monkeypatch.setattr(kept.storage, "put_bytes", ends_meanwhile)
    kept.write()
    assert ledger.redis.zrange(keys.TRASH, 0, -1) == [f"tenants/acme/jobs/{attempt.fixed.id}/checkpoints/"]


def test_a_restored_job_ends_with_what_an_attempt_from_before_left(ledger, worker, fixed):
    """Nothing is known of it, so its folder is looked at."""
    job = fixed()
    ledger.submit(job, restoring=True)
    ledger.cancel("acme", job.id)
    assert ledger.redis.zrange(keys.TRASH, 0, -1) == [f"tenants/acme/jobs/{job.id}/checkpoints/"]
