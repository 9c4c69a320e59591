"""Biased matrix factorisation, by alternating least squares.

    s_ui = mu + b_u + b_i + p_u . q_i

Koren, Bell, Volinsky, "Matrix factorization techniques for recommender systems" (2009), equation 4, where it is called
SVD as is usual; what is minimised differs by objective:

    rating   sum over known (r_ui - s_ui)^2 + penalties; each vector's grows with the number of its ratings (Zhou,
             Wilkinson, Schreiber, Pan, "Large-scale parallel collaborative filtering for the Netflix prize", 2008)
    ranking  sum over all pairs c_ui (t_ui - s_ui)^2 + penalties: t = 1 and c = 1 + alpha * interest where u chose i,
             else t = 0 and c = 1; mu = 0 (Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback
             datasets", 2008, section 4, there without biases)

Departures: a bias is solved together with its vector, as one more coordinate of it against a constant 1. A person is
folded in by the very half-step that fits users, so that somebody who was never in the data is answered without a refit;
with their interest halved each `half_life` newer items (ranking only). Reasons are those of Hu et al., section 5.

    v   (items, factors + 1)  vectors with a 1 behind them     b   (items,)  biases
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from tasks.errors import InvalidInput
from tasks.recommend import Params
from tasks.recommend.catalogue import Title
from tasks.recommend.chosen import Chosen
from tasks.recommend.data import Arrays, Data, Step
from tasks.recommend.recommender import Recommender

ROWS = 1024  # systems of equations that are solved at once
FIRST = 0.1  # standard deviation of the first values


@dataclass(frozen=True)
class Goal:
    """One objective's numbers. Chosen on MovieLens-100K, on each user's last but one (ranking), or a tenth (rating).

    unknown  weight of pairs that are not known
    alpha    added weight of a choice, times its interest
    fixed    penalty on each vector; by_count: on top, times the number of what is known of it
    bias     penalty on each bias
    """

    factors: int
    rounds: int
    unknown: float
    alpha: float
    fixed: float
    by_count: float
    bias: float

    def penalty(self, number: int, factors: int) -> np.ndarray:
        each = np.full(factors + 1, self.fixed + self.by_count * number)
        each[-1] = self.bias
        return each


@dataclass(frozen=True)
class Side:
    """One side as the other's half-step sees it.

    v  (rows, factors + 1) vectors with a 1 behind them; bias (rows,); gram and pull: what all pairs, were they unknown,
    put into every equation
    """

    v: np.ndarray
    bias: np.ndarray
    gram: np.ndarray
    pull: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray, bias: np.ndarray) -> "Side":
        v = np.column_stack([vectors, np.ones(len(bias))])
        return cls(v, bias, v.T @ v, v.T @ bias)


GOALS = {
    "ranking": Goal(factors=64, rounds=10, unknown=1, alpha=30, fixed=30, by_count=0, bias=1000),
    "rating": Goal(factors=20, rounds=10, unknown=0, alpha=0, fixed=3, by_count=0.1, bias=3),
}


class Model(Recommender):
    """fitted: vectors (items, factors), biases (items,), mean (1,)."""

    name = "svd"

    def relevant(self, params: Params) -> dict:
        return {"objective": params.objective, "factors": params.factors, "seed": params.seed}

    def fit(self, data: Data, params: Params, step: Step) -> Arrays:
        goal = GOALS[params.objective]
        mean = rating_mean(data.interactions) if params.objective == "rating" else 0.0
        known, weight = _known(data.interactions, params.objective, mean, None)
        turned, turned_weight = known.T.tocsr(), weight.T.tocsr()
        factors = params.factors or goal.factors
        items = np.random.default_rng(params.seed).normal(0, FIRST, (known.shape[1], factors + 1))
        items[:, -1] = 0
        for number in range(goal.rounds):
            step(number / goal.rounds, f"round {number + 1} of {goal.rounds}")
            users = half_step(known, weight, Side.of(items[:, :-1], items[:, -1]), goal)
            items = half_step(turned, turned_weight, Side.of(users[:, :-1], users[:, -1]), goal)
        return {"vectors": items[:, :-1], "biases": items[:, -1], "mean": np.array([mean])}

    def scores(self, fitted: Arrays, asked: Chosen, params: Params) -> np.ndarray:
        known, weight = _known(asked, params.objective, fitted["mean"][0], params.half_life)
        people = half_step(known, weight, Side.of(fitted["vectors"], fitted["biases"]), GOALS[params.objective])
        return fitted["mean"][0] + people[:, -1:] + people[:, :-1] @ fitted["vectors"].T + fitted["biases"]

    def reasons(
        self, fitted: Arrays, asked: Chosen, items: Sequence[Sequence[int]], titles: Sequence[Title], params: Params
    ) -> list[list[str]]:
        """A score is a sum over the history, but for a constant: its two largest parts are named."""
        side, goal = Side.of(fitted["vectors"], fitted["biases"]), GOALS[params.objective]
        known, weight = _known(asked, params.objective, fitted["mean"][0], params.half_life)
        expected = self.scores(fitted, asked, params) if params.objective == "rating" else None
        said = []
        for person, own in enumerate(items):
            left, right = equations(known, weight, side, goal, person)
            adds = side.v[own] @ np.linalg.solve(left, right.T)
            history = known.indices[known.indptr[person] : known.indptr[person + 1]]
            names = [_names(part, history, titles) for part in adds]
            said.append(
                [
                    _rated(expected[person, item], name) if expected is not None else _chosen(name)
                    for item, name in zip(own, names, strict=True)
                ]
            )
        return said


def _names(adds: np.ndarray, history: np.ndarray, titles: Sequence[Title]) -> str:
    return " and ".join(titles[history[row]].title for row in np.argsort(-adds, kind="stable")[:2] if adds[row] > 0)


def _rated(expected: float, names: str) -> str:
    return f"a rating of {expected:.1f} is expected" + (f"; the ratings of {names} speak for it" if names else "")


def _chosen(names: str) -> str:
    return f"fits the taste that shows in {names}" if names else "fits most people's taste"


def rating_mean(chosen: Chosen) -> float:
    """Errors: InvalidInput where nothing is rated."""
    if not chosen.scale or chosen.counted:
        more = "; plays are counts, which objective ranking weighs" if chosen.counted else ""
        raise InvalidInput(f"params.objective rating needs a column rating in the interactions, with numbers{more}")
    return float(chosen.rating.mean())


def half_step(known: sparse.csr_matrix, weight: sparse.csr_matrix, other: Side, goal: Goal) -> np.ndarray:
    """(rows, factors + 1) the best vectors and, last, biases for the other side's as they are."""
    solved = np.empty((known.shape[0], other.v.shape[1]))
    for first in range(0, len(solved), ROWS):
        rows = range(first, min(first + ROWS, len(solved)))
        left, right = zip(*(equations(known, weight, other, goal, row) for row in rows), strict=True)
        right = np.stack([parts.sum(axis=0) for parts in right]) - goal.unknown * other.pull
        solved[rows.start : rows.stop] = np.linalg.solve(np.stack(left), right[..., None])[..., 0]
    return solved


def equations(
    known: sparse.csr_matrix, weight: sparse.csr_matrix, other: Side, goal: Goal, row: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of a row's normal equations the left side (f + 1, f + 1), and what each known pair adds to the right one; what
    the unknown pairs add, `other.pull`, is not in it."""
    where = slice(known.indptr[row], known.indptr[row + 1])
    at, c = known.indices[where], weight.data[where]
    v, more = other.v[at], c - goal.unknown
    left = (v.T * more) @ v + goal.unknown * other.gram
    left.flat[:: len(left) + 1] += goal.penalty(len(at), len(left) - 1)
    return left, v * (c * known.data[where] - more * other.bias[at])[:, None]


def _known(chosen: Chosen, objective: str, mean: float, half_life: float | None) -> tuple[sparse.csr_matrix, ...]:
    """Targets and weights of the known pairs, of one sparsity."""
    if objective == "rating":
        target = chosen.ratings()
        weight = target.copy()
        target.data, weight.data = target.data - mean, np.ones_like(target.data)
        return target, weight
    weight = chosen.interest(half_life)
    target = weight.copy()
    target.data, weight.data = np.ones_like(weight.data), 1 + GOALS[objective].alpha * weight.data
    return target, weight
