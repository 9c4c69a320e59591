"""Non-negative matrix factorisation: every person and every item a mixture of a few themes.

    s_ui = w_u . h_i,  w and h >= 0

    ranking  the generalised Kullback-Leibler divergence between interest and s, by the multiplicative updates of Lee
             and Seung, "Algorithms for non-negative matrix factorization" (2000), theorem 2; only what was chosen
             and the columns' sums enter, so that it is quick
    rating   the squared error over known ratings, each vector's penalty growing with the number of its ratings, by
             multiplicative updates: Luo, Zhou, Xia, Zhu, "An efficient non-negative matrix-factorization-based
             approach to collaborative filtering for recommender systems" (2014), section III, all of a side at once

A person is folded in by the same updates with h held fixed: no refit. Departure (ranking): a person's interest is
halved each `half_life` newer items when they ask, not when h is learned.

    w   (users, themes)     h   (items, themes)
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from tasks.errors import InvalidInput
from tasks.recommend import Params
from tasks.recommend.catalogue import Title
from tasks.recommend.chosen import Chosen
from tasks.recommend.data import Arrays, Data, Step
from tasks.recommend.recommender import Recommender
from tasks.recommend.svd import rating_mean

FACTORS = {"ranking": 40, "rating": 10}
ROUNDS = {"ranking": 60, "rating": 100}
FOLD_ROUNDS = {"ranking": 20, "rating": 60}
PENALTY = 0.1  # of rating
TINY = 1e-9  # nothing becomes 0 for good


class Model(Recommender):
    """fitted: h (items, themes)."""

    name = "nmf"

    def relevant(self, params: Params) -> dict:
        return {"objective": params.objective, "factors": params.factors, "seed": params.seed}

    def fit(self, data: Data, params: Params, step: Step) -> Arrays:
        rating = params.objective == "rating"
        mean = rating_mean(data.interactions) if rating else 0
        scale = data.interactions.scale
        if rating and scale is not None and scale[0] < 0:
            raise InvalidInput(f"nmf learns ratings of 0 and more; the lowest here is {scale[0]:g}")
        x = data.interactions.ratings() if rating else data.interactions.interest()
        themes, rounds = params.factors or FACTORS[params.objective], ROUNDS[params.objective]
        random = np.random.default_rng(params.seed)
        w, h = (random.random((side, themes)) + 0.1 for side in x.shape)
        if rating:
            w, h = (side * np.sqrt(mean / (0.36 * themes)) for side in (w, h))  # 0.36: of two such numbers' product
        turned = x.T.tocsr()
        for number in range(rounds):
            step(number / rounds, f"round {number + 1} of {rounds}")
            w = update(x, w, h, rating)
            h = update(turned, h, w, rating)
        return {"h": h}

    def scores(self, fitted: Arrays, asked: Chosen, params: Params) -> np.ndarray:
        found = self._themes(fitted, asked, params) @ fitted["h"].T
        return np.where(fitted["h"].max(axis=1) > TINY * 10, found, -np.inf)  # nobody chose it: nothing is known

    def reasons(
        self, fitted: Arrays, asked: Chosen, items: Sequence[Sequence[int]], titles: Sequence[Title], params: Params
    ) -> list[list[str]]:
        """The theme that adds most to the score, named by what the person has of it and its best known item."""
        h, best = fitted["h"], fitted["h"].argmax(axis=0)
        people = zip(self._themes(fitted, asked, params), asked.histories(), items, strict=True)
        return [
            [
                _reason(
                    w * h[item],
                    h[history],
                    [titles[row].title for row in history],
                    titles,
                    best,
                    params.objective == "rating",
                )
                for item in own
            ]
            for w, history, own in people
        ]

    def _themes(self, fitted: Arrays, asked: Chosen, params: Params) -> np.ndarray:
        rating = params.objective == "rating"
        x = asked.ratings() if rating else asked.interest(params.half_life)
        w = np.full((x.shape[0], fitted["h"].shape[1]), 1.0)
        for _ in range(FOLD_ROUNDS[params.objective]):
            w = update(x, w, fitted["h"], rating)
        return w


def _reason(
    adds: np.ndarray,
    of_history: np.ndarray,
    names: Sequence[str],
    titles: Sequence[Title],
    best: np.ndarray,
    rating: bool,
) -> str:
    theme = int(adds.argmax())
    own, known = names[int(of_history[:, theme].argmax())], titles[best[theme]].title
    said = f"of one kind with {own}" + (f" (the theme around {known})" if known != own else "")
    return f"a rating of {adds.sum():.1f} is expected; {said}" if rating else said


def update(x: sparse.csr_matrix, w: np.ndarray, h: np.ndarray, rating: bool) -> np.ndarray:
    """One multiplicative update of w; h is held."""
    row = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
    known = np.einsum("nf,nf->n", w[row], h[x.indices])
    if rating:
        number = np.diff(x.indptr)[:, None]
        return np.maximum(w * (x @ h) / (_like(x, known) @ h + PENALTY * number * w + TINY), TINY)
    return np.maximum(w * (_like(x, x.data / known) @ h) / (h.sum(axis=0) + TINY), TINY)


def _like(x: sparse.csr_matrix, values: np.ndarray) -> sparse.csr_matrix:
    return sparse.csr_matrix((values, x.indices, x.indptr), x.shape)
