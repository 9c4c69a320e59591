"""One reader of the event stream for all who wait: it wakes whoever a change concerns, and nothing ends it."""

import threading

import pytest

from tasks.ledger import keys
from tasks.ledger.events import Events, has_all_since
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


def readers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "events"}


def test_many_waiters_share_one_reader(events, ledger, job_ids):
    """Ten jobs, one thread, and each waiter is woken by its own job."""
    before, woken = readers(), {one: threading.Event() for one in job_ids(10)}
    for one, event in woken.items():
        events.join(one, event.set)
    assert len(readers() - before) == 1  # those of other tests end meanwhile
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


def test_progress_wakes_only_those_who_watch(events, ledger, job_ids, worker):
    """A held request is not asked anew at each report."""
    (one,), status, progress = job_ids(1), threading.Event(), threading.Event()
    events.join(one, status.set)
    events.join(one, progress.set, progress=True)
    claimed = ledger.claim(worker, "w1:0", f"{1:032d}")
    assert status.wait(PATIENT_S) and progress.wait(PATIENT_S)
    until(lambda: keys.CHANGES in events._wanted())
    status.clear()
    progress.clear()
    ledger.report(one, claimed.token, progress=0.5)
    assert progress.wait(PATIENT_S) and not status.is_set()
    events.leave(one, status.set)
    events.leave(one, progress.set)


def test_a_follower_hears_every_change_behind_its_cursor(events, ledger, job_ids):
    """With tenant and line, whoever's they are."""
    job_ids(1)
    heard = []

    def hear(entries, cursor):
        heard.extend(entries)

    begun = events.follow(hear)
    one, other = job_ids(2)
    ledger.cancel("acme", one)
    until(lambda: len(heard) == 3)
    assert [(fields["id"], fields["status"]) for _, fields in heard] == [
        (one, "queued"),
        (other, "queued"),
        (one, "canceled"),
    ]
    assert {fields["line"] for _, fields in heard} == {"cpu.generate:lstm"}
    assert heard[0][0] > begun
    events.unfollow(hear)


def test_after_redis_was_away_nothing_is_lost_or_the_follower_is_told(events, ledger, job_ids):
    """The reader goes on behind its cursor; where the stream no longer has all, followers hear None."""
    heard = []
    events.follow(lambda entries, cursor: heard.append(entries))
    job_ids(1)
    until(lambda: heard)
    heard.clear()
    job_ids(1)
    events._look_again()
    until(lambda: heard)
    assert None not in heard
    heard.clear()
    ledger.redis.delete(keys.EVENTS)
    events._look_again()
    assert heard == [None]
    events._followers.clear()


def test_a_cursor_is_good_while_the_stream_has_all_behind_it(ledger, job_ids):
    assert has_all_since(ledger.redis, "0-0") and not has_all_since(ledger.redis, "5-0")
    job_ids(3)
    first, second, last = (entry for entry, _ in ledger.redis.xrange(keys.EVENTS))
    assert all(has_all_since(ledger.redis, cursor) for cursor in (first, second, last, "0-0"))
    ledger.redis.xtrim(keys.EVENTS, minid=last, approximate=False)
    assert not has_all_since(ledger.redis, "0-0"), "the cursor of who listened before the first entry"
    assert not has_all_since(ledger.redis, first) and has_all_since(ledger.redis, last)
    assert not has_all_since(ledger.redis, f"{int(last.partition('-')[0]) + 1}-0")
