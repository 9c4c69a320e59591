"""A restore, and the compacting of segments, beside entries that cannot be read: the others live, none is lost."""

import json

import pytest

from tasks.bucket.storage import ObjectRefused
from tasks.errors import LedgerFault, NotReady, StorageUnavailable
from tasks.ledger import keys
from tasks.service.jobs import Jobs
from worker.keeper import pauses, restore, segments
from worker.keeper.compact import Compactor
from worker.keeper.journal import Journal
from worker.keeper.restore import Restore
from worker.keeper.skipped import Skipped

ODD = b'{"sid": "9-9", "type": "acc'


class House:
    """A keeper done by hand. `segment()` is the newest segment's name and lines."""

    def __init__(self, settings, ledger, storage) -> None:
        self.settings, self.ledger, self.storage = settings, ledger, storage
        self.jobs = Jobs.of(settings)

    def written(self) -> None:
        Journal(self.ledger, self.storage).write_segment()

    def segment(self) -> tuple[str, list[bytes]]:
        name = segments.names(self.storage)[-1]
        return name, self.storage.get_bytes(name).splitlines()

    def change(self, *lines: bytes, **fields: str) -> None:
        """The newest segment: the first entry's fields, and lines behind it."""
        name, (first, *rest) = self.segment()
        changed = json.dumps({**json.loads(first), **fields}).encode()
        self.storage.put_bytes(name, b"\n".join([changed, *lines, *rest]), "application/jsonl")

    def restore(self) -> tuple[dict[str, int], Skipped]:
        skipped = Skipped("epoch")
        self.ledger.redis.flushdb()
        done = Restore(self.settings, self.ledger.redis, self.storage, skipped).run()
        self.ledger.set_epoch()
        return done, skipped

    def set_aside(self) -> list[bytes]:
        return [self.storage.get_bytes(seen.key) for seen in self.storage.list(segments.UNREADABLE)]


@pytest.fixture
def house(settings, ledger, storage) -> House:
    return House(settings, ledger, storage)


@pytest.mark.parametrize(
    "fields",
    [
        {"fixed": "{}"},
        {"fixed": "["},
        {"created_ms": "inf"},
        {"sid": "9" * 15 + "-1", "type": "ended"},
        {"tenant": "acme", "type": "key", "key": "", "fingerprint": ""},
    ],
)
def test_an_entry_that_cannot_be_put_back_is_set_aside(house, fixed, fields):
    """Where it was accepted, or ended, and nothing of it can be read."""
    odd, even = fixed(), fixed()
    house.ledger.submit(odd)
    house.ledger.submit(even)
    house.written()
    house.change(ODD, **{"tenant": "/", "status": "", **fields})
    done, skipped = house.restore()
    assert done["queued"] == 1 and house.jobs.get("acme", even.id).status == "queued"
    assert skipped.count == 2, "the entry, and the segment with a line that was cut off"
    assert any(odd.id.encode() in kept for kept in house.set_aside())


def test_a_script_that_fails_at_one_job_keeps_no_other(house, fixed, monkeypatch):
    """As it does at a key of another type."""
    odd, even = fixed(tenant="odd"), fixed()
    house.ledger.submit(odd)
    house.ledger.submit(even)
    house.written()
    submit = Restore._submit

    def after_somebody_took_its_key(self, accepted):
        house.ledger.redis.set(keys.tenant_jobs("odd"), "of another type")
        submit(self, accepted)

    monkeypatch.setattr(Restore, "_submit", after_somebody_took_its_key)
    done, skipped = house.restore()
    assert done["queued"] == 1 and skipped.count == 1
    assert house.jobs.get("acme", even.id).status == "queued"
    assert odd.id.encode() in house.set_aside()[0]


def test_entries_of_a_later_release_are_neither_ends_nor_erasures(house, fixed):
    """They stay in their segment, too."""
    job = fixed()
    house.ledger.submit(job)
    house.written()
    later = json.dumps({"sid": "9-9", "type": "holiday", "id": job.id}).encode()
    house.change(later)
    assert house.restore()[0]["queued"] == 1
    house.ledger.cancel("acme", job.id)
    Journal(house.ledger, house.storage).write_segment()
    Journal(house.ledger, house.storage).write_job_json(for_s=5)
    name = segments.names(house.storage)[0]
    assert Compactor(house.ledger, house.ledger.redis, house.storage).compact(name) == 1
    assert house.storage.get_bytes(name) == later


def test_a_bucket_that_goes_away_ends_the_restore_with_nothing_set_aside(house, fixed, monkeypatch):
    """It is not the entry's fault."""
    house.ledger.submit(fixed())
    house.written()
    monkeypatch.setattr(house.storage, "head", lambda key: (_ for _ in ()).throw(StorageUnavailable("away")))
    with pytest.raises(StorageUnavailable):
        house.restore()
    assert house.set_aside() == []


def test_a_job_whose_folder_the_bucket_does_not_show_is_rather_done_again_than_lost(house, fixed, monkeypatch):
    hidden, other = fixed(), fixed()
    house.ledger.submit(hidden)
    house.ledger.submit(other)
    house.written()
    head = house.storage.head

    def refuses(key):
        if hidden.id in key:
            raise ObjectRefused("the bucket refused HeadObject (403)")
        return head(key)

    monkeypatch.setattr(house.storage, "head", refuses)
    done, skipped = house.restore()
    assert done["queued"] == 2 and skipped.count == 1


@pytest.mark.parametrize("error", [LedgerFault("the script is wrong"), NameError("ours")])
def test_where_nothing_can_be_put_back_the_epoch_is_not_set(house, fixed, monkeypatch, error):
    """It is no entry's fault then, and jobs are not lost for it."""
    jobs = [fixed() for _ in range(restore.ALL_FAILED_ENTRIES)]
    for job in jobs:
        house.ledger.submit(job)
    house.written()

    def fails(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Restore, "_submit", fails)
        with pytest.raises(type(error)):
            house.restore()
    with pytest.raises(NotReady):
        house.ledger.ready()
    assert house.restore()[0]["queued"] == restore.ALL_FAILED_ENTRIES


@pytest.mark.parametrize("text", [b"milk", b"[1]", b"1", b"\xff", b""])
def test_a_copy_of_the_pauses_that_cannot_be_read_ends_no_restore(house, fixed, text):
    house.ledger.submit(fixed())
    house.written()
    house.storage.put_bytes(pauses.KEY, text, "application/json")
    done, skipped = house.restore()
    assert done["queued"] == 1 and skipped.count == 1


def test_segments_are_streamed_and_no_job_is_kept_in_memory(house, fixed, monkeypatch):
    """However large all of them are together."""
    for _ in range(5):
        house.ledger.submit(fixed(input={"prompt": "x" * 10_000}))
    house.written()
    found, see, get_bytes = [], restore._see, house.storage.get_bytes

    def seen(so_far, *rest):
        found.append(so_far)
        see(so_far, *rest)

    def get(key):
        assert not segments.SEGMENT.fullmatch(key)
        return get_bytes(key)

    monkeypatch.setattr(restore, "_see", seen)
    monkeypatch.setattr(house.storage, "get_bytes", get)
    monkeypatch.setattr(Restore, "_put_back_one", lambda *_: sizes.append(len(str(found[-1]))))
    sizes = []
    house.restore()
    assert len(sizes) == 5 and max(sizes) < 2000


class TestCompacting:
    @pytest.fixture
    def compactor(self, house) -> Compactor:
        return Compactor(house.ledger, house.ledger.redis, house.storage)

    def test_lines_that_cannot_be_read_are_set_aside_before_their_segment_goes(self, house, fixed, compactor):
        job = fixed()
        house.ledger.submit(job)
        house.written()
        house.ledger.cancel("acme", job.id)
        Journal(house.ledger, house.storage).write_segment()
        Journal(house.ledger, house.storage).write_job_json(for_s=5)
        name = segments.names(house.storage)[0]
        house.storage.put_bytes(name, house.storage.get_bytes(name) + b"\n" + ODD, "application/jsonl")
        assert compactor.compact(name) == 0
        assert name not in segments.names(house.storage)
        assert house.set_aside() == [ODD] and compactor.skipped.count == 1

    def test_other_objects_and_a_segment_that_the_bucket_refuses_keep_no_other(self, house, compactor, monkeypatch):
        """The next is looked at in the same round."""
        for name in ("1-0-2-0", "3-0-4-0"):
            house.storage.put_bytes(f"journal/{name}.jsonl", b"", "application/jsonl")
        house.storage.put_bytes("journal/notes.jsonl", b"milk", "text/plain")
        house.ledger.redis.set(keys.WRITTEN, "9-0")
        get = house.storage.get_lines

        def refuses(key):
            if "1-0-2-0" in key:
                raise ObjectRefused("the bucket refused GetObject (InvalidObjectState)")
            return get(key)

        monkeypatch.setattr(house.storage, "get_lines", refuses)
        compactor.round()
        assert segments.names(house.storage) == ["journal/1-0-2-0.jsonl"]
        assert compactor.skipped.count == 2
