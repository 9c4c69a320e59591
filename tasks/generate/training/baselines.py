"""What a language model must beat: unigram, interpolated trigram, Kneser-Ney. Counts, and nothing else.

Witten, Bell (1991), "The Zero-Frequency Problem", method C, as Chen and Goodman (1999, section 2.5)
interpolate it: the share of a context's mass given to the shorter context is its number of
different followers / (that number + how often it was seen). Kneser, Ney (1995), modified and interpolated by
Chen and Goodman (1999, section 3): see KneserNey.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np


def witten_bell(tokens: Sequence[int], vocabulary: int, order: int = 3) -> Callable[[tuple[int, ...], int], float]:
    """probability(context, token), from counts of `tokens`; `context` is the at most `order` - 1 tokens before."""
    grams = [Counter(zip(*(tokens[i:] for i in range(n)), strict=False)) for n in range(1, order + 1)]
    seen: Counter = Counter()
    followers: Counter = Counter()
    for counts in grams:
        for gram, count in counts.items():
            seen[gram[:-1]] += count
            followers[gram[:-1]] += 1

    def probability(context: tuple[int, ...], token: int) -> float:
        value = 1 / vocabulary
        for n in range(order):
            known = context[len(context) - n :]
            if len(known) == n and known in seen:
                value = (grams[n][*known, token] + followers[known] * value) / (seen[known] + followers[known])
        return value

    return probability


def nats_per_token(probability: Callable[[tuple[int, ...], int], float], tokens: Sequence[int], order: int) -> float:
    """The mean of -ln p(token | the `order` - 1 before), over all tokens but the first."""
    return -sum(
        math.log(probability(tuple(tokens[max(0, i - order + 1) : i]), tokens[i])) for i in range(1, len(tokens))
    ) / (len(tokens) - 1)


class KneserNey:
    """An n-gram model; below the highest order it counts what a gram follows, and not how often it came.

        p(w | h) = max(c(h w) - D, 0) / c(h) + gamma(h) p(w | h')     h' = h less its first; at last, 1 / vocabulary

    D is one of three by c = 1, 2, 3 or more, estimated from how many grams came once to four times; gamma(h) gives to
    the shorter context what D took. A gram is one number, its tokens the digits; an order is two sorted arrays.
    """

    def __init__(
        self,
        tokens: Sequence[int],
        vocabulary: int,
        order: int,
        discounts: Sequence[tuple[float, float, float]] | None = None,
    ) -> None:
        """`discounts`: (D1, D2, D3+) of each order, from 1 on; None estimates them. vocabulary ** order < 2^63."""
        self.vocabulary, self.order = vocabulary, order
        grams, counts = np.unique(_grams(np.asarray(tokens), vocabulary, order), return_counts=True)
        self.levels: list[_Level] = []
        for n in range(order, 0, -1):
            taken = discounts[n - 1] if discounts else _discounts(counts)
            self.levels.insert(0, _Level(grams, counts, vocabulary, np.array([0.0, *taken])))
            grams, counts = np.unique(grams % vocabulary ** (n - 1), return_counts=True)  # how many each follows

    def probabilities(self, tokens: Sequence[int]) -> np.ndarray:
        """Of each token, given at most `order` - 1 before it."""
        told = np.asarray(tokens)
        p = np.full(len(told), 1 / self.vocabulary)
        for n, level in enumerate(self.levels, start=1):
            p[n - 1 :] = level.probabilities(_grams(told, self.vocabulary, n), p[n - 1 :])
        return p

    def nats_per_token(self, tokens: Sequence[int]) -> float:
        """Mean -ln p over all tokens but the first."""
        return float(-np.log(self.probabilities(tokens)[1:]).mean())


class _Level:
    """One order: its grams and their counts; its contexts, the counts' sums and what each gives to the shorter one."""

    def __init__(self, grams: np.ndarray, counts: np.ndarray, vocabulary: int, discounts: np.ndarray) -> None:
        self.grams, self.vocabulary = grams, vocabulary
        taken = discounts[np.minimum(counts, 3)]
        self.left = counts - taken
        self.contexts, place = np.unique(grams // vocabulary, return_inverse=True)
        self.totals = np.bincount(place, counts)
        self.gammas = np.bincount(place, taken) / self.totals

    def probabilities(self, grams: np.ndarray, shorter: np.ndarray) -> np.ndarray:
        context, known = _find(self.contexts, grams // self.vocabulary)
        gram, seen = _find(self.grams, grams)
        p = np.where(seen, self.left[gram], 0) / self.totals[context] + self.gammas[context] * shorter
        return np.where(known, p, shorter)


def _grams(tokens: np.ndarray, vocabulary: int, order: int) -> np.ndarray:
    size = max(0, len(tokens) - order + 1)
    return sum(tokens[n : n + size].astype(np.int64) * vocabulary ** (order - 1 - n) for n in range(order))


def _discounts(counts: np.ndarray) -> tuple[float, float, float]:
    """Chen and Goodman's equation 26, by how many grams came once, twice, three and four times."""
    once, twice, thrice, four = (max(1, int((counts == n).sum())) for n in range(1, 5))
    y = once / (once + 2 * twice)
    return 1 - 2 * y * twice / once, 2 - 3 * y * thrice / twice, 3 - 4 * y * four / thrice


def _find(among: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each stands in a sorted array, and whether it does."""
    place = np.minimum(np.searchsorted(among, wanted), len(among) - 1)
    return place, among[place] == wanted
