"""The n-gram models that the networks are held against: by hand, and against NLTK."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.generate.training.baselines import KneserNey

TEXT = [int(token) for token in np.random.default_rng(4).zipf(1.6, 400) % 7]


def by_hand(tokens, vocabulary, order, context, token):
    """Chen and Goodman's formulas with dictionaries: counts at the top, kinds of what comes before below it."""
    counts = Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))
    levels = {order: counts}
    for n in range(order - 1, 0, -1):
        levels[n] = Counter(gram[1:] for gram in levels[n + 1])
    p = 1 / vocabulary
    for n in range(1, order + 1):
        counts, known = levels[n], tuple(context[len(context) - n + 1 :]) if n > 1 else ()
        followers = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == known}
        if not followers:
            continue
        times = {k: max(1, sum(1 for count in counts.values() if count == k)) for k in (1, 2, 3, 4)}
        y = times[1] / (times[1] + 2 * times[2])
        take = {k: k - (k + 1) * y * times[k + 1] / times[k] for k in (1, 2, 3)}
        total = sum(followers.values())
        kept = followers[token] - take[min(3, followers[token])] if token in followers else 0
        p = kept / total + sum(take[min(3, count)] for count in followers.values()) / total * p
    return p


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_kneser_ney_is_the_formula(order):
    """Every token of another text, by dictionaries and by sorted arrays."""
    model, other = KneserNey(TEXT, 7, order), [*TEXT[50:90], 6, 6, 0, 5, 6]
    expected = [
        by_hand(TEXT, 7, order, other[max(0, i - order + 1) : i], other[i]) for i in range(order - 1, len(other))
    ]
    np.testing.assert_allclose(model.probabilities(other)[order - 1 :], expected, rtol=1e-12)
    assert model.nats_per_token(other) == pytest.approx(-np.log(model.probabilities(other)[1:]).mean())


def test_kneser_ney_is_nltks():
    """With one discount for all counts, and none for single tokens, as NLTK's KneserNeyInterpolated has it."""
    from nltk.lm import KneserNeyInterpolated
    from nltk.util import everygrams

    theirs = KneserNeyInterpolated(3, discount=0.1)
    words = [str(token) for token in TEXT]
    theirs.fit([list(everygrams(words, max_len=3))], vocabulary_text=words)
    ours = KneserNey(TEXT, 7, 3, discounts=[(0, 0, 0), (0.1, 0.1, 0.1), (0.1, 0.1, 0.1)])
    seen = sorted({tuple(TEXT[i : i + 3]) for i in range(len(TEXT) - 2)})
    expected = [theirs.score(str(c), [str(a), str(b)]) for a, b, c in seen]
    np.testing.assert_allclose([ours.probabilities(gram)[2] for gram in seen], expected, rtol=1e-9)


@given(st.lists(st.integers(0, 4), min_size=6, max_size=40), st.lists(st.integers(0, 4), min_size=2, max_size=2))
def test_shares_of_a_context_sum_to_one(tokens, context):
    """After any two tokens, seen or not."""
    model = KneserNey(tokens, 5, 3, discounts=[(0.5, 0.6, 0.7)] * 3)
    assert sum(model.probabilities([*context, token])[2] for token in range(5)) == pytest.approx(1)


def test_a_longer_context_helps_where_text_repeats():
    """On the text it was made from, and never better than certainty."""
    nats = [KneserNey(TEXT, 7, order).nats_per_token(TEXT) for order in (1, 2, 3)]
    assert math.log(7) > nats[0] > nats[1] > nats[2] > 0
