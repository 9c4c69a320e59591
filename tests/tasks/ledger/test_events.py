"""One reader of the event stream for all who wait: it wakes whoever a change concerns, and nothing ends it."""

import threading

import pytest

from tasks.ledger import keys
from tasks.ledger.events import Events
from tests.conftest import PATIENT_S
from tests.stack import until


@pytest.fixture
def events(settings):
    return Events(settings)


@pytest.fixture
def job_ids(ledger, fixed):
    """Makes that many jobs that wait."""

    def make(count: int) -> list[str]:
        made = [fixed() for _ in range(count)]
        for one in made:
            ledger.submit(one)
        return [one.id for one in made]

    return make


def readers() -> int:
    return sum(thread.name == "events" for thread in threading.enumerate())


def test_many_waiters_share_one_reader(events, ledger, job_ids):
    """Ten jobs, one thread, and each waiter is woken by its own job."""
    before, woken = readers(), {one: threading.Event() for one in job_ids(10)}
    for one, event in woken.items():
        events.join(one, event.set)
    assert readers() == before + 1
    first, *others = woken
    ledger.cancel("acme", first)
    assert woken[first].wait(PATIENT_S)
    assert not any(woken[one].is_set() for one in others)
    for one in others:
        ledger.cancel("acme", one)
    assert all(event.wait(PATIENT_S) for event in woken.values())
    for one, event in woken.items():
        events.leave(one, event.set)


def test_the_reader_rests_while_nobody_waits(events, ledger, job_ids):
    """It ends after the last has left, and there is another for the next."""
    for one in job_ids(2):
        woken = threading.Event()
        events.join(one, woken.set)
        ledger.cancel("acme", one)
        assert woken.wait(PATIENT_S)
        events.leave(one, woken.set)
        until(lambda: not events._reading, what="the reader has ended")


def test_a_change_after_joining_is_not_missed(events, ledger, job_ids):
    """The stream's end is taken before `join` returns, not when the reader first reads."""
    (one,), woken = job_ids(1), threading.Event()
    events.join(one, woken.set)
    ledger.cancel("acme", one)
    assert woken.wait(PATIENT_S)
    events.leave(one, woken.set)


def test_a_bad_entry_or_a_bad_waiter_does_not_end_the_reader(events, ledger, job_ids):
    """Whoever waits behind them is woken all the same."""
    (bad, good), woken = job_ids(2), threading.Event()

    def fails():
        raise OSError("a waiter with a defect")

    events.join(bad, fails)
    events.join(good, woken.set)
    ledger.redis.xadd(keys.EVENTS, {"no": "id"})
    ledger.cancel("acme", bad)
    until(lambda: readers(), what="the reader goes on")
    ledger.cancel("acme", good)
    assert woken.wait(PATIENT_S)
    events.leave(bad, fails)
    events.leave(good, woken.set)
