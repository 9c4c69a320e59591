"""Composes pictures of things with captions that are true of them: what the captioner learns from and is tried on.

The things are emoji pictures (Noto Color Emoji, Apache-2.0) of the data set images/emoji. A scene is
fully decided by its seed. Knows nothing of networks.

Grammar. A scene has one side or two, and one to three things. A side is n of one thing ('two cats')
or two different things ('a cat and a guitar'). Captions go in reading order: of two sides the left or
upper one comes first, of two things of one side the one nearer to the upper left corner. So each
scene has one caption.

    a pizza | two cats | a dog to the left of a red apple | two cats above a guitar | a bell and a cat above a crown

Seeds. The ranges below are disjoint: no training scene is ever tested on.
"""

import csv
import io
import random
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.caption.vocabulary import NUMBERS

TEST_SEEDS = range(0, 10_000)
VALIDATION_SEEDS = range(10_000, 20_000)
SAMPLE_SEEDS = range(20_000, 30_000)
TRAIN_SEEDS = range(1_000_000, 1_000_000_000)

GROUPS = {"Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects"}
LEFT_OUT_SUBGROUPS = {"time", "sky & weather"}  # clock faces and moons differ by a hand or a shade only
NAME = re.compile(r"((red|green|blue|orange|white) )?[a-z]+")
NEWEST_EMOJI = 0.7  # the oldest and best known pictures
NOT_A_COUNTED_THING = {  # substances, events, views, plurals and bare shapes: 'two foggies' is no caption
    "bread", "popcorn", "spaghetti", "oden", "sushi", "dango", "custard", "sake", "foggy", "cityscape", "sunrise",
    "sunset", "construction", "badminton", "desert", "motorway", "herb", "blossom", "link", "fire", "cooking",
    "camping", "wedding", "bowling", "bacon", "locked", "unlocked"}
NUMBER_WORDS = {n: word for word, n in NUMBERS.items()}

LAYOUTS = (  # things of one side and of the other, a letter a thing; how often
    ("a", "", 20), ("aa", "", 9), ("aaa", "", 6), ("a", "b", 35), ("aa", "b", 15), ("ab", "c", 15))
SIZES = {1: (0.34, 0.62), 2: (0.32, 0.48), 3: (0.30, 0.42)}  # longest side in picture sides, by things shown
CLEAR = 1.5  # middles lie at least this many times further apart along the relation than across it
CLEARLY_NEARER = 0.15  # of two things of one side: the difference of their x + y


@dataclass(frozen=True)
class Placed:
    """One thing in the picture. x, y: its middle; size: its longest side; all in picture sides, y downwards."""

    thing: str
    x: float
    y: float
    size: float
    mirrored: bool


@dataclass(frozen=True)
class Scene:
    """What is to be drawn, and the tokens of its caption."""

    things: tuple[Placed, ...]
    tokens: tuple[str, ...]
    seed: int


class Composer:
    """Scenes of one set of sprites. `sprites`: by thing an RGBA picture, cropped to what is visible."""

    def __init__(self, sprites: dict[str, Image.Image]) -> None:
        self.sprites = sprites
        self.things = tuple(sorted(sprites))
        self._sprite = lru_cache(maxsize=30_000)(self._resized)
        self._grain = np.random.default_rng(0).normal(size=(512, 512, 1)).astype(np.float32)

    @classmethod
    def read(cls, folder: Path) -> "Composer":
        """The things of images/emoji below the data folder; errors: FileNotFoundError."""
        with zipfile.ZipFile(folder / "png128.zip") as pictures:
            return cls({row["name"]: _cropped(pictures.read(row["file"])) for row in _rows(folder) if is_shown(row)})

    def scene(self, seed: int) -> Scene:
        """The scene of a seed: the same on every machine."""
        chance = random.Random(seed)
        layout = chance.choices(LAYOUTS, [often for *_, often in LAYOUTS])[0]
        letters = dict(zip("abc", chance.sample(self.things, 3), strict=True))
        sides = [[letters[letter] for letter in side] for side in layout[:2] if side]
        return Scene(*_arranged(sides, chance), seed)

    def draw(self, scene: Scene, side: int) -> Image.Image:
        """The picture of a scene, side x side pixels, RGB."""
        picture = self._background(np.random.default_rng(scene.seed), side)
        for placed in scene.things:
            sprite = self._sprite(placed.thing, max(1, round(placed.size * side)), placed.mirrored)
            corner = (round(placed.x * side - sprite.width / 2), round(placed.y * side - sprite.height / 2))
            picture.paste(sprite, corner, sprite)
        return picture

    def _resized(self, thing: str, longest: int, mirrored: bool) -> Image.Image:
        sprite = self.sprites[thing]
        scale = longest / max(sprite.size)
        small = sprite.resize([max(1, round(length * scale)) for length in sprite.size], Image.Resampling.LANCZOS)
        return small.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else small

    def _background(self, chance: np.random.Generator, side: int) -> Image.Image:
        """A plain colour, half the time a gradient between two, a third of the time with mild grain."""
        colour = chance.uniform(40, 255, size=3).astype(np.float32)
        pixels = np.broadcast_to(colour, (side, side, 3))
        if chance.random() < 0.5:
            ramp = np.linspace(0, 1, side, dtype=np.float32)
            ramp = ramp[:, None, None] if chance.random() < 0.5 else ramp[None, :, None]
            pixels = pixels + ramp * (chance.uniform(40, 255, size=3).astype(np.float32) - colour)
        if chance.random() < 1 / 3:
            top, left = chance.integers(0, 512 - min(side, 511), size=2)
            grain = self._grain[top:top + side, left:left + side]
            pixels = pixels + chance.uniform(2, 12) * np.resize(grain, (side, side, 1))
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def is_shown(row: dict) -> bool:
    """The rule by which a row of names.tsv becomes a thing of the scenes; it looks at words only."""
    return (row["kind"] == "single" and row["group"] in GROUPS and row["subgroup"] not in LEFT_OUT_SUBGROUPS
            and NAME.fullmatch(row["name"]) is not None and float(row["emoji_version"]) <= NEWEST_EMOJI
            and not row["name"].endswith("s") and row["name"] not in NOT_A_COUNTED_THING)


def _rows(folder: Path) -> list[dict]:
    with (folder / "names.tsv").open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table, delimiter="\t"))


def _cropped(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    return picture.crop(picture.getchannel("A").getbbox())


def _arranged(sides: Sequence[Sequence[str]], chance: random.Random) -> tuple[tuple[Placed, ...], tuple[str, ...]]:
    """Throw things until none covers another and one caption clearly holds; what lies where, and its tokens."""
    things = [thing for side in sides for thing in side]
    while True:
        placed = _scatter(things, chance)
        tokens = _caption(placed[:len(sides[0])], placed[len(sides[0]):]) if _apart(placed) else None
        if tokens:
            return placed, tokens


def _caption(one: Sequence[Placed], other: Sequence[Placed]) -> tuple[str, ...] | None:
    """The tokens, in reading order; None where two captions could be said."""
    if not other:
        return _side(one)
    for first, second in ((one, other), (other, one)):
        relation, sides = _relation(first, second), (_side(first), _side(second))
        if relation and all(sides):
            return (*sides[0], relation, *sides[1])
    return None


def _side(placed: Sequence[Placed]) -> tuple[str, ...] | None:
    """('two', 'cat'), or ('a', 'cat', 'and', 'a', 'guitar'); None where neither is clearly nearer to the corner."""
    if len({p.thing for p in placed}) == 1:
        return NUMBER_WORDS[len(placed)], placed[0].thing
    near, far = sorted(placed, key=lambda p: p.x + p.y)
    if far.x + far.y - near.x - near.y < CLEARLY_NEARER:
        return None
    return "a", near.thing, "and", "a", far.thing


def _scatter(things: Sequence[str], chance: random.Random) -> tuple[Placed, ...]:
    """Each wholly inside the picture, of any allowed size."""
    smallest, largest = SIZES[len(things)]
    placed = []
    for thing in things:
        size = chance.uniform(smallest, largest)
        x, y = (chance.uniform(size / 2, 1 - size / 2) for _ in "xy")
        placed.append(Placed(thing, x, y, size, chance.random() < 0.5))
    return tuple(placed)


def _apart(placed: Sequence[Placed]) -> bool:
    """No square around a thing touches another."""
    return all(max(abs(a.x - b.x), abs(a.y - b.y)) >= (a.size + b.size) / 2 for a, b in combinations(placed, 2))


def _relation(first: Sequence[Placed], second: Sequence[Placed]) -> str | None:
    """Whether the first side lies to the left of the second or above it; None where neither or both could be said.

    All of the first ends before any of the second begins, and the middles of the two sides are CLEAR
    times further apart along the relation than across it.
    """
    dx, dy = (sum(getattr(p, axis) for p in second) / len(second) - sum(getattr(p, axis) for p in first) / len(first)
              for axis in "xy")
    if dx >= CLEAR * abs(dy) and _before(first, second, "x"):
        return "to the left of"
    if dy >= CLEAR * abs(dx) and _before(first, second, "y"):
        return "above"
    return None


def _before(ones: Sequence[Placed], others: Sequence[Placed], axis: str) -> bool:
    """Whether every one of the ones ends, along the axis, before any of the others begins."""
    return (max(getattr(p, axis) + p.size / 2 for p in ones)
            <= min(getattr(p, axis) - p.size / 2 for p in others))
