"""What a model is fitted on, what it leaves, and how scores become a ranking. Knows nothing of any one model."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np

from tasks.recommend import Params
from tasks.recommend.catalogue import Title
from tasks.recommend.chosen import Chosen

BLOCK = 4_000_000  # numbers in a block of scores at most

Arrays = Mapping[str, np.ndarray]
Step = Callable[[float, str], None]
"""step(0-1, message): tells people, and raises Canceled where the call has been."""


class Scorer(Protocol):
    """A model as those see it who compare models; recommender.py has the whole."""

    def fit(self, data: "Data", params: Params, step: Step) -> Arrays: ...

    def scores(self, fitted: Arrays, asked: Chosen, params: Params) -> np.ndarray: ...


@dataclass(frozen=True)
class Data:
    """`chosen` is None where there are no interactions."""

    titles: Sequence[Title]
    chosen: Chosen | None

    @property
    def interactions(self) -> Chosen:
        """For the models that need them: recommender.py refuses a call without before it fits one of those."""
        assert self.chosen is not None
        return self.chosen

    def digest(self) -> str:
        """Of all that a fit can depend on."""
        seen = hashlib.sha256((self.chosen.digest() if self.chosen else "").encode())
        for title in self.titles:
            seen.update(json.dumps(astuple(title)[:-1]).encode())
        return seen.hexdigest()


def top(scores: np.ndarray, k: int) -> list[int]:
    """The k best, best first, the earlier of equals first; none that is -inf."""
    k = min(k, len(scores))
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    found = np.flatnonzero(scores >= least)
    found = found[np.argsort(-scores[found], kind="stable")][:k]
    return [int(item) for item in found if np.isfinite(scores[item])]


def blocks(people: int, items: int) -> list[np.ndarray]:
    """Rows of people, in pieces small enough that their scores fit into memory."""
    size = max(1, BLOCK // max(items, 1))
    return [np.arange(first, min(first + size, people)) for first in range(0, people, size)]
