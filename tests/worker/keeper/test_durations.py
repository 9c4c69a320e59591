"""Durations are measured where the journal passes: of each end that had an attempt, and nothing else."""

import json

import pytest

from tasks.durations import Durations
from tasks.errors import ModelFailed
from tasks.ledger import keys
from worker.keeper.durations import ended
from worker.keeper.journal import Journal

SLOT, PROCESS = "w1:1:1:1", "w1:1:1"


def measured(ledger, line: str = "cpu.generate:lstm") -> Durations:
    return Durations.read(ledger.redis.hget(keys.DURATIONS, line))


def test_ends_are_measured_as_their_segment_is_written(ledger, storage, worker, fixed):
    """A success with its load, a failure; a cancel before the start tells nothing."""
    for _ in range(3):
        ledger.submit(fixed(max_attempts=1))
    ledger.submit(waits := fixed())
    first = ledger.claim(worker, SLOT, "1")
    ledger.commit(first.fixed.id, "1", {"text": ""}, [], {"load_s": 0.25})
    second = ledger.claim(worker, SLOT, "2")
    ledger.fail(second.fixed.id, "2", ModelFailed("boom"))
    ledger.claim(worker, SLOT, "3")
    ledger.cancel("acme", waits.id)
    journal = Journal(ledger, storage)
    assert journal.write_segments() == 1
    kept = measured(ledger)
    assert len(kept.run_s) == 2 and max(kept.run_s) < 5 and kept.load_s == [0.25]
    assert list(kept.processes) == [PROCESS]
    assert journal.write_segments() == 0
    assert measured(ledger) == kept


def test_durations_that_cannot_be_written_stop_no_segment(ledger, storage, worker, fixed):
    ledger.submit(fixed())
    claimed = ledger.claim(worker, SLOT, "1")
    ledger.commit(claimed.fixed.id, "1", {"text": ""}, [], {})
    ledger.redis.set(keys.DURATIONS, "no hash")
    assert Journal(ledger, storage).write_segment() == 2


WHOLE = {
    "type": "ended",
    "status": "succeeded",
    "line": "cpu.generate:lstm@2",
    "starts": "2",
    "attempt:2": json.dumps({"worker": "w1", "started_ms": 1000, "ended_ms": 4000}),
    "metrics": '{"load_s": 1.5}',
    "slot": SLOT,
}


def test_an_end_tells_how_long_its_last_attempt_had_its_slot():
    assert ended(WHOLE) == (PROCESS, 3.0, 1.5, 4000)
    assert ended({name: value for name, value in WHOLE.items() if name not in ("slot", "metrics")}).process == "w1"


@pytest.mark.parametrize(
    "changed",
    [{"status": "canceled"}, {"status": "expired"}, {"attempt:2": "{"}, {"attempt:2": "[]"}, {"metrics": "[1]"},
     {"starts": "3"}, {"attempt:2": '{"started_ms": 1, "worker": "w1"}'}],
)  # fmt: skip
def test_other_ends_and_damaged_ones_tell_nothing(changed):
    assert ended({**WHOLE, **changed}) is None
