"""How good rankings are against what people really chose: by the books' formulas, per person.

Jarvelin and Kekalainen (2002) for nDCG with gains of 0 and 1; Manning, Raghavan, Schutze, "Introduction to
information retrieval" (2008), chapter 8, for the rest. It knows lists and sets, no models.
"""

from collections.abc import Collection, Sequence

import numpy as np

SAMPLES = 1000  # of the bootstrap


def at_k(ranked: Sequence[Sequence[int]], relevant: Sequence[Collection[int]], k: int) -> dict[str, np.ndarray]:
    """nDCG, recall, average precision and reciprocal rank of each person's first k."""
    per_person = [_one(best[:k], right, k) for best, right in zip(ranked, relevant, strict=True)]
    return dict(zip(("ndcg", "recall", "map", "mrr"), np.array(per_person, float).reshape(-1, 4).T, strict=True))


def _one(best: Sequence[int], right: Collection[int], k: int) -> tuple[float, float, float, float]:
    hits = np.array([item in right for item in best], float)
    if not hits.any():
        return 0.0, 0.0, 0.0, 0.0
    places = np.arange(1, len(hits) + 1)
    most = min(len(right), k)
    ideal = (1 / np.log2(np.arange(2, most + 2))).sum()
    precision = np.cumsum(hits) / places
    return (
        (hits / np.log2(places + 1)).sum() / ideal,
        hits.sum() / len(right),
        (precision * hits).sum() / most,
        1 / (np.argmax(hits) + 1),
    )


def coverage(ranked: Sequence[Sequence[int]], items: int) -> float:
    """Share of the items that are recommended to anybody."""
    return len({item for best in ranked for item in best}) / items


def interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % of the means of samples, drawn from the people with replacement (Efron, 1979; percentiles)."""
    random = np.random.default_rng(seed)
    means = [values[random.integers(0, len(values), len(values))].mean() for _ in range(SAMPLES)]
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))
