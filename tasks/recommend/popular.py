"""What most people chose, the same for all: the baseline that every other model must beat.

score(item) = number of users who chose it. Known as MostPop; see Cremonesi, Koren, Turrin, "Performance of
recommender algorithms on top-N recommendation tasks" (2010), section 3.1.
"""

from collections.abc import Sequence

import numpy as np

from tasks.recommend import Params
from tasks.recommend.catalogue import Title
from tasks.recommend.chosen import Chosen
from tasks.recommend.data import Arrays, Data, Step
from tasks.recommend.recommender import Recommender


class Model(Recommender):
    """fitted: counts (items,) and people (1,)."""

    name = "popular"

    def fit(self, data: Data, params: Params, step: Step) -> Arrays:
        return {
            "counts": np.bincount(data.interactions.item, minlength=len(data.titles)),
            "people": np.array([len(data.interactions.users)]),
        }

    def scores(self, fitted: Arrays, asked: Chosen, params: Params) -> np.ndarray:
        counts = fitted["counts"]
        return np.tile(np.where(counts > 0, counts.astype(float), -np.inf), (len(asked.users), 1))

    def reasons(
        self, fitted: Arrays, asked: Chosen, items: Sequence[Sequence[int]], titles: Sequence[Title], params: Params
    ) -> list[list[str]]:
        counts, people = fitted["counts"], int(fitted["people"][0])
        return [[f"chosen by {counts[item]:,} of {people:,} people" for item in own] for own in items]
