"""What the three decoders share: words, what is seen at which place, and the vector of a whole picture.

A decoder is shown a Sight of encoder.py and says tokens. Where its features are likelihoods of things ('named'), a
thing in the picture and its word share one vector, which is the output layer too (Press and Wolf 2017), so that
naming what is seen need not be learned for each thing anew. Other features go through a linear layer. Knows nothing
of pictures.

    a  (batch, places, size)   annotation vectors
    v  (batch, size)           the picture as a whole
    S  (batch, length)  int64  token numbers; things are the last of the vocabulary
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.caption.beam import State
from tasks.caption.encoder import Sight

WAVES = 4  # sines and cosines of a place's x and of its y, each twice as fast as the one before


class Teller(nn.Module):
    """A decoder; forward() is teacher forcing, begin() and step() say one token after another."""

    def __init__(self, vocabulary: int, features: int, size: int, named: bool, dropout: float) -> None:
        super().__init__()
        self.scale = size**0.5
        self.words = nn.Embedding(vocabulary, size)
        nn.init.normal_(self.words.weight, std=1 / self.scale)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.things = features if named else 0
        self.blanks: Tensor | None = None  # (n, size): things without a name, behind the others; only while it learns
        self.see = None if named else nn.Sequential(nn.Dropout(dropout), nn.Linear(features, size))
        self.across, self.down = nn.Linear(size, size, bias=False), nn.Linear(size, size, bias=False)
        self.dropout = nn.Dropout(dropout)

    @abstractmethod
    def forward(self, sight: Sight, tokens: Tensor) -> Tensor:
        """S, <start> first -> logits of each next token (batch, length, vocabulary)."""

    @abstractmethod
    def begin(self, sight: Sight) -> State:
        """The state before the first word; each part has the rows of the batch second."""

    @abstractmethod
    def step(self, last: Tensor, state: State) -> tuple[Tensor, State]:
        """The last token of each row (batch,) -> log-probabilities of the next (batch, vocabulary), and the state."""

    def annotate(self, sight: Sight) -> Tensor:
        """What is seen, as a."""
        if self.see is None:
            return sight.features @ self.vectors()[-sight.features.shape[2] :] * self.scale
        return self.see(sight.features)

    def whole(self, a: Tensor, sight: Sight) -> Tensor:
        """a -> v: all places added up (or their mean), as they are, turned by x and turned by y."""
        turned = torch.stack([torch.ones_like(sight.x), sight.x, sight.y], dim=1)
        total, right, below = (turned @ a).unbind(dim=1)
        v = total + self.across(right) + self.down(below)
        return v if self.things else v / a.shape[1]

    @staticmethod
    def numbers(sight: Sight) -> Tensor:
        """Of likelihoods (batch, 2): how many things there are; the sum of the squares of how many there are of each.

        The two together tell all the ways apart in which up to four things can be alike.
        """
        each = sight.features.sum(dim=1)
        return torch.stack([each.sum(dim=1), each.square().sum(dim=1)], dim=1) / 4

    @staticmethod
    def alike(sight: Sight) -> Tensor:
        """Of likelihoods (batch, places, 1): how many things of the picture are the one at each place, itself too."""
        return (sight.features @ sight.features.sum(dim=1)[..., None]) / 4

    @staticmethod
    def spread(sight: Sight) -> Tensor:
        """Of likelihoods (batch, 2): the variance of x and of y over all things; which is larger says how they lie."""
        weight = sight.features.sum(dim=2)
        weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-6)
        means = [(weight * axis).sum(dim=1, keepdim=True) for axis in (sight.x, sight.y)]
        return torch.stack(
            [
                (weight * (axis - mean).square()).sum(dim=1)
                for axis, mean in zip((sight.x, sight.y), means, strict=True)
            ],
            dim=1,
        )

    def vectors(self) -> Tensor:
        """Of all words, and of the blanks, where there are some (words + blanks, size)."""
        return self.words.weight if self.blanks is None else torch.cat([self.words.weight, self.blanks])

    def embed(self, tokens: Tensor) -> Tensor:
        return self.dropout(functional.embedding(tokens, self.vectors()) * self.scale)

    def out(self, states: Tensor) -> Tensor:
        """Vectors (..., size) -> logits (..., vocabulary); a blank has the bias of the mean thing."""
        bias: Tensor = self.bias
        if self.blanks is not None:
            bias = torch.cat([bias, bias[-self.things :].mean().expand(len(self.blanks))])
        return functional.linear(self.dropout(states), self.vectors() * self.scale, bias)


def waves(sight: Sight) -> Tensor:
    """Where each place is, as sines and cosines of its x and y (batch, places, 4 * WAVES)."""
    speeds = torch.pi / 2 * 2 ** torch.arange(WAVES, device=sight.x.device)
    turns = torch.stack([sight.x, sight.y], dim=2)[..., None] * speeds
    return torch.cat([turns.sin(), turns.cos()], dim=3).flatten(2)
