"""Which things there are in scenes, and which of them, alone or together, training never sees.

Things are emoji pictures with their names (the data set images/emoji); every rule here looks at words only,
never at results. Knows nothing of how a scene is arranged or drawn.

    things         all that `is_shown` takes
    strange        things held out altogether: in no training scene, and not in the vocabulary
    compositions   two different things in one picture, or a number above one of a thing; a tenth of them is held out
"""

import csv
import re
import zlib
from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

GROUPS = {"Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects"}
LEFT_OUT_SUBGROUPS = {"time", "sky & weather"}  # clock faces and moons differ by a hand or a shade only
NAME = re.compile(r"((red|green|blue|orange|white) )?[a-z]+")
NEWEST_EMOJI = 0.7  # the oldest and best known pictures
NOT_A_COUNTED_THING = {  # substances, events, views, plurals and bare shapes: 'two foggies' is no caption
    "bread",
    "popcorn",
    "spaghetti",
    "oden",
    "sushi",
    "dango",
    "custard",
    "sake",
    "foggy",
    "cityscape",
    "sunrise",
    "sunset",
    "construction",
    "badminton",
    "desert",
    "motorway",
    "herb",
    "blossom",
    "link",
    "fire",
    "cooking",
    "camping",
    "wedding",
    "bowling",
    "bacon",
    "locked",
    "unlocked",
}
STRANGE_ONE_IN = 12
HELD_OUT_ONE_IN = 10


def is_shown(row: dict) -> bool:
    """The rule by which a row of names.tsv becomes a thing of the scenes."""
    return (
        row["kind"] == "single"
        and row["group"] in GROUPS
        and row["subgroup"] not in LEFT_OUT_SUBGROUPS
        and NAME.fullmatch(row["name"]) is not None
        and float(row["emoji_version"]) <= NEWEST_EMOJI
        and not row["name"].endswith("s")
        and row["name"] not in NOT_A_COUNTED_THING
    )


def rows(folder: Path) -> list[dict]:
    """names.tsv of images/emoji."""
    with (folder / "names.tsv").open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table, delimiter="\t"))


def is_strange(thing: str) -> bool:
    """Whether the thing is held out altogether."""
    return _chosen(thing, STRANGE_ONE_IN)


def compositions(things: Iterable[str]) -> set[str]:
    """What is together in a picture of these things (one entry each): 'cat+dog' for a pair, '2 cat' for a number."""
    numbers = Counter(things)
    return {f"{a}+{b}" for a, b in combinations(sorted(numbers), 2)} | {
        f"{number} {thing}" for thing, number in numbers.items() if number > 1
    }


def held_out(things: Iterable[str]) -> set[str]:
    """The compositions of a picture that training never sees."""
    return {one for one in compositions(things) if _chosen(one, HELD_OUT_ONE_IN)}


def _chosen(words: str, one_in: int) -> bool:
    """One in so many, by the words alone: the same on every machine."""
    return zlib.crc32(words.encode()) % one_in == 0
