"""Composes scenes of things with captions that are true of them: what the captioners learn from and are tried on.

A scene is fully decided by its seed and its sort. Knows what is where and how it is said; not how it is
drawn (drawing.py), nor anything of networks.

Grammar. A scene has one side or two, and one to four things. A side is n of one thing ('two cats')
or two different things ('a cat and a guitar'). Captions go in reading order: of two sides the left or
upper one comes first, of two things of one side the one nearer to the upper left corner. A scene of which
two captions could be said is thrown anew, so each has exactly one.

    a pizza | two cats | a dog to the left of a red apple | four cats | a bell and a cat above a crown and an ox

Sorts. 'known': no composition that things.py holds out: all that training sees. 'new': at least one that it
holds out. 'strange': one of the things is held out altogether. 'crowd': nine known things, no caption;
only the encoder learns from them.

Seeds. The ranges below are disjoint: no training scene is ever tested on.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

from PIL import Image

from tasks.caption.training import things as known
from tasks.caption.training.drawing import Painter, read_sprites
from tasks.caption.vocabulary import NUMBERS

Sort = Literal["known", "new", "strange", "crowd"]
BOTH: tuple[Sort, Sort] = ("known", "new")  # sorts that captioners are measured on

TEST_SEEDS = range(0, 10_000)
VALIDATION_SEEDS = range(10_000, 20_000)
SAMPLE_SEEDS = range(20_000, 30_000)
TRAIN_SEEDS = range(1_000_000, 1_000_000_000)

NUMBER_WORDS = {n: word for word, n in NUMBERS.items()}
LAYOUTS = (  # things of one side and of the other, a letter a thing; how often: a quarter each of one to four things
    ("a", "", 25),
    ("aa", "", 7),
    ("a", "b", 18),
    ("aaa", "", 5),
    ("aa", "b", 10),
    ("ab", "c", 10),
    ("aaaa", "", 4),
    ("aaa", "b", 5),
    ("aa", "bb", 5),
    ("aa", "bc", 5),
    ("ab", "cd", 6),
)
SIZES = {1: (0.34, 0.62), 2: (0.32, 0.48), 3: (0.28, 0.40), 4: (0.26, 0.36)}  # longest side in picture sides
CROWD, CROWD_SIZES = 3, (0.22, 0.33)  # boxes a side
BORDER = (0.3, 0.7)  # where one side ends and the other begins
THROWS = 8  # for one thing, before all are thrown anew
CLEAR = 1.5  # middles lie at least this many times further apart along the relation than across it
CLEARLY_NEARER = 0.15  # of two things of one side: the difference of their x + y
WHOLE = (0.0, 0.0, 1.0, 1.0)

Box = tuple[float, float, float, float]  # left, top, right, bottom


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
    """What is to be drawn, and the tokens of its caption (none for a crowd)."""

    things: tuple[Placed, ...]
    tokens: tuple[str, ...]
    seed: int


class Composer:
    """Scenes of one set of sprites. `sprites`: by thing an RGBA picture, cropped to what is visible."""

    def __init__(self, sprites: dict[str, Image.Image]) -> None:
        self.painter = Painter(sprites)
        self.strange = tuple(sorted(thing for thing in sprites if known.is_strange(thing)))
        self.things = tuple(sorted(set(sprites) - set(self.strange)))

    @classmethod
    def read(cls, folder: Path) -> "Composer":
        """The things of images/emoji below the data folder; errors: FileNotFoundError."""
        return cls(read_sprites(folder, [row for row in known.rows(folder) if known.is_shown(row)]))

    def scene(self, seed: int, sort: Sort = "known") -> Scene:
        """The scene of a seed: the same on every machine."""
        chance = random.Random(seed)
        if sort == "crowd":
            return Scene(self._crowd(chance), (), seed)
        layouts = LAYOUTS[1:] if sort == "new" else LAYOUTS
        layout = chance.choices(layouts, [often for *_, often in layouts])[0]
        while True:
            letters = self._letters(sort, chance)
            sides = [[letters[letter] for letter in side] for side in layout[:2] if side]
            shown = [thing for side in sides for thing in side]
            if sort == "strange" and not set(shown) & set(self.strange):
                continue
            if sort == "strange" or bool(known.held_out(shown)) == (sort == "new"):
                return Scene(*_arranged(sides, chance), seed)

    def draw(self, scene: Scene, side: int) -> Image.Image:
        """The picture of a scene, side x side pixels, RGB."""
        return self.painter.draw(scene.things, side, scene.seed)

    def _letters(self, sort: Sort, chance: random.Random) -> dict[str, str]:
        """A thing for each letter of a layout."""
        chosen = chance.sample(self.things, 4)
        if sort == "strange":
            chosen[chance.randrange(4)] = chance.choice(self.strange)
        return dict(zip("abcd", chosen, strict=True))

    def _crowd(self, chance: random.Random) -> tuple[Placed, ...]:
        """Different things, one in each box of a grid, no two of them held out together."""
        chosen: list[str] = []
        for thing in chance.sample(self.things, min(len(self.things), 3 * CROWD**2)):
            if len(chosen) < CROWD**2 and not known.held_out([*chosen, thing]):
                chosen.append(thing)
        boxes = [
            (n % CROWD / CROWD, n // CROWD / CROWD, (n % CROWD + 1) / CROWD, (n // CROWD + 1) / CROWD)
            for n in range(CROWD**2)
        ]
        return tuple(_thrown(thing, box, CROWD_SIZES, chance) for thing, box in zip(chosen, boxes, strict=False))


def _arranged(sides: Sequence[Sequence[str]], chance: random.Random) -> tuple[tuple[Placed, ...], tuple[str, ...]]:
    """Throw things until none covers another and exactly one caption clearly holds; what lies where, and its tokens."""
    things = [thing for side in sides for thing in side]
    while True:
        boxes = _boxes(chance) if len(sides) == 2 else (WHOLE, WHOLE)
        placed = _scatter(
            [(thing, box) for side, box in zip(sides, boxes, strict=False) for thing in side],
            SIZES[len(things)],
            chance,
        )
        said = {tokens for one, other in _groupings(placed) if (tokens := _caption(one, other))} if placed else ()
        if len(said) == 1:
            return placed, said.pop()


def _boxes(chance: random.Random) -> tuple[Box, Box]:
    """Where each side is thrown: left and right, or above and below, either first."""
    border = chance.uniform(*BORDER)
    boxes = (
        ((0.0, 0.0, border, 1.0), (border, 0.0, 1.0, 1.0))
        if chance.random() < 0.5
        else ((0.0, 0.0, 1.0, border), (0.0, border, 1.0, 1.0))
    )
    return boxes if chance.random() < 0.5 else boxes[::-1]


def _scatter(
    things: Sequence[tuple[str, Box]], sizes: tuple[float, float], chance: random.Random
) -> tuple[Placed, ...]:
    """Each wholly inside its box and apart from the others; empty where one found no room."""
    placed: list[Placed] = []
    for thing, box in things:
        thrown = (_thrown(thing, box, sizes, chance) for _ in range(THROWS if _holds(box, sizes[0]) else 0))
        free = next((one for one in thrown if all(_apart(one, other) for other in placed)), None)
        if free is None:
            return ()
        placed.append(free)
    return tuple(placed)


def _holds(box: Box, size: float) -> bool:
    return min(box[2] - box[0], box[3] - box[1]) >= size


def _thrown(thing: str, box: Box, sizes: tuple[float, float], chance: random.Random) -> Placed:
    """Anywhere inside the box, of any of the sizes that it holds."""
    left, top, right, bottom = box
    size = chance.uniform(sizes[0], min(sizes[1], right - left, bottom - top))
    x, y = chance.uniform(left + size / 2, right - size / 2), chance.uniform(top + size / 2, bottom - size / 2)
    return Placed(thing, x, y, size, chance.random() < 0.5)


def _apart(one: Placed, other: Placed) -> bool:
    """No square around a thing touches another."""
    return max(abs(one.x - other.x), abs(one.y - other.y)) >= (one.size + other.size) / 2


def _groupings(placed: Sequence[Placed]) -> list[tuple[list[Placed], list[Placed]]]:
    """Every way to see the things as sides that the grammar knows; things of one kind stay together."""
    kinds = {p.thing: [q for q in placed if q.thing == p.thing] for p in placed}
    if len(kinds) == 1:
        return [(list(placed), [])]
    found = []
    for size in range(1, len(kinds)):
        for names in combinations(kinds, size):
            if next(iter(kinds)) in names:  # each way once
                sides = [[p for p in placed if (p.thing in names) == wanted] for wanted in (True, False)]
                found += [(sides[0], sides[1])] if all(map(_is_side, sides)) else []
    return found


def _is_side(placed: Sequence[Placed]) -> bool:
    kinds = len({p.thing for p in placed})
    return kinds == 1 or (kinds == 2 and len(placed) == 2)


def _caption(one: Sequence[Placed], other: Sequence[Placed]) -> tuple[str, ...] | None:
    """The tokens, in reading order; None where these sides cannot clearly be told."""
    if not other:
        return _side(one)
    for first, second in ((one, other), (other, one)):
        relation, before, behind = _relation(first, second), _side(first), _side(second)
        if relation and before and behind:
            return (*before, relation, *behind)
    return None


def _side(placed: Sequence[Placed]) -> tuple[str, ...] | None:
    """('two', 'cat'), or ('a', 'cat', 'and', 'a', 'guitar'); None where neither is clearly nearer to the corner."""
    if len({p.thing for p in placed}) == 1:
        return NUMBER_WORDS[len(placed)], placed[0].thing
    near, far = sorted(placed, key=lambda p: p.x + p.y)
    if far.x + far.y - near.x - near.y < CLEARLY_NEARER:
        return None
    return "a", near.thing, "and", "a", far.thing


def _relation(first: Sequence[Placed], second: Sequence[Placed]) -> str | None:
    """Whether the first side lies to the left of the second or above it; None where neither or both could be said.

    All of the first ends before any of the second begins, and the middles of the two sides are CLEAR
    times further apart along the relation than across it.
    """
    dx, dy = (
        sum(getattr(p, axis) for p in second) / len(second) - sum(getattr(p, axis) for p in first) / len(first)
        for axis in "xy"
    )
    if dx >= CLEAR * abs(dy) and _before(first, second, "x"):
        return "to the left of"
    if dy >= CLEAR * abs(dx) and _before(first, second, "y"):
        return "above"
    return None


def _before(ones: Sequence[Placed], others: Sequence[Placed], axis: str) -> bool:
    """Whether every one of the ones ends, along the axis, before any of the others begins."""
    return max(getattr(p, axis) + p.size / 2 for p in ones) <= min(getattr(p, axis) - p.size / 2 for p in others)
