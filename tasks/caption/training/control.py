"""The control of self_attention.py: the same network with as many weights, in which no place sees another.

The four matrices of the attention become two layers at each place. Trained as the model is, so
that the difference between the two is the attention's. Never shipped.
"""

import torch
from torch import Tensor, nn

from tasks.caption.captioner import Captioner
from tasks.caption.self_attention import RecombineAndTell, at_zero


class Apart(nn.Module):
    """a, p -> b, of each place alone: 4 * size * attention weights, as Recombine has."""

    def __init__(self, size: int, attention: int) -> None:
        super().__init__()
        self.into, self.back = nn.Linear(size, 2 * attention), at_zero(nn.Linear(2 * attention, size))

    def forward(self, a: Tensor, p: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """a, p (batch, places, size) -> b, and an attention of each place to itself (batch, 1, places, places)."""
        b = a + self.back(self.into(p).relu())
        return b, torch.eye(a.shape[1], device=a.device).expand(len(a), 1, -1, -1)


class TellApart(RecombineAndTell):
    """RecombineAndTell without attention."""

    def __init__(self, vocabulary: int, features: int, size: int, named: bool, dropout: float, attention: int) -> None:
        super().__init__(vocabulary, features, size, named, dropout, attention)
        self.recombine = Apart(size, attention)  # type: ignore[assignment]  # the same call


class WithoutAttention(Captioner):
    """The captioner of TellApart."""

    name, teller = "self-attention-control", TellApart
