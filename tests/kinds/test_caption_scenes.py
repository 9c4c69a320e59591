"""Composed scenes and their words. Needs no network; what draws real sprites needs BACKLOT_DATA."""

import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.caption import scenes
from tasks.caption.scenes import Composer
from tasks.caption.vocabulary import MAX_TOKENS, RELATIONS, Vocabulary, meaning, plural, sentence

COLOURS = {"cat": "red", "dog": "blue", "ox": "green", "pizza": "yellow"}


@pytest.fixture
def composer():
    """Of four things, each a square of one colour."""
    return Composer({thing: Image.new("RGBA", (128, 128), colour) for thing, colour in COLOURS.items()})


@pytest.fixture
def many(composer):
    return [composer.scene(seed) for seed in range(500)]


def test_a_seed_decides_the_scene(composer):
    """The same seed gives the same things, words and pixels, in another composer too."""
    other = Composer(composer.sprites)
    for seed in range(20):
        assert composer.scene(seed) == other.scene(seed)
        ours, theirs = (np.asarray(c.draw(c.scene(seed), 96)) for c in (composer, other))
        assert np.array_equal(ours, theirs)


def test_different_seeds_give_different_scenes(many):
    assert len({(scene.tokens, scene.things) for scene in many}) == len(many)


def test_training_never_sees_a_seed_of_test_validation_or_samples():
    """The four ranges are disjoint."""
    ranges = [scenes.TEST_SEEDS, scenes.VALIDATION_SEEDS, scenes.SAMPLE_SEEDS, scenes.TRAIN_SEEDS]
    for one, other in combinations(ranges, 2):
        assert one.stop <= other.start or other.stop <= one.start


def test_the_recipe_keeps_to_the_training_seeds():
    """The last scene of the last step is still one of TRAIN_SEEDS, and the first is not below them."""
    train = pytest.importorskip("tasks.caption.train")
    first, last = (train.seeds(step) for step in (0, train.CnnLstm.steps - 1))
    assert first.start == scenes.TRAIN_SEEDS.start and last.stop <= scenes.TRAIN_SEEDS.stop
    assert train.seeds(1).start == first.stop


def test_the_taught_map_sums_to_the_number_and_the_place_of_a_thing():
    """Shared between the two places next to it, a thing still counts once and lies where it lies."""
    train = pytest.importorskip("tasks.caption.train")
    for place in (0.1, 0.25, 0.5, 0.61, 0.9):
        parts = train.shares(place, places=5)
        assert sum(part for _, part in parts) == pytest.approx(1)
        assert sum((number + 0.5) / 5 * part for number, part in parts) == pytest.approx(place)


def test_a_caption_names_what_is_drawn(composer, many):
    """Things and numbers of the words are those of the picture; of one to three things."""
    for scene in many:
        shown = [placed.thing for placed in scene.things]
        things, relation = meaning(scene.tokens)
        assert things == {thing: shown.count(thing) for thing in shown} and 1 <= len(shown) <= 3
        assert (relation is None) == (len(set(shown)) == 1)


def test_every_relation_is_as_it_is_said(many):
    """'A above b': every a ends before any b begins, from above; 'to the left of' likewise."""
    heard = set()
    for scene in many:
        relation = meaning(scene.tokens)[1]
        if relation is None:
            continue
        words = scene.tokens[:scene.tokens.index(relation)]
        first = [p for p in scene.things if p.thing in words]
        second = [p for p in scene.things if p.thing not in words]
        axis = {"above": "y", "to the left of": "x"}[relation]
        assert max(getattr(p, axis) + p.size / 2 for p in first) <= min(getattr(p, axis) - p.size / 2 for p in second)
        heard.add(relation)
    assert heard == set(RELATIONS)


def test_of_two_things_of_one_side_the_nearer_to_the_corner_is_named_first(many):
    """'A cat and a dog': the cat is clearly nearer to the upper left corner."""
    pairs = [scene for scene in many if "and" in scene.tokens]
    assert pairs
    for scene in pairs:
        place = scene.tokens.index("and")
        first, second = (next(p for p in scene.things if p.thing == scene.tokens[n]) for n in (place - 1, place + 2))
        assert second.x + second.y - first.x - first.y >= scenes.CLEARLY_NEARER


def test_things_lie_apart_and_inside(many):
    """Nothing covers another thing or leaves the picture."""
    for scene in many:
        for p in scene.things:
            assert p.size / 2 <= min(p.x, p.y) and max(p.x, p.y) <= 1 - p.size / 2
        for a, b in combinations(scene.things, 2):
            assert max(abs(a.x - b.x), abs(a.y - b.y)) >= (a.size + b.size) / 2


def test_a_thing_is_drawn_where_the_scene_says(composer):
    """The middle of each thing has its colour, at any size of the picture."""
    for seed in range(20):
        scene = composer.scene(seed)
        for side in (96, 200):
            picture = composer.draw(scene, side)
            for p in scene.things:
                sprite = composer.sprites[p.thing].getpixel((64, 64))[:3]
                assert picture.getpixel((int(p.x * side), int(p.y * side))) == sprite


@pytest.mark.parametrize(("tokens", "words"), [
    ("", ""), ("a|pizza", "a pizza"),
    ("two|mouse", "two mice"),
    ("three|wolf|above|a|ox", "three wolves above an ox"),
    ("a|dog|to the left of|a|red apple", "a dog to the left of a red apple"),
    ("two|cat|above|a|guitar", "two cats above a guitar"),
    ("a|bell|and|a|ox|above|a|envelope", "a bell and an ox above an envelope"),
    ("two|red apple|to the left of|a|unicorn", "two red apples to the left of a unicorn"),
    ("three|battery", "three batteries"), ("two|church", "two churches"), ("three|monkey", "three monkeys"),
    ("two|paintbrush", "two paintbrushes"), ("two|fish", "two fish"), ("three|volcano", "three volcanoes")])
def test_tokens_become_english(tokens, words):
    """Articles follow the next sound, plurals the number."""
    assert sentence(tokens.split("|") if tokens else []) == words


def test_tokens_survive_the_vocabulary(many):
    """Encoded and decoded, every caption is itself, and fits the longest sentence."""
    vocabulary = Vocabulary(COLOURS)
    for scene in many:
        numbers = vocabulary.encode(scene.tokens)
        assert len(numbers) <= MAX_TOKENS and tuple(vocabulary.decode(numbers)) == scene.tokens


def test_the_data_set_gives_at_least_150_things_with_one_plural_each():
    """The rule finds enough things, none of them twice, and no plural is another thing's."""
    composer = Composer.read(emoji())
    assert len(composer.things) >= 150
    assert len({plural(thing) for thing in composer.things}) == len(composer.things)


def emoji() -> Path:
    folder = Path(os.environ.get("BACKLOT_DATA", "/nowhere")) / "images" / "emoji"
    if not folder.exists():
        pytest.skip("BACKLOT_DATA IS NOT SET OR HAS NO images/emoji: real scenes are not tested")
    return folder
