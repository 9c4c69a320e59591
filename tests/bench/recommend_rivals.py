"""What the kind's models are measured beside: implicit's ALS as it comes, plain biases, SASRec's protocol."""

from collections.abc import Iterator

import numpy as np
from implicit.als import AlternatingLeastSquares

from tasks.recommend import Params, evaluate, metrics
from tasks.recommend.chosen import Chosen
from tasks.recommend.data import Data, blocks, top

NEGATIVES = 100
ALS_SEEDS = 3


def als(data: Data, last: np.ndarray, seed: int) -> Iterator[tuple[str, dict]]:
    """implicit's own defaults, on ratings as confidence and on bare choices; the mean of ALS_SEEDS seeds."""
    for name, matrix in (("ratings", data.chosen.ratings()), ("choices", data.chosen.seen())):
        found = [_als(matrix.astype(np.float32), data, last, seed + s) for s in range(ALS_SEEDS)]
        mean = {key: float(np.mean([f[key] for f in found])) for key in found[0] if key != "intervals"}
        yield f"implicit ALS untuned, {name}", mean


def _als(matrix, data: Data, last: np.ndarray, seed: int) -> dict:
    model = AlternatingLeastSquares(random_state=seed, num_threads=1, use_gpu=False)
    model.fit(matrix, show_progress=False)
    scores = model.user_factors @ model.item_factors.T
    scores[data.chosen.user, data.chosen.item] = -np.inf
    ranked = [top(row, Params().k) for row in scores]
    return evaluate.figures(ranked, [{item} for item in last.tolist()], len(data.titles), Params(seed=seed))


def biases(train: Chosen, rounds: int = 10, penalty: float = 3) -> np.ndarray:
    """(users, items) mean + user's + item's bias, each the mean of what the other leaves, drawn towards 0."""
    mean, sides = train.rating.mean(), [np.zeros(len(train.users)), np.zeros(train.items)]
    of = [train.user, train.item]
    for _ in range(rounds):
        for side in (1, 0):
            left = train.rating - mean - sides[1 - side][of[1 - side]]
            sums = np.bincount(of[side], left, minlength=len(sides[side]))
            sides[side] = sums / (np.bincount(of[side], minlength=len(sides[side])) + penalty)
    return mean + sides[0][:, None] + sides[1]


def among_hundred(model, fitted, asked: Chosen, last: np.ndarray, params: Params, seed: int) -> tuple[dict, list]:
    """HR and nDCG of the last item among NEGATIVES unseen ones drawn for each user, and everybody's k best of all."""
    random, sampled, ranked = np.random.default_rng(seed), [], []
    for some in blocks(len(asked.users), asked.items):
        block = asked.select(some)
        scores = model.scores(fitted, block, params)
        scores[block.user, block.item] = -np.inf
        for person, row in zip(some, scores, strict=True):
            seen = {*block.item[block.user == person - some[0]].tolist(), int(last[person])}
            drawn = [i for i in random.integers(0, asked.items, 2 * NEGATIVES).tolist() if i not in seen][:NEGATIVES]
            candidates = np.array([*drawn, last[person]])  # the right one last: of equals it does not win
            sampled.append(candidates[np.argsort(-row[candidates], kind="stable")[: params.k]].tolist())
            ranked.append(top(row, params.k))
    values = metrics.at_k(sampled, [{item} for item in last.tolist()], params.k)
    return {name: float(of.mean()) for name, of in values.items()}, ranked
