"""Calls on threads of their own: answers and errors come back, an abandoned call keeps its thread and its place."""

import threading

import pytest

from tasks import apart
from tasks.apart import Apart
from tests.stack import until


class Enough(Exception):
    """The caller waits no longer."""


def test_a_call_answers_or_raises_and_the_next_has_the_same_thread():
    """It is idle before its caller goes on."""
    one = Apart("one", 4)
    first = one.call(threading.get_ident, lambda: None)
    with pytest.raises(ZeroDivisionError):
        one.call(lambda: 1 // 0, lambda: None)
    assert one.call(threading.get_ident, lambda: None) == first != threading.get_ident()


def test_an_abandoned_call_keeps_its_thread_and_its_place_until_it_is_over():
    """Another caller gets another thread; one too many waits, and may give up too."""
    one, goes_on, asked = Apart("one", 2), threading.Event(), []

    def check_twice():
        asked.append(1)
        if len(asked) % 2 == 0:
            raise Enough

    def blocked():
        return goes_on.wait(10) and threading.get_ident()

    for _ in range(3):
        with pytest.raises(Enough):
            one.call(blocked, check_twice)
    goes_on.set()
    until(lambda: len(one._idle) == 2)
    assert one.call(lambda: "free again", lambda: None) == "free again"


def test_an_idle_thread_ends_and_the_next_call_has_a_new_one(monkeypatch):
    monkeypatch.setattr(apart, "IDLE_S", 0.01)
    one = Apart("soon-over", 1)
    assert one.call(lambda: 1, lambda: None) == 1
    until(lambda: not one._idle and not [t for t in threading.enumerate() if t.name == "soon-over"])
    assert one.call(lambda: 2, lambda: None) == 2
