"""The classes that a network tells apart, the groups they belong to, and the words for a distribution over them.

The groups are Backlot's own, in the manner of WordNet. They stand in a text file, two spaces a level:

    an animal
      a mammal
        a cat
          282 a tiger cat

A line that begins with a number is a class. Knows nothing of networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

EVERYTHING = "something"
"""The group of all classes."""
INDENT = 2
"""Spaces a level."""


@dataclass(frozen=True)
class Said:
    """A caption, the numbers of the classes it holds for, and their probability. `vague`: it says next to nothing."""

    caption: str
    members: np.ndarray
    probability: float
    vague: bool


@dataclass(frozen=True)
class Group:
    """`level` 0 is EVERYTHING; `members`: numbers of its classes, those of its subgroups too."""

    name: str
    level: int
    members: np.ndarray


class Classes:
    """`names[n]` are the words for class n; groups come smallest first."""

    def __init__(self, names: Sequence[str], groups: Sequence[Group]) -> None:
        self.names = tuple(names)
        self.groups = tuple(sorted(groups, key=lambda group: (len(group.members), -group.level)))

    @classmethod
    def read(cls, path: Path) -> "Classes":
        """The classes of a file; errors: ValueError where their numbers are not 0, 1, 2, ..."""
        names: dict[int, str] = {}
        groups: list[tuple[str, int, list[int]]] = [(EVERYTHING, 0, [])]
        within = [groups[0]]
        for line in path.read_text(encoding="utf-8").splitlines():
            level = (len(line) - len(line.lstrip())) // INDENT
            within = within[: level + 1]
            number, _, words = line.strip().partition(" ")
            if number.isdigit():
                names[int(number)] = words
                for _, _, members in within:
                    members.append(int(number))
            else:
                groups.append((line.strip(), level + 1, []))
                within.append(groups[-1])
        if sorted(names) != list(range(len(names))):
            raise ValueError(f"{path}: the classes' numbers have a gap")
        return cls(
            [names[n] for n in range(len(names))],
            [Group(name, level, np.array(sorted(members))) for name, level, members in groups],
        )

    def say(self, probabilities: np.ndarray, sure: float) -> Said:
        """The likeliest class where its probability is at least `sure`, else the smallest group that has so much.

        A group's probability is the sum of its classes'. `sure` is above 0.5, so that at most one class and one group
        of a level have it.
        """
        best = int(probabilities.argmax())
        if probabilities[best] >= sure:
            return Said(self.names[best], np.array([best]), float(probabilities[best]), False)
        group = next(one for one in self.groups if one.level == 0 or probabilities[one.members].sum() >= sure)
        return Said(group.name, group.members, float(probabilities[group.members].sum()), group.level < 2)
