"""Checkpoints: written now and then, read by the next attempt, gone with the job; a killed process costs little."""

import ctypes
import uuid

import pytest

from tasks.bucket.layout import checkpoint_key
from tasks.errors import StorageUnavailable
from tasks.ledger import keys
from tests.conftest import fenced
from tests.stack import free_port
from worker import checkpoints
from worker.attempt import Attempt
from worker.checkpoints import Checkpoints


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
    assert [
        kept.storage.get_bytes(checkpoint_key("acme", first.fixed.id, each.claimed.number, each.claimed.token))
        for each in (first, second)
    ] == [b"three", b"four"]


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
    written, put = [], storage.put_bytes
    monkeypatch.setattr(storage, "put_bytes", lambda *args: (put(*args), written.append(args[1])))
    save, _ = Checkpoints(storage, ledger).of(attempt)
    for number in range(20):  # nothing but `save` lets go of the GIL; the first find the thread not begun, or not late
        ctypes.PyDLL(None).usleep(1_000_000)
        save(b"%d" % number)
        if written:
            break
    assert written and int(written[-1]) in (number - 1, number)


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
    ledger.submit(job, restoring=fenced(ledger))
    ledger.cancel("acme", job.id)
    assert ledger.redis.zrange(keys.TRASH, 0, -1) == [f"tenants/acme/jobs/{job.id}/checkpoints/"]
