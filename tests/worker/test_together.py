"""Threads that ask at once: who asks for whom, and what each is told."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.stack import until
from worker.together import Together


class Asking:
    """Doubles numbers; the first question waits on `gate`; `groups` are the questions as they came."""

    def __init__(self, most: int = 100) -> None:
        self.groups: list[list[int]] = []
        self.gate = threading.Event()
        self.together = Together(self.ask_all, most)

    def ask_all(self, asked):
        self.groups.append(list(asked))
        if len(self.groups) == 1:
            assert self.gate.wait(10)
        if 13 in asked:
            raise ValueError("thirteen")
        return [2 * one for one in asked]

    def behind(self, pool: ThreadPoolExecutor, numbers) -> list[Future]:
        """Questions that come while another is under way, in order."""
        futures = [pool.submit(self.together.ask, 1)]
        until(lambda: self.groups)
        for number in numbers:
            gathered = len(self.together._gathered)
            futures.append(pool.submit(self.together.ask, number))
            until(lambda before=gathered: len(self.together._gathered) > before)
        return futures


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as pool:
        yield pool


def test_a_thread_that_asks_alone_asks_at_once():
    asking = Asking()
    asking.gate.set()
    assert [asking.together.ask(number) for number in (1, 2, 3)] == [2, 4, 6]
    assert asking.groups == [[1], [2], [3]]


def test_what_is_asked_while_a_question_is_under_way_is_asked_together(pool):
    """In order, and each has its own answer."""
    asking = Asking()
    futures = asking.behind(pool, [2, 3, 4])
    asking.gate.set()
    assert [future.result(10) for future in futures] == [2, 4, 6, 8]
    assert asking.groups == [[1], [2, 3, 4]]


def test_no_more_than_so_many_are_asked_at_once(pool):
    asking = Asking(most=2)
    futures = asking.behind(pool, [2, 3, 4, 5, 6])
    asking.gate.set()
    assert [future.result(10) for future in futures] == [2, 4, 6, 8, 10, 12]
    assert asking.groups == [[1], [2, 3], [4, 5], [6]]


def test_an_error_is_that_of_each_who_was_asked_for_and_of_no_other(pool):
    """Who asks later is answered."""
    asking = Asking(most=2)
    futures = asking.behind(pool, [12, 13, 14])
    asking.gate.set()
    assert [type(future.exception(10)) for future in futures] == [type(None), ValueError, ValueError, type(None)]
    assert asking.together.ask(15) == 30


def test_under_many_threads_each_has_its_own_answer(pool):
    asking = Asking(most=3)
    asking.gate.set()
    numbers = [number for number in range(400) if number != 13]
    assert list(pool.map(asking.together.ask, numbers)) == [2 * number for number in numbers]
    assert sorted(one for group in asking.groups for one in group) == numbers and not asking.together._under_way
