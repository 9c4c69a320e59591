"""Measured durations as text: bounded, and whatever is damaged is none."""

import pytest

from tasks.durations import LOADS_KEPT, PROCESSES_KEPT, RUNS_A_ROUND, RUNS_KEPT, Durations, Ended


def test_what_is_written_is_read():
    kept = Durations()
    kept.add([Ended("w:1:1", 3.5, 1.5, 1000), Ended("w:1:1", 2.5, 0.0, 2000), Ended("w:2:2", 1.0, 0.0, 2000)])
    assert sorted(kept.run_s) == [1.0, 2.0, 2.5]
    assert kept.load_s == [1.5, 0.0], "the second process had the model preloaded"
    assert kept.processes == {"w:1:1": 2000, "w:2:2": 2000}
    assert Durations.read(kept.as_json()) == kept


def test_they_are_bounded_and_a_full_list_changes_slowly():
    kept = Durations()
    for n in range(2 * PROCESSES_KEPT):
        kept.add([Ended(f"w:{n}:1", 2.0, 1.0, n)])
    assert (len(kept.run_s), len(kept.load_s), len(kept.processes)) == (RUNS_KEPT, LOADS_KEPT, PROCESSES_KEPT)
    assert min(kept.processes.values()) == PROCESSES_KEPT, "the newest are kept"
    kept.add([Ended("w:1:1", 9.0, 0.0, n) for n in range(1000)])
    assert 1 <= kept.run_s.count(9.0) <= RUNS_A_ROUND


@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"run_s":[1]}', '{"run_s":[null],"load_s":[],"processes":{}}'])
def test_what_cannot_be_read_is_none(text):
    assert Durations.read(text) == Durations()
