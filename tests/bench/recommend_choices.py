"""How the models' numbers are chosen: on each user's last film but one, or on some training ratings; no test data."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from tasks.algorithm import implementation
from tasks.recommend import Params, evaluate, nmf, svd
from tasks.recommend.chosen import Chosen
from tasks.recommend.data import Data

LEARN = ("user-knn", "item-knn", "svd", "nmf")
HALF_LIVES = (3, 5, 10, 20, 50, 1e9)
GRIDS = {
    "user-knn": [{"neighbours": n} for n in (20, 50, 100, 200)],
    "item-knn": [{"neighbours": n, "shrinkage": s} for n in (20, 50, 100) for s in (0, 10, 50)],
    "svd": [{"factors": n} for n in (16, 32, 64)],
    "nmf": [{"factors": n} for n in (10, 20, 40, 80)],
}
PENALTIES = {"svd": (0.05, 0.1, 0.15), "nmf": (0.06, 0.1, 0.15)}


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    heads = list(heads)
    yield ""
    yield "| " + " | ".join(heads) + " |"
    yield "|---" + "|--:" * (len(heads) - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row) + " |"


def ranking(data: Data, last: np.ndarray, seed: int) -> Iterator[str]:
    """nDCG@10 by half-life, and by each model's own numbers at the default half-life."""
    yield from (
        "",
        "## Validation: each user's last film but one",
        "",
        "nDCG@10 by half-life; the newest film is not in the data at all. The default is 5.",
    )
    rows = []
    for name in LEARN:
        model = implementation("recommend", name)()
        fitted = model.fit(data, Params(seed=seed), lambda *_: None)
        rows.append([name, *(_ndcg(model, fitted, data, last, Params(seed=seed, half_life=h)) for h in HALF_LIVES)])
    yield from table(["model", *("none" if h > 1e6 else f"{h:g}" for h in HALF_LIVES)], rows)
    yield from ("", "By a model's own numbers (defaults: 50 neighbours, shrinkage 10, 64 factors for svd, 40 for nmf):")
    rows = [[name, *row] for name in LEARN for row in _grid(name, data, last, seed)]
    yield from table(["model", "numbers", "nDCG@10"], rows)


def _grid(name: str, data: Data, last: np.ndarray, seed: int) -> Iterator[list]:
    model = implementation("recommend", name)()
    for numbers in GRIDS[name]:
        params = Params(seed=seed, **numbers)
        said = ", ".join(f"{key} {value}" for key, value in numbers.items())
        yield [said, _ndcg(model, model.fit(data, params, lambda *_: None), data, last, params)]


def _ndcg(model, fitted, data: Data, last: np.ndarray, params: Params) -> float:
    ranked = evaluate.rank(model, fitted, data.chosen, len(data.titles), params)
    return evaluate.figures(ranked, [{item} for item in last.tolist()], len(data.titles), params)["ndcg"]


def best_penalty(name: str, data: Data, train: Chosen) -> float:
    """The penalty with the least RMSE on a tenth of the training ratings, drawn."""
    tenth = np.random.default_rng(1).permutation(len(train.item)) % 10 == 0
    inner, held = train.where(~tenth), train.where(tenth)
    errors = {}
    for value in PENALTIES[name]:
        with penalty(name, value):
            errors[value] = rmse(foretold(name, data, inner), inner, held)
    return min(errors, key=errors.get)


@contextlib.contextmanager
def penalty(name: str, value: float) -> Iterator[None]:
    """The model with another penalty than its own."""
    goal, own = svd.GOALS["rating"], nmf.PENALTY
    if name == "svd":
        svd.GOALS["rating"] = replace(goal, by_count=value)
    else:
        nmf.PENALTY = value
    try:
        yield
    finally:
        svd.GOALS["rating"], nmf.PENALTY = goal, own


def foretold(name: str, data: Data, train: Chosen) -> np.ndarray:
    """(users, items) ratings."""
    model, params = implementation("recommend", name)(), Params(objective="rating")
    return model.scores(model.fit(Data(data.titles, train), params, lambda *_: None), train, params)


def rmse(told: np.ndarray, train: Chosen, test: Chosen) -> float:
    told = np.where(np.isfinite(told), told, train.rating.mean())[test.user, test.item]
    return float(np.sqrt(np.mean((np.clip(told, *train.scale) - test.rating) ** 2)))
