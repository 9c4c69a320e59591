"""Estimates from durations, slots and what waits: a pure function, held against a simulation of its own."""

import random

from hypothesis import given
from hypothesis import strategies as st

from tasks.durations import Durations
from tasks.eta import TURN_S, Eta, Slot, latest, until_end, until_start

LINE, OTHER = "cpu.generate:lstm", "cpu.generate:rnn"
ALWAYS_ONE = {LINE: Durations([1.0] * 128, [], {"p0": 1, "p1": 1})}
ERROR = 0.1
"""Share of a duration by which a mean of 128 may be wrong, with some luck to spare."""


def running(process: str = "p0", for_s: float = 0.0, line: str = LINE, loading: bool = False) -> Slot:
    return Slot(process, line, for_s, loading)


def about(eta: Eta | None, seconds: float) -> bool:
    return eta is not None and abs(eta.likely - seconds) <= ERROR * max(1.0, seconds) and eta.low <= seconds <= eta.high


def test_where_nothing_is_known_nothing_is_said():
    """No slot; a line before it, or its own end, without durations; busy slots of an unknown model."""
    assert until_start({}, [], ALWAYS_ONE) is None
    assert until_start({OTHER: 1}, [Slot("p0")], ALWAYS_ONE) is None
    assert until_start({}, [Slot("p0")], ALWAYS_ONE, own=OTHER) is None
    assert until_start({}, [running(line=OTHER)], {}) is None
    assert until_start({LINE: 1}, [Slot("p0")], {LINE: Durations()}) is None
    assert until_end(running(line=OTHER), ALWAYS_ONE) is None
    assert latest([]) is None


def test_the_next_job_of_a_free_slot_starts_at_once():
    """Also where its model was never measured: its own duration does not matter for its start."""
    assert until_start({}, [Slot("p0"), running("p1")], {}) == Eta(until="start", low=0, likely=0, high=TURN_S)


def test_jobs_ahead_share_the_slots():
    """Five of 1 s each, on two free slots: the sixth starts after 2 s and ends after 3."""
    free = [Slot("p0"), Slot("p1")]
    start = until_start({LINE: 5}, free, ALWAYS_ONE)
    assert about(start, 2) and start.until == "start"
    end = until_start({LINE: 5}, free, ALWAYS_ONE, own=LINE)
    assert about(end, 3) and end.until == "end"
    assert about(until_start({LINE: 4}, [running("p0", 0.5), running("p1", 0.5)], ALWAYS_ONE), 2.5)


def test_lines_are_added_and_a_long_job_holds_its_slot_alone():
    """Ten of 0.1 s behind one of 100 s: the other slot does them all."""
    measured = {LINE: Durations([0.1] * 128, [], {"p0": 1, "p1": 1}), OTHER: Durations([100.0] * 128, [], {"p0": 1})}
    slots = [running("p0", 20.0, OTHER), Slot("p1")]
    assert until_start({LINE: 10}, slots, measured).likely < 1.3
    both = until_start({LINE: 10, OTHER: 1}, slots, measured)
    assert 20 < both.high <= 130


def test_a_running_job_goes_on_as_those_that_took_longer():
    """Of durations 1 to 100 s, one that has run 90 s ends within 10; one past all of them is open to the top."""
    measured = {LINE: Durations([float(n) for n in range(1, 101)])}
    eta = until_end(running(for_s=90.0), measured)
    assert eta.until == "end" and 3 <= eta.likely <= 8 and eta.low < 3
    past = until_end(running(for_s=300.0), measured)
    assert past.low < 60 < past.likely < 900 < past.high


def test_a_process_that_has_not_loaded_the_model_loads_it_first():
    """10 s of load before two jobs of 1 s on one cold slot; one that loads has its whole turn before it."""
    measured = {LINE: Durations([1.0] * 128, [10.0], {"p0": 1})}
    assert about(until_start({LINE: 2}, [Slot("cold")], measured), 12)
    assert about(until_start({LINE: 2}, [Slot("p0")], measured), 2)
    assert about(until_end(running("cold", 4.0, loading=True), measured), 7)
    assert about(until_start({LINE: 2}, [Slot("cold"), Slot("cold")], measured), 11), "two threads wait for one load"


def test_one_measured_duration_proves_little():
    """The fewer, the wider."""
    one, many = ({LINE: Durations([2.0] * n, [], {"p0": 1})} for n in (1, 128))
    wide, narrow = (until_start({LINE: 8}, [Slot("p0")], known) for known in (one, many))
    assert wide.high / wide.low > 1.1 * narrow.high / narrow.low
    assert narrow.high / narrow.low < 3


def test_many_slots_and_very_many_jobs_are_estimated_by_a_part():
    """A thousand slots and a million jobs of 1 s: a thousand seconds."""
    slots = [running(f"p{n}", n / 1000) for n in range(1000)]
    assert about(until_start({LINE: 1_000_000}, slots, ALWAYS_ONE), 1000)
    assert about(until_start({LINE: 10_000}, [Slot("p0")], ALWAYS_ONE), 10_000)


def test_the_truth_lies_between_low_and_high():
    """Against queues played to their end with other draws of a skewed distribution: in 80 % of 200 cases at least, and
    likely is as often too low as too high."""
    rng = random.Random(7)

    def lasts() -> float:
        return rng.lognormvariate(0, 0.6)

    measured = {LINE: Durations([lasts() for _ in range(64)], [], {f"p{n}": 1 for n in range(4)})}
    within = below = 0
    for case in range(200):
        count, ahead = 1 + case % 4, case % 23
        free, slots = [], []
        for n in range(count):
            whole = lasts()
            spent = rng.random() * whole
            slots.append(running(f"p{n}", spent))
            free.append(whole - spent)
        eta = until_start({LINE: ahead}, slots, measured)
        for _ in range(ahead):
            first = free.index(min(free))
            free[first] += lasts()
        within += eta.low <= min(free) <= eta.high
        below += min(free) < eta.likely
    assert within >= 160
    assert 60 <= below <= 140


SECONDS = st.floats(0, 1e6)
MEASURED = st.builds(
    Durations, st.lists(SECONDS, max_size=8), st.lists(SECONDS, max_size=3), st.dictionaries(st.just("p0"), st.just(1))
)
SLOT = st.builds(Slot, st.sampled_from(["p0", "p1"]), st.sampled_from(["", LINE, OTHER]), SECONDS, st.booleans())


@given(
    st.dictionaries(st.sampled_from([LINE, OTHER]), st.floats(0, 1e7)),
    st.lists(SLOT, max_size=40),
    st.dictionaries(st.sampled_from([LINE, OTHER]), MEASURED),
    st.sampled_from(["", LINE, OTHER]),
)
def test_whatever_the_facts_the_numbers_are_in_order(ahead, slots, measured, own):
    for eta in (until_start(ahead, slots, measured, own), *(until_end(slot, measured) for slot in slots)):
        if eta is not None:
            assert 0 <= eta.low <= eta.likely <= eta.high < float("inf")
            Eta.model_validate_json(eta.model_dump_json())
