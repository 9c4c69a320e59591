"""Composed scenes and their words. Needs no network; what draws real sprites is marked `data`."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from tasks.caption.training import encoder as train_encoder
from tasks.caption.training import scenes, things
from tasks.caption.training import tellers as train_tellers
from tasks.caption.training.drawing import Painter
from tasks.caption.training.scenes import Composer, Placed
from tasks.caption.vocabulary import MAX_TOKENS, RELATIONS, Vocabulary, Words, meaning, plural, sentence, vocabulary

COLOURS = {
    "cat": "red",
    "dog": "blue",
    "ox": "green",
    "pizza": "yellow",
    "bell": "black",
    "ring": "white",
    "key": "purple",
    "crown": "orange",
}  # crown: one that the rule holds out altogether


@pytest.fixture(scope="module")
def composer():
    """Of eight things, each a square of one colour."""
    return Composer({thing: Image.new("RGBA", (128, 128), colour) for thing, colour in COLOURS.items()})


@pytest.fixture(scope="module")
def many(composer):
    return [composer.scene(seed) for seed in range(500)]


def test_a_seed_decides_the_scene(composer):
    """The same seed gives the same things, words and pixels, in another composer too."""
    other = Composer(composer.painter.sprites)
    for seed in range(20):
        for sort in ("known", "strange", "crowd"):
            assert composer.scene(seed, sort) == other.scene(seed, sort)
        ours, theirs = (np.asarray(c.draw(c.scene(seed), 96)) for c in (composer, other))
        assert np.array_equal(ours, theirs)


def test_different_seeds_give_different_scenes(many):
    assert len({(scene.tokens, scene.things) for scene in many}) == len(many)


def test_training_never_sees_a_seed_of_test_validation_or_samples():
    """The four ranges are disjoint."""
    ranges = [scenes.TEST_SEEDS, scenes.VALIDATION_SEEDS, scenes.SAMPLE_SEEDS, scenes.TRAIN_SEEDS]
    for one, other in combinations(ranges, 2):
        assert one.stop <= other.start or other.stop <= one.start


@pytest.mark.parametrize(
    ("recipe", "steps"),
    [(train_encoder, train_encoder.Encoder.steps), (train_tellers, train_tellers.SceneTeller.steps)],
)
def test_the_recipes_keep_to_the_training_seeds(recipe, steps):
    """The last scene of the last step is still one of TRAIN_SEEDS, and no two steps share one."""
    first, last = recipe.seeds(0), recipe.seeds(steps - 1)
    assert first.start >= scenes.TRAIN_SEEDS.start and last.stop <= scenes.TRAIN_SEEDS.stop
    assert recipe.seeds(1).start == first.stop


def test_decoders_are_taught_by_scenes_that_the_encoder_has_not_learned_by_heart():
    """What the encoder sees of pictures it was trained on would be too good."""
    assert train_encoder.seeds(train_encoder.Encoder.steps).start <= train_tellers.seeds(0).start


@pytest.mark.data("images/emoji")
def test_a_known_scene_has_no_composition_that_is_held_out_and_a_new_one_has(real_data):
    """Over the real things: training sees none of the pairs and numbers of the test."""
    composer = Composer.read(real_data / "images" / "emoji")
    trained, tested = set(), set()
    for seed in range(1500):
        known, new, crowd = (composer.scene(seed, sort) for sort in ("known", "new", "crowd"))
        trained |= things.compositions(p.thing for p in known.things) | things.compositions(
            p.thing for p in crowd.things
        )
        held_out = things.held_out(p.thing for p in new.things)
        assert held_out
        tested |= held_out
    assert len(tested) > 500 and not trained & tested


@pytest.mark.data("images/emoji")
def test_a_strange_thing_is_in_no_other_sort_of_scene_and_has_no_word(real_data):
    """Over the real things: the rule holds some out, and only 'strange' scenes show them."""
    composer = Composer.read(real_data / "images" / "emoji")
    assert len(composer.strange) >= 5 and not set(composer.strange) & set(composer.things)
    for seed in range(300):
        for sort in ("known", "new", "crowd"):
            assert not {p.thing for p in composer.scene(seed, sort).things} & set(composer.strange)
        assert {p.thing for p in composer.scene(seed, "strange").things} & set(composer.strange)


def test_compositions_are_pairs_and_numbers():
    """By hand: of two cats, a dog and an ox."""
    assert things.compositions(["cat", "dog", "cat", "ox"]) == {"cat+dog", "cat+ox", "dog+ox", "2 cat"}
    assert things.compositions(["cat"]) == set()


def test_the_taught_map_sums_to_the_number_and_the_place_of_a_thing():
    """Shared between the two places next to it, a thing still counts once and lies where it lies."""
    for place in (0.1, 0.25, 0.5, 0.61, 0.9):
        parts = train_encoder.shares(place, places=5)
        assert sum(part for _, part in parts) == pytest.approx(1)
        assert sum((number + 0.5) / 5 * part for number, part in parts) == pytest.approx(place)


def test_a_caption_names_what_is_drawn(many):
    """Things and numbers of the words are those of the picture; of one to four things, each about as often."""
    for scene in many:
        shown = [placed.thing for placed in scene.things]
        counted, relation = meaning(scene.tokens)
        assert counted == {thing: shown.count(thing) for thing in shown}
        assert (relation is None) == (len(set(shown)) == 1)
    numbers = Counter(len(scene.things) for scene in many)
    assert set(numbers) == {1, 2, 3, 4} and min(numbers.values()) > 90


def test_every_relation_is_as_it_is_said(many):
    """'A above b': every a ends before any b begins, from above; 'to the left of' likewise."""
    heard = set()
    for scene in many:
        relation = meaning(scene.tokens)[1]
        if relation is None:
            continue
        words = scene.tokens[: scene.tokens.index(relation)]
        first = [p for p in scene.things if p.thing in words]
        second = [p for p in scene.things if p.thing not in words]
        axis = {"above": "y", "to the left of": "x"}[relation]
        assert max(getattr(p, axis) + p.size / 2 for p in first) <= min(getattr(p, axis) - p.size / 2 for p in second)
        heard.add(relation)
    assert heard == set(RELATIONS)


def at(thing, x, y):
    return Placed(thing, x, y, 0.2, False)


@pytest.mark.parametrize(
    ("placed", "captions"),
    [
        ([at("cat", 0.1, 0.2), at("dog", 0.4, 0.3), at("ox", 0.9, 0.2)], 2),  # in a row: cat | dog ox, or cat dog | ox
        ([at("cat", 0.2, 0.1), at("dog", 0.5, 0.15), at("ox", 0.4, 0.9)], 1),
        ([at("cat", 0.1, 0.1), at("dog", 0.9, 0.15), at("ox", 0.1, 0.85), at("key", 0.9, 0.9)], 2),
    ],
)  # 2 columns, 2 rows
def test_a_scene_of_which_two_captions_could_be_said_is_told_from_others(placed, captions):
    """The ways to see them as two sides; the composer takes scenes with one way only."""
    said = {scenes._caption(one, other) for one, other in scenes._groupings(placed)} - {None}
    assert len(said) == captions


def test_each_scene_has_exactly_one_caption(many):
    """Whatever the grouping, nothing else could be said."""
    for scene in many:
        said = {scenes._caption(one, other) for one, other in scenes._groupings(scene.things)} - {None}
        assert said == {scene.tokens}


def test_things_lie_apart_and_inside(composer, many):
    """Nothing covers another thing or leaves the picture; crowds too."""
    for scene in [*many, *(composer.scene(seed, "crowd") for seed in range(50))]:
        for p in scene.things:
            assert p.size / 2 <= min(p.x, p.y) + 1e-9 and max(p.x, p.y) <= 1 - p.size / 2 + 1e-9
        for a, b in combinations(scene.things, 2):
            assert max(abs(a.x - b.x), abs(a.y - b.y)) >= (a.size + b.size) / 2 - 1e-9


def test_a_thing_is_drawn_where_the_scene_says(composer, monkeypatch):
    """In plain light and without faults, the middle of each thing has its colour, at any size of the picture."""
    monkeypatch.setattr(Painter, "_taken", lambda self, picture, chance: picture)
    for seed in range(20):
        scene = composer.scene(seed)
        for side in (96, 200):
            picture = composer.draw(scene, side)
            for p in scene.things:
                sprite = composer.painter.sprites[p.thing].getpixel((64, 64))[:3]
                assert picture.getpixel((int(p.x * side), int(p.y * side))) == sprite


def test_light_and_faults_differ_from_scene_to_scene(composer):
    """Of a hundred pictures some are dim and some bright, and every thing is dimmer or brighter than its sprite."""
    means = [np.asarray(composer.draw(composer.scene(seed), 96)).mean() for seed in range(100)]
    assert min(means) < 70 and max(means) > 180


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ("", ""),
        ("a|pizza", "a pizza"),
        ("two|mouse", "two mice"),
        ("four|wolf", "four wolves"),
        ("three|wolf|above|a|ox", "three wolves above an ox"),
        ("a|dog|to the left of|a|red apple", "a dog to the left of a red apple"),
        ("two|cat|above|a|guitar", "two cats above a guitar"),
        ("a|bell|and|a|ox|above|a|envelope", "a bell and an ox above an envelope"),
        ("a|bell|and|a|ox|above|a|cat|and|a|key", "a bell and an ox above a cat and a key"),
        ("two|red apple|to the left of|a|unicorn", "two red apples to the left of a unicorn"),
        ("three|battery", "three batteries"),
        ("two|church", "two churches"),
        ("three|monkey", "three monkeys"),
        ("two|paintbrush", "two paintbrushes"),
        ("two|fish", "two fish"),
        ("three|volcano", "three volcanoes"),
    ],
)
def test_tokens_become_english(tokens, words):
    """Articles follow the next sound, plurals the number."""
    assert sentence(tokens.split("|") if tokens else []) == words


def test_tokens_survive_the_vocabulary(many):
    """Encoded and decoded, every caption is itself, and fits the longest sentence; the config makes the same again."""
    known = vocabulary(Vocabulary(COLOURS).config())
    for scene in many:
        numbers = known.encode(scene.tokens)
        assert len(numbers) <= MAX_TOKENS and tuple(known.decode(numbers)) == scene.tokens


def test_plain_words_survive_their_vocabulary_and_its_config():
    """Of other captions: words as they are, and what was never learned is left out."""
    known = Words.of([["there", "is", "a", "tree"], ["many", "trees"]])
    again = vocabulary(known.config())
    assert again.decode(again.encode(["many", "green", "trees"])) == ["many", "trees"]
    assert known.longest == 5 and again.sentence(["a", "tree"]) == "a tree"


@pytest.mark.data("images/emoji")
def test_the_data_set_gives_at_least_150_things_with_one_plural_each(real_data):
    """The rule finds enough things, none of them twice, and no plural is another thing's."""
    composer = Composer.read(real_data / "images" / "emoji")
    assert len(composer.things) >= 150
    assert len({plural(thing) for thing in composer.things}) == len(composer.things)
