"""All models of the kind measured on a caller's own interactions: each user's newest is held back and looked for.

It knows how to hold back, ask and compare; models are named here and fetched by name, as every one of them can ask for
this. With one item held back, average precision and reciprocal rank are the same number.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from tasks.algorithm import Call, Result, implementation
from tasks.errors import InvalidInput
from tasks.recommend import Params, metrics
from tasks.recommend.chosen import Chosen
from tasks.recommend.data import Arrays, Data, Scorer, Step, blocks, top

MODELS = ("popular", "content", "user-knn", "item-knn", "svd", "nmf", "hybrid")
MOST_USERS = 10_000  # are asked for; of more, so many are drawn


def evaluation(call: Call, data: Data, artefact: str, asked: str, step: Step) -> Result:
    """The table, its files evaluation.json and evaluation.png; measured now, or by an earlier job on the same data.

    Errors: InvalidInput where no user has two choices.
    """
    from tasks.recommend import chart  # loads matplotlib, which few jobs need

    def make(folder: Path) -> None:
        (folder / "evaluation.json").write_text(json.dumps(measure(data, call.params, step), indent=1) + "\n")

    table = json.loads((call.artefact(artefact, make) / "evaluation.json").read_text())
    written, picture = call.workdir / "evaluation.json", call.workdir / "evaluation.png"
    written.write_text(json.dumps({"asked": asked, **table}, indent=1) + "\n")
    chart.draw(picture, table, asked)
    return Result(table, [written, picture])


def measure(data: Data, params: Params, step: Step) -> dict:
    """The figures of all models: {"held_out", "users", "k", "seed", "models": [{model, ndcg, low, high, ...}]}."""
    train, last = data.interactions.without_last()
    users = np.flatnonzero(last >= 0)
    if not len(users):
        raise InvalidInput("params.evaluate holds back each user's newest item, but no user has two items")
    if len(users) > MOST_USERS:
        users = np.sort(np.random.default_rng(params.seed).choice(users, MOST_USERS, replace=False))
    held = Data(data.titles, train)
    rows = []
    for number, name in enumerate(MODELS):
        step(number / len(MODELS), f"{name} is measured")
        row = _model(name, held, train.select(users), last[users], params)
        rows += [row] if row else []
    return {
        "held_out": "each user's newest item, all other items of the catalogue ranked",
        "users": len(users),
        "k": params.k,
        "seed": params.seed,
        "models": rows,
    }


def _model(name: str, data: Data, asked: Chosen, last: np.ndarray, params: Params) -> dict | None:
    """None for content where the catalogue says nothing to compare by."""
    model = cast(Scorer, implementation("recommend", name)())
    try:
        fitted = model.fit(data, params, lambda done, said: None)
    except InvalidInput:
        if name == "content":
            return None
        raise
    ranked = rank(model, fitted, asked, len(data.titles), params)
    return {"model": name, **figures(ranked, [{item} for item in last.tolist()], len(data.titles), params)}


def rank(
    model: Scorer, fitted: Arrays, asked: Chosen, items: int, params: Params, seen: Chosen | None = None
) -> list[list[int]]:
    """Each person's k best of what they have not chosen yet; `seen` where that is more than the model is told of."""
    found: list[list[int]] = []
    for some in blocks(len(asked.users), items):
        block = asked.select(some)
        scores = model.scores(fitted, block, params)
        chosen = (seen or asked).select(some)
        scores[chosen.user, chosen.item] = -np.inf
        found += [top(row, params.k) for row in scores]
    return found


def figures(ranked: Sequence[Sequence[int]], relevant: Sequence[set[int]], items: int, params: Params) -> dict:
    """Means over people, the nDCG's interval, and all intervals under their names."""
    values = metrics.at_k(ranked, relevant, params.k)
    intervals = {name: metrics.interval(of_people, params.seed) for name, of_people in values.items()}
    return {
        **{name: float(of_people.mean()) for name, of_people in values.items()},
        "coverage": metrics.coverage(ranked, items),
        "low": intervals["ndcg"][0],
        "high": intervals["ndcg"][1],
        "intervals": intervals,
    }
