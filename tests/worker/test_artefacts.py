"""What jobs make once and use again: a real bucket, a real Redis, and several makers at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tasks.bucket.layout import ARTEFACTS, artefact_key
from tasks.errors import Canceled, StorageUnavailable
from tasks.ledger import connect, keys
from worker.artefacts import Artefacts
from worker.keeper.keeper import Keeper


@pytest.fixture
def artefacts(settings, storage) -> Artefacts:
    return Artefacts(storage, connect(settings, read_timeout_s=5))


class Maker:
    """Writes a file and counts how often it was asked to."""

    def __init__(self, text: str = "fitted") -> None:
        self.text, self.times = text, 0

    def __call__(self, folder: Path) -> None:
        self.times += 1
        (folder / "model.txt").write_text(self.text)


def test_what_one_job_made_the_next_uses(artefacts, fixed, tmp_path):
    """The second job's maker is not asked, though it runs in another process with a folder of its own."""
    first, second = Maker(), Maker("another")
    artefacts.of(fixed(), tmp_path, lambda: False)("svd-1f", first)
    folder = artefacts.of(fixed(), tmp_path, lambda: False)("svd-1f", second)
    assert (first.times, second.times) == (1, 0)
    assert (folder / "model.txt").read_text() == "fitted"


def test_ten_at_once_make_it_once(settings, storage, fixed, tmp_path):
    """Each has a client of its own, as ten processes would; nine wait for the one."""
    maker, start = Maker(), threading.Barrier(10)

    def job(_) -> str:
        mine = Artefacts(storage, connect(settings, read_timeout_s=5)).of(fixed(), tmp_path, lambda: False)
        start.wait()
        return (mine("svd-1f", maker) / "model.txt").read_text()

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(job, range(10))) == ["fitted"] * 10
    assert maker.times == 1


def test_tenants_and_kinds_share_nothing(artefacts, fixed, tmp_path):
    """The same name of another tenant, or of another kind, is another thing."""
    maker = Maker()
    for job in (fixed(tenant="acme"), fixed(tenant="rival"), fixed(tenant="acme", kind="recommend")):
        artefacts.of(job, tmp_path, lambda: False)("svd-1f", maker)
    assert maker.times == 3


def test_a_maker_that_died_is_followed_by_another(artefacts, fixed, tmp_path):
    """Its lock lapses, and who waited makes it."""
    job, maker = fixed(), Maker()
    artefacts.redis.set(keys.making(job.tenant, job.kind, "svd-1f"), "the dead", px=400)
    artefacts.of(job, tmp_path, lambda: False)("svd-1f", maker)
    assert maker.times == 1


def test_a_maker_that_fails_leaves_nothing(artefacts, fixed, tmp_path):
    """Its error is its own job's; the next job tries again at once."""
    artefact = artefacts.of(fixed(), tmp_path, lambda: False)

    def fails(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        artefact("svd-1f", fails)
    assert [path.name for path in artefact("svd-1f", Maker()).iterdir()] == ["model.txt"]


def test_one_that_cannot_be_read_is_made_anew(artefacts, storage, fixed, tmp_path):
    """And then lies there whole."""
    job, maker = fixed(), Maker()
    storage.put_bytes(artefact_key(job.tenant, job.kind, "svd-1f"), b"no tar at all", "application/x-tar")
    for _ in range(2):
        artefacts.of(job, tmp_path, lambda: False)("svd-1f", maker)
    assert maker.times == 1


def test_who_waits_can_be_canceled(artefacts, fixed, tmp_path):
    """Waiting for another's work is no reason to be deaf."""
    job = fixed()
    artefacts.redis.set(keys.making(job.tenant, job.kind, "svd-1f"), "another", px=60_000)
    with pytest.raises(Canceled):
        artefacts.of(job, tmp_path, lambda: True)("svd-1f", Maker())


def test_a_bucket_that_takes_nothing_costs_the_next_job_time_and_this_one_nothing(
    artefacts, fixed, tmp_path, monkeypatch
):
    """The job goes on with what it made."""

    def refuses(*_):
        raise StorageUnavailable("the bucket did not answer PutObject")

    monkeypatch.setattr(artefacts.storage, "put_file", refuses)
    folder = artefacts.of(fixed(), tmp_path, lambda: False)("svd-1f", Maker())
    assert (folder / "model.txt").read_text() == "fitted"


def test_a_name_that_could_be_a_path_is_refused(artefacts, fixed, tmp_path):
    """Names become keys."""
    with pytest.raises(ValueError, match="no name of an artefact"):
        artefacts.of(fixed(), tmp_path, lambda: False)("../svd", Maker())


def test_the_keeper_deletes_old_ones(artefacts, storage, settings, fixed, tmp_path, monkeypatch):
    """A retention after it was made; a younger one stays."""
    artefacts.of(fixed(), tmp_path, lambda: False)("svd-1f", Maker())
    keeper = Keeper(settings)
    keeper.duties["artefacts"].work()
    assert len(list(storage.list(ARTEFACTS))) == 1

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(seconds=settings.retention_s + 60)

    monkeypatch.setattr("worker.keeper.artefacts.datetime", Later)
    keeper.duties["artefacts"].work()
    assert list(storage.list(ARTEFACTS)) == []
