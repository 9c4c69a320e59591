"""The control of self_attention.py: the same network with as many weights, in which no place sees another.

The four matrices of the attention become two layers at each place, of twice the width. Trained as the model is, so
that the difference between the two is the attention's. Never shipped.
"""

import torch
from torch import Tensor, nn

from tasks.caption.captioner import Captioner
from tasks.caption.self_attention import RecombineAndTell


class Apart(nn.Module):
    """a -> b, of each place alone: 4 * size ** 2 weights, as Recombine has."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.into, self.back = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)

    def forward(self, a: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """a (batch, places, size) -> b, and an attention of each place to itself (batch, 1, places, places)."""
        b = a + self.back(self.into(a).relu())
        return b, torch.eye(a.shape[1], device=a.device).expand(len(a), 1, -1, -1)


class TellApart(RecombineAndTell):
    """RecombineAndTell without attention."""

    def __init__(self, vocabulary: int, features: int, size: int, named: bool, dropout: float, heads: int) -> None:
        super().__init__(vocabulary, features, size, named, dropout, heads)
        self.recombine = Apart(size)  # type: ignore[assignment]  # the same call


class WithoutAttention(Captioner):
    """The captioner of TellApart."""

    name, teller = "self-attention-control", TellApart
