"""What a language model must beat: the unigram, and an interpolated trigram. Counts, and nothing else.

Witten, Bell (1991), "The Zero-Frequency Problem", method C, as Chen and Goodman (1999, section 2.5)
interpolate it: the share of a context's mass given to the shorter context is its number of
different followers / (that number + how often it was seen).
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence


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
            known = context[len(context) - n:]
            if len(known) == n and known in seen:
                value = (grams[n][*known, token] + followers[known] * value) / (seen[known] + followers[known])
        return value

    return probability


def nats_per_token(probability: Callable[[tuple[int, ...], int], float], tokens: Sequence[int], order: int) -> float:
    """The mean of -ln p(token | the `order` - 1 before), over all tokens but the first."""
    return -sum(math.log(probability(tuple(tokens[max(0, i - order + 1):i]), tokens[i]))
                for i in range(1, len(tokens))) / (len(tokens) - 1)
