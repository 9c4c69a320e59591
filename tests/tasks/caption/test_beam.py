"""Beam search against what it should find: exhaustive search, and greedy search for a width of one."""

import math
from itertools import product

import pytest
import torch

from tasks.caption.beam import search

START, END, VOCABULARY, LONGEST = 0, 1, 4, 4


class Chain:
    """A tiny network with a memory: an LSTM over a vocabulary of four, weights by seed."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.words = torch.nn.Embedding(VOCABULARY, 8)
        self.lstm = torch.nn.LSTM(8, 8, batch_first=True)
        self.out = torch.nn.Linear(8, VOCABULARY)
        self.begin = (torch.randn(1, 1, 8), torch.randn(1, 1, 8))

    @torch.no_grad()
    def step(self, last, state):
        output, state = self.lstm(self.words(last)[:, None], state)
        return (4 * self.out(output[:, 0])).log_softmax(dim=-1), state

    def logprob(self, tokens) -> float:
        """Of one sentence, token after token, by hand."""
        state, last, total = self.begin, START, 0.0
        for token in tokens:
            scores, state = self.step(torch.tensor([last]), state)
            total, last = total + scores[0, token].item(), token
        return total

    def search(self, width, longest=LONGEST):
        return search(self.step, self.begin, START, END, width, longest)


def sentences():
    """Every finished sentence of at most LONGEST tokens."""
    others = [token for token in range(VOCABULARY) if token != END]
    return [(*words, END) for length in range(LONGEST) for words in product(others, repeat=length)]


@pytest.mark.parametrize("seed", range(10))
def test_a_wide_beam_finds_what_exhaustive_search_finds(seed):
    """With room for every prefix, the ten best sentences are the ten best of all, with their probabilities."""
    chain = Chain(seed)
    best = sorted(sentences(), key=chain.logprob, reverse=True)
    found = chain.search(width=len(best))
    assert [one.tokens for one in found[:10]] == best[:10]
    assert [one.logprob for one in found[:10]] == pytest.approx([chain.logprob(one) for one in best[:10]], abs=1e-5)


@pytest.mark.parametrize("seed", range(10))
def test_a_beam_of_one_is_greedy(seed):
    """Width 1 takes the likeliest token each time until <end>, which it must take last."""
    chain = Chain(seed)
    state, tokens = chain.begin, [START]
    while tokens[-1] != END:
        scores, state = chain.step(torch.tensor([tokens[-1]]), state)
        tokens.append(END if len(tokens) == LONGEST else scores.argmax().item())
    (found,) = chain.search(width=1)
    assert list(found.tokens) == tokens[1:]


@pytest.mark.parametrize("width", [1, 2, 3, 10])
def test_sentences_come_finished_different_and_best_first(width):
    """Whatever the width: at least one, at most `width`, all ending in their only <end>, probabilities falling."""
    for seed in range(10):
        found = Chain(seed).search(width)
        assert 1 <= len(found) <= width and len({one.tokens for one in found}) == len(found)
        assert all(one.tokens.index(END) == len(one.tokens) - 1 < LONGEST for one in found)
        assert [one.logprob for one in found] == sorted((one.logprob for one in found), reverse=True)
        assert all(one.logprob <= 0 for one in found)


def test_one_that_never_ends_by_itself_is_ended_at_the_longest_length():
    """A network that gives <end> a millionth still yields a sentence, with the price of the forced <end>."""
    scores = torch.tensor([[math.log(0.5), math.log(1e-6), math.log(0.25), math.log(0.25 - 1e-6)]])
    (found,) = search(lambda last, state: (scores.expand(len(last), -1), state), (), START, END, width=1, longest=3)
    assert found.tokens == (0, 0, END)
    assert found.logprob == pytest.approx(2 * math.log(0.5) + math.log(1e-6), rel=1e-5)
