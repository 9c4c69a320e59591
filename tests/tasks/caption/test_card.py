"""The scores of the card against scenes scored by hand."""

import pytest

from tasks.caption.training.card import most_confused, score
from tasks.caption.training.scenes import Placed, Scene


def scene(words: str, *things: str) -> Scene:
    return Scene(tuple(Placed(thing, 0.5, 0.5, 0.3, False) for thing in things), tuple(words.split("|")), seed=0)


SHOWN = [
    scene("a|cat|above|a|dog", "cat", "dog"),
    scene("two|cat", "cat", "cat"),
    scene("a|cat|to the left of|a|ox", "cat", "ox"),
    scene("a|ox", "ox"),
]


def test_scores_are_shares_of_scenes():
    """One of four is told exactly, two have their things right, one of two relations has the right word."""
    told = ["a|dog|above|a|cat", "a|cat", "a|cat|above|a|pig", "a|ox"]
    found = score(SHOWN, [words.split("|") for words in told])
    assert (found.exact, found.things, found.relation) == pytest.approx((1 / 4, 2 / 4, 1 / 2))


def test_a_wrong_number_is_a_wrong_thing():
    """'A cat' for two cats names the right thing and yet is wrong."""
    found = score([SHOWN[1]], [["a", "cat"]])
    assert found.exact == found.things == 0.0


def test_what_is_missed_is_listed_with_what_was_said_instead():
    """The ox, shown twice, was once taken for a pig; the cat was never missed."""
    told = ["a|cat|above|a|dog", "two|cat", "a|cat|to the left of|a|pig", "a|ox"]
    assert most_confused(SHOWN, [words.split("|") for words in told]) == ["| ox | 1 of 2 | pig (1) |"]
