"""Classes and groups: which words a distribution gets, by hand, and that the file that ships covers all classes."""

import re
from pathlib import Path

import numpy as np
import pytest

import tasks.caption
from tasks.caption.classes import EVERYTHING, Classes

SHIPPED = Path(tasks.caption.__file__).parent / "weights" / "cnn" / "classes.txt"
FILE = """an animal
  a cat
    1 a tiger cat
    0 a tabby cat
  2 a newt
a vehicle
  3 a tram
4 a bubble
"""


@pytest.fixture
def classes(tmp_path):
    (tmp_path / "classes.txt").write_text(FILE)
    return Classes.read(tmp_path / "classes.txt")


@pytest.fixture(scope="module")
def shipped():
    return Classes.read(SHIPPED)


@pytest.mark.parametrize(
    ("probabilities", "caption", "chance", "vague"),
    [
        ([0.1, 0.7, 0.1, 0.1, 0.0], "a tiger cat", 0.7, False),
        ([0.1, 0.6, 0.1, 0.1, 0.1], "a tiger cat", 0.6, False),
        ([0.4, 0.5, 0.0, 0.1, 0.0], "a cat", 0.9, False),
        ([0.2, 0.3, 0.3, 0.2, 0.0], "an animal", 0.8, True),
        ([0.1, 0.2, 0.1, 0.4, 0.2], EVERYTHING, 1.0, True),
    ],
)
def test_words_are_as_narrow_as_the_model_is_sure(classes, probabilities, caption, chance, vague):
    """A class at 0.6, else the smallest group that sums to 0.6, else everything."""
    said = classes.say(np.array(probabilities), sure=0.6)
    assert (said.caption, said.vague) == (caption, vague) and said.probability == pytest.approx(chance)


def test_a_gap_in_the_numbers_is_refused(tmp_path):
    (tmp_path / "classes.txt").write_text("0 a cat\n2 a dog\n")
    with pytest.raises(ValueError, match="gap"):
        Classes.read(tmp_path / "classes.txt")


def test_all_classes_have_words_and_a_group(shipped):
    """A thousand, no two alike; all but three lie in a group; groups are of two classes at least, but for a few."""
    assert len(set(shipped.names)) == len(shipped.names) == 1000
    outermost = [group for group in shipped.groups if group.level == 1]
    assert sum(len(group.members) for group in outermost) == 997
    assert len({group.name for group in shipped.groups}) == len(shipped.groups)
    assert min(len(group.members) for group in shipped.groups) >= 2


def test_each_class_and_group_has_its_article(shipped):
    """'a' before a consonant's sound, 'an' before a vowel's; none before plurals and what is not counted."""
    sounds_consonant = re.compile(r"(?i)eu|uni|one\b|one-|ewe|u[- ]")
    for words in [*shipped.names, *(group.name for group in shipped.groups)]:
        article, _, rest = words.partition(" ")
        vowel = (rest[:1].lower() in "aeiou" and not sounds_consonant.match(rest)) or rest.startswith("hour")
        if article in ("a", "an"):
            assert article == ("an" if vowel else "a"), words
        else:
            assert not words[0].isupper(), words


@pytest.mark.parametrize(
    ("number", "words", "groups"),
    [
        (282, "a tiger cat", ["a cat", "a feline", "a mammal", "an animal"]),
        (207, "a golden retriever", ["a retriever", "a dog", "a mammal", "an animal"]),
        (1, "a goldfish", ["a fish", "an animal"]),
        (468, "a taxi", ["a car", "a road vehicle", "a vehicle", "a man-made thing"]),
        (604, "an hourglass", ["a clock or watch", "a tool or piece of hardware", "a man-made thing"]),
        (954, "a banana", ["fruit", "food or drink"]),
        (980, "a volcano", ["a mountain or cliff", "a landscape"]),
    ],
)
def test_classes_lie_where_one_expects_them(shipped, number, words, groups):
    assert shipped.names[number] == words
    assert [group.name for group in shipped.groups if number in group.members][:-1] == groups
