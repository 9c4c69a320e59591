"""Beam search: the likeliest sentences of a network that says one token after another.

Knows nothing of pictures or vocabularies; the network is a function. Sentences are compared by the logarithm of
their whole probability, <end> included, divided by length ** penalty (length: tokens, <end> included). Penalty 0
compares probabilities (as Vinyals et al. 2015, section 3.1.2), 1 their mean a token; the form is that of the
libraries of Hugging Face, so that a number means the same for all captioners. A sentence still unfinished at the
longest length must end there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

State = tuple[Tensor, ...]  # each (layers, rows, ...)
Step = Callable[[Tensor, State], tuple[Tensor, State]]


@dataclass(frozen=True)
class Sentence:
    """Token numbers, <end> last once it is finished, and the natural logarithm of their probability."""

    tokens: tuple[int, ...] = ()
    logprob: float = 0.0

    def score(self, penalty: float) -> float:
        """By which finished sentences are compared."""
        return self.logprob / len(self.tokens) ** penalty


def search(
    step: Step, state: State, start: int, end: int, width: int, longest: int, penalty: float = 0.0
) -> list[Sentence]:
    """At most `width` finished sentences of at most `longest` tokens, best first; at least one.

    step   (last token of each row (rows,), state) -> log-probabilities of the next (rows, vocabulary), state
    state  of the one row the search begins with
    """
    live, done = [Sentence()], []
    last = torch.tensor([start])
    for length in range(1, longest + 1):
        scores, state = step(last, state)
        scores = scores.double().cpu()
        if length == longest:
            scores = _only(end, scores)
        grown = _best(live, scores, width)
        done += [sentence for sentence, _ in grown if sentence.tokens[-1] == end]
        going = [(sentence, row) for sentence, row in grown if sentence.tokens[-1] != end]
        done.sort(key=lambda sentence: -sentence.score(penalty))
        if not going or (
            len(done) >= width and going[0][0].logprob / longest**penalty <= done[width - 1].score(penalty)
        ):
            break  # more tokens only make a sentence less likely, and none is divided by more than the longest is
        live = [sentence for sentence, _ in going]
        state = tuple(part[:, [row for _, row in going]] for part in state)
        last = torch.tensor([sentence.tokens[-1] for sentence in live])
    return done[:width]


def _best(live: list[Sentence], scores: Tensor, width: int) -> list[tuple[Sentence, int]]:
    """The likeliest of all sentences made longer by one token, each with the row it grew from."""
    totals = scores + torch.tensor([sentence.logprob for sentence in live], dtype=scores.dtype)[:, None]
    values, places = totals.flatten().topk(min(width, totals.numel()))
    grown = []
    for value, place in zip(values.tolist(), places.tolist(), strict=True):
        row, token = divmod(place, scores.shape[1])
        if value > -math.inf:
            grown.append((Sentence((*live[row].tokens, token), value), row))
    return grown


def _only(token: int, scores: Tensor) -> Tensor:
    """The scores with every other token forbidden."""
    allowed = torch.full_like(scores, -math.inf)
    allowed[:, token] = scores[:, token]
    return allowed
