"""Gathering: nobody waits for company, callers take turns, and an error is its own list's alone."""

import asyncio
import threading

import pytest

from api.server.gathering import Gathering


class Lists:
    """Answers lists once it may; `seen` has each list that was asked."""

    def __init__(self, most: int = 4, heaviest: int = 100) -> None:
        self.seen: list[list[str]] = []
        self.may, self.under_way = threading.Event(), threading.Event()
        self.gathering = Gathering(self._answer, most, heaviest, "lists")

    def _answer(self, asked):
        self.seen.append(list(asked))
        self.under_way.set()
        assert self.may.wait(20)
        if "bad" in asked:
            raise ValueError("bad")
        return [one.upper() for one in asked]

    async def answers(self, *asked: str, weight: int = 1) -> list:
        """The answers to what is asked while a first list is under way; `a1` is asked by a."""
        first = asyncio.ensure_future(self.gathering.ask("first", "first"))
        await asyncio.to_thread(self.under_way.wait, 20)
        others = [asyncio.ensure_future(self.gathering.ask(one[0], one, weight)) for one in asked]
        await asyncio.sleep(0)
        self.may.set()
        return await asyncio.gather(first, *others, return_exceptions=True)


@pytest.fixture
def lists():
    made = Lists()
    yield made
    made.may.set()
    made.gathering.close()


def test_one_that_comes_alone_is_answered_alone(lists):
    lists.may.set()
    assert asyncio.run(lists.gathering.ask("a", "a1")) == "A1"
    assert asyncio.run(lists.gathering.ask("a", "a2")) == "A2"  # on another loop
    assert lists.seen == [["a1"], ["a2"]]


def test_callers_take_turns_in_the_lists_that_follow(lists):
    """One that asks for much delays another by a list at most."""
    answers = asyncio.run(lists.answers("a1", "a2", "a3", "a4", "a5", "b1"))
    assert answers == ["FIRST", "A1", "A2", "A3", "A4", "A5", "B1"]
    assert lists.seen == [["first"], ["a1", "b1", "a2", "a3"], ["a4", "a5"]]


def test_a_list_ends_where_it_is_heavy_enough(lists):
    asyncio.run(lists.answers("a1", "a2", "a3", weight=50))
    assert lists.seen == [["first"], ["a1", "a2"], ["a3"]]


def test_an_error_is_that_of_its_list_alone(lists):
    first, *others = asyncio.run(lists.answers("a1", "bad", "a2", "a3", "a4"))
    assert (first, others[-1]) == ("FIRST", "A4")
    assert [type(other) for other in others[:-1]] == [ValueError] * 4


def test_a_caller_that_left_is_not_asked_for(lists):
    async def leave() -> None:
        first = asyncio.ensure_future(lists.gathering.ask("first", "first"))
        await asyncio.to_thread(lists.under_way.wait, 20)
        gone = asyncio.ensure_future(lists.gathering.ask("a", "a1"))
        stays = asyncio.ensure_future(lists.gathering.ask("a", "a2"))
        await asyncio.sleep(0)
        gone.cancel()
        lists.may.set()
        assert await asyncio.gather(first, stays) == ["FIRST", "A2"]

    asyncio.run(leave())
    assert lists.seen == [["first"], ["a2"]]
