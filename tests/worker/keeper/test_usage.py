"""Usage is counted once an end, whatever dies in between; a flush, or an older memory, takes nothing away."""

import json
from datetime import UTC, date, datetime

import pytest

from tasks.errors import StorageUnavailable, WorkerLost
from tasks.ledger import Ledger, connect, keys
from tasks.service import erasure
from tasks.service.usage import Wanted, grouped
from tasks.usage import OTHER, VALUES_MAX, Amounts, End, Row, first_kept, kept_until_ms
from tests.stack import until
from worker.keeper import counters, segments, usage
from worker.keeper.compact import Compactor
from worker.keeper.erasures import Erasures
from worker.keeper.journal import Journal
from worker.keeper.restore import Restore
from worker.keeper.skipped import Skipped
from worker.keeper.usage import Usage

OUTPUT = {"name": "text.txt", "media_type": "text/plain", "bytes": 7, "sha256": "0" * 64, "key": "k"}


class House:
    """A keeper and a worker done by hand. `ended`: what each job's record said at its end."""

    def __init__(self, settings, storage, worker, fixed) -> None:
        self.settings = settings.model_copy(update={"usage_metadata": ["project"]})
        self.ledger = Ledger(self.settings, connect(self.settings, read_timeout_s=20))
        self.ledger.set_epoch()
        self.storage, self.worker, self.fixed = storage, worker, fixed
        self.usage = Usage(self.ledger, storage, Skipped("usage"))
        self.tokens = 0

    def claim(self):
        self.tokens += 1
        return self.ledger.claim(self.worker, f"w1:1:1:{self.tokens}", f"{self.tokens:032x}")

    def run(self, tenant="acme", metrics=None, **changes):
        """A job that is submitted, claimed and committed."""
        self.ledger.submit(self.fixed(tenant=tenant, **changes))
        claimed = self.claim()
        told = {"run_s": 0.5, "load_s": 0.25, **(metrics or {})}
        assert self.ledger.commit(claimed.fixed.id, claimed.token, {}, [OUTPUT], told) == "succeeded"

    def written(self, job_json=True) -> None:
        Journal(self.ledger, self.storage).write_segment()
        if job_json:
            Journal(self.ledger, self.storage).write_job_json(for_s=5)

    def sums(self, *names: str, tenant: str | None = "acme") -> dict:
        today = datetime.now(UTC).date()
        found = grouped(self.ledger, Wanted(tenant, today.replace(day=1), today, names))
        return {group: one.amounts for group, one in found.items()}

    def sum(self):
        return self.sums()[()]

    def restore(self) -> None:
        Restore(self.settings, self.ledger.redis, self.storage).run()
        self.ledger.set_epoch()


@pytest.fixture
def house(settings, storage, worker, fixed) -> House:
    return House(settings, storage, worker, fixed)


def test_a_job_counts_with_what_its_worker_measured(house):
    tokens = {"prompt_tokens": 4, "completion_tokens": 2, "sound_s": 1.5, "pictures": 1, "bytes_in": 90}
    house.run(metrics=tokens, key="k1")
    house.written()
    a = house.sums("key", "kind", "model")["k1", "generate", "lstm"]
    assert (a.succeeded, a.attempts, a.retries, a.run_ms, a.load_ms) == (1, 1, 0, 500, 250)
    assert (a.prompt_tokens, a.completion_tokens, a.sound_ms, a.pictures) == (4, 2, 1500, 1)
    assert (a.bytes_in, a.bytes_out) == (90, 7)


def test_an_attempt_that_failed_counts_what_it_ran_and_so_does_a_killed_one(house):
    """By its worker's last word; where it had none, by the phase in which it was cut off."""
    house.ledger.submit(house.fixed())
    first = house.claim()
    house.ledger.fail(first.fixed.id, first.token, StorageUnavailable("away"), 0, {"run_s": 2, "bytes_in": 5}, 1)
    second = house.claim()
    house.ledger.report(second.fixed.id, second.token, "loading")
    until(lambda: now_ms(house) > phase_ms(house, second) + 30)
    house.ledger.fail(second.fixed.id, second.token, WorkerLost("killed"))
    third = house.claim()
    until(lambda: now_ms(house) > phase_ms(house, third) + 30)
    house.ledger.release(third.fixed.id, third.token, "drain")
    house.ledger.cancel("acme", first.fixed.id)
    record = house.ledger.record(first.fixed.id)
    house.written()
    a, took = house.sum(), times(record)
    assert (a.canceled, a.succeeded, a.attempts, a.retries, a.bytes_in) == (1, 0, 3, 2, 5)
    assert a.attempt_ms == sum(took) and a.retry_ms == sum(took[1:])
    assert 30 <= a.load_ms <= took[1] and 2030 <= a.run_ms <= 2000 + took[2]


def test_attempts_that_a_record_has_dropped_are_counted_too(house):
    """Of fifty-two releases the record keeps fifty attempts, and the sum of the others."""
    house.ledger.submit(house.fixed())
    took = []
    for _ in range(52):
        claimed = house.claim()
        house.ledger.release(claimed.fixed.id, claimed.token, "drain")
        took.append(times(house.ledger.record(claimed.fixed.id))[-1])
    last = house.claim()
    assert "attempt:1" not in house.ledger.record(last.fixed.id)
    house.ledger.commit(last.fixed.id, last.token, {}, [], {"run_s": 1})
    took.append(times(house.ledger.record(last.fixed.id))[-1])
    house.written()
    a = house.sum()
    assert (a.attempts, a.retries, a.attempt_ms, a.retry_ms) == (53, 52, sum(took), sum(took[1:]))
    assert a.run_ms == 1000 + sum(took[:-1])


def test_an_end_is_counted_once_by_however_many_keepers(house):
    """One died between count and trim; another reads the same entries, or fewer of them."""
    for _ in range(3):
        house.run()
    entries = house.ledger.redis.xrange(keys.JOURNAL)
    house.usage.count(entries[:3])
    house.usage.count(entries)
    house.usage.count(entries[2:])
    house.written()
    assert house.sum().succeeded == 3


def test_a_cursor_that_cannot_be_read_stops_nothing(house):
    house.ledger.redis.set(keys.USAGE_COUNTED, "x")
    house.run()
    house.written()
    assert house.sum().succeeded == 1


def test_two_keepers_at_the_same_entries_count_them_once(house, monkeypatch):
    """The slower one has read the counters before the other has moved the cursor."""
    house.run()
    entries, count = house.ledger.redis.xrange(keys.JOURNAL), house.ledger.count_usage

    def late(*asked):
        monkeypatch.setattr(house.ledger, "count_usage", count)
        house.usage.count(entries)
        house.run()
        house.usage.count(house.ledger.redis.xrange(keys.JOURNAL))
        return count(*asked)

    monkeypatch.setattr(house.ledger, "count_usage", late)
    house.usage.count(entries)
    assert house.sum().succeeded == 2


def test_the_sum_over_tenants_is_that_over_groups(house):
    for tenant, number in (("acme", 2), ("rival", 3)):
        for _ in range(number):
            house.run(tenant, metadata={"project": tenant[0]})
    house.written()
    assert {group: a.succeeded for group, a in house.sums("tenant", tenant=None).items()} == {
        ("acme",): 2,
        ("rival",): 3,
    }
    by_project = house.sums("metadata.project", tenant=None)
    assert {group: a.succeeded for group, a in by_project.items()} == {("a",): 2, ("r",): 3}
    assert house.sums(tenant=None)[()].attempt_ms == sum(a.attempt_ms for a in by_project.values())


def test_after_a_flush_nothing_is_missing_and_nothing_counts_twice(house):
    """Copied, counted and not copied, not counted, in a segment alone; restored twice, and flushed again."""
    house.run()
    house.written()
    house.usage.copy()
    house.run(metadata={"project": "x"})
    house.written()
    house.run("rival")
    Journal(house.ledger, house.storage).write_segment()
    for _ in range(2):
        house.ledger.redis.flushdb()
        house.restore()
        house.restore()
        assert {group: a.succeeded for group, a in house.sums("tenant", tenant=None).items()} == {
            ("acme",): 2,
            ("rival",): 1,
        }
        assert {group[0] for group in house.sums("metadata.project")} == {None, "x"}
        house.written()
        house.usage.copy()
    house.run()
    house.written()
    assert house.sum().succeeded == 3


def test_a_restore_that_died_is_done_again(house, monkeypatch):
    """After the counters are written, and before any job is put back."""
    house.run()
    house.written()
    house.ledger.redis.flushdb()
    with monkeypatch.context() as patch:
        patch.setattr(Restore, "_put_back", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            house.restore()
    house.ledger.redis.delete(keys.RESTORING)  # its lease has lapsed
    house.restore()
    assert house.sum().succeeded == 1


def test_an_older_memory_gets_what_it_lacks(house, memory):
    """An end that was counted, and one that it had not even accepted, are not lost with the last second."""
    house.run()
    house.written()
    bring_back = memory()
    house.run()
    house.written()
    house.usage.copy()
    house.run()
    house.written()
    bring_back()
    house.restore()
    assert house.sum().succeeded == 3
    house.run()
    house.written()
    assert house.sum().succeeded == 4


def test_a_segment_stays_whole_until_its_ends_are_in_the_copies(house):
    house.run()
    house.written()
    copied = lambda: usage.copied_upto(house.ledger)  # noqa: E731
    compactor = Compactor(house.ledger, house.ledger.redis, house.storage, copied=copied)
    (name,) = segments.names(house.storage)
    assert compactor.compact(name) == -1
    house.usage.copy()
    assert compactor.compact(name) == 0 and segments.names(house.storage) == []
    house.ledger.redis.flushdb()
    house.restore()
    assert house.sum().succeeded == 1


def test_a_hundred_values_are_counted_by_themselves_and_the_rest_as_other():
    """However they come: the hundredth has a row of its own, and the one after it has not."""
    row = Row(1, "cpu", "generate", "lstm", None)
    given = [f"p{number}" for number in range(VALUES_MAX + 2)] + ["p0", None, OTHER]
    ends = [End("acme", "2026-11", row, {"project": value}, Amounts(succeeded=1)) for value in given]
    known: dict[str, str] = {}
    for some in (ends[:4], ends[4:VALUES_MAX], ends[VALUES_MAX:]):
        asked = counters.touched(some, ["project"])
        known |= counters.added(some, ["project"], {name: known.get(name) for name in asked}, len(known))
    rows = {Row.read(name): Amounts.read(kept) for name, kept in known.items() if name.startswith("[")}
    assert rows.pop(row).succeeded == VALUES_MAX + 5
    found = {one.value: amounts.succeeded for one, amounts in rows.items()}
    assert (found.pop(OTHER), found.pop(None), found.pop("p0")) == (3, 1, 2)
    assert found == {f"p{number}": 1 for number in range(1, VALUES_MAX)}


def test_a_value_that_is_long_or_no_text_is_counted(house):
    for value in ("x" * 100, "x" * 101, ["a", 1]):
        house.run(metadata={"project": value})
    house.written()
    assert {group[0] for group in house.sums("metadata.project")} == {"x" * 100, OTHER, '["a", 1]'}


def test_a_month_with_many_rows_counts_further_values_as_other(house, monkeypatch):
    monkeypatch.setattr(counters, "ROWS_MAX", 5)
    for number in range(4):
        house.run(metadata={"project": f"p{number}"})
        house.written()
    found = {group[0]: a.succeeded for group, a in house.sums("metadata.project").items()}
    assert found == {"p0": 1, "p1": 1, OTHER: 2}


def test_an_erased_tenant_leaves_no_usage(house):
    house.run()
    house.run("rival")
    house.written()
    house.usage.copy()
    asked, erasures = erasure.ask(house.storage, "acme", "operator"), Erasures(house.ledger, house.storage)
    for _ in range(4):
        house.written()
        asked = erasures.erase(asked)
    assert asked.done and house.sums("tenant", tenant=None).keys() == {("rival",)}
    assert [seen.key for seen in house.storage.list("usage/acme/")] == []
    house.ledger.redis.flushdb()
    house.restore()
    assert house.sums("tenant", tenant=None).keys() == {("rival",)}


def test_an_old_month_goes_from_both(house):
    house.run()
    house.written()
    old = first_kept(datetime.now(UTC).date()).replace(day=1)
    gone = f"{date.fromordinal(old.toordinal() - 1):%Y-%m}"
    house.ledger.redis.hset(keys.USAGE, f"acme:{gone}", "1-1")
    house.storage.put_bytes(f"usage/acme/{gone}.json", b"{}", "application/json")
    house.usage.copy()
    assert [month for _, month in house.ledger.usage_months()] == [f"{datetime.now(UTC):%Y-%m}"]
    assert house.storage.head(f"usage/acme/{gone}.json") is None
    assert kept_until_ms("2026-11") == datetime(2027, 3, 1, tzinfo=UTC).timestamp() * 1000
    assert first_kept(date(2027, 2, 28)) == date(2026, 11, 1)


@pytest.mark.parametrize("copy", [b"{", b"[]", b'{"upto": "x", "fields": {}}', b'{"upto": "1-1", "fields": 7}'])
def test_a_copy_that_cannot_be_read_is_told_and_the_others_are_put_back(house, copy):
    house.run()
    house.run("rival")
    house.written()
    house.usage.copy()
    house.storage.put_bytes(f"usage/rival/{datetime.now(UTC):%Y-%m}.json", copy, "application/json")
    house.ledger.redis.flushdb()
    house.usage.restore(True, lambda *commands: [house.ledger.redis.execute_command(*one) for one in commands])
    house.ledger.set_epoch()
    assert house.usage.skipped.count == 1 and house.sum().succeeded == 1


def now_ms(house) -> float:
    seconds, micros = house.ledger.redis.time()
    return seconds * 1000 + micros / 1000


def phase_ms(house, claimed) -> float:
    return float(house.ledger.record(claimed.fixed.id)["phase_ms"])


def times(record) -> list[int]:
    """The ms of each attempt that the record has."""
    found = [json.loads(text) for name, text in record.items() if name.startswith("attempt:")]
    return [one["ended_ms"] - one["started_ms"] for one in sorted(found, key=lambda one: one["number"])]
