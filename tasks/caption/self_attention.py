"""Caption by self-attention over the places of a feature map, a convolution after it, and an LSTM that tells the rest.

Vaswani et al., 'Attention Is All You Need' (2017), section 3.2.2, over the places of a picture (as Wang et al.,
'Non-local Neural Networks', 2018, do in the midst of convolutions). The order of operations:

    a   feature map: what is seen at each place;  p = a with the place itself as sines and cosines
    A   = softmax(Q p (K p)^T / sqrt(size of a head))       the attention maps (batch, heads, places, places)
    b   = a + O (A V p)                                     each place recombined with all others by learned weights
    c   = full layer of max pooling of ReLU of convolution of b
    x_-1 = v of b + c, shown to the LSTM before the first word; p = softmax of a full layer, word by word

v, LSTM and output layer are those of cnn_lstm.py, so that this file differs from it by A, b and c alone. Departures:

    - two ways around: a joins b, and v of b (teller.py: sums and first moments) joins c, because maxima do not count;
    - places (of scenes only the peaks of what is seen) go to the nearest of CELLS x CELLS cells for the convolution;
    - no layer normalisation: one layer, whose sums over places must keep their size;
    - O and the full layer of c begin at zero, so that training may begin with the weights of cnn-lstm.
"""

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from tasks.caption.captioner import Captioner
from tasks.caption.cnn_lstm import ShowAndTell
from tasks.caption.encoder import Sight
from tasks.caption.maps import strip
from tasks.caption.teller import WAVES, waves

HEADS = 4
CELLS = 7  # a side of the grid that is convolved
CHANNELS = 32  # of the convolution
POOL, STRIDE = 3, 2  # cells: side of a pooled window, and from one to the next
POOLED = (CELLS - POOL) // STRIDE + 1  # windows a side
NEVER = -1e4  # the score of a place where nothing is: finite, so that a picture without anything has no NaN


class Recombine(nn.Module):
    """a, p -> b. Multi-head attention of each place to all places where something is seen."""

    def __init__(self, size: int, attention: int) -> None:
        super().__init__()
        self.Q, self.K, self.V = (nn.Linear(size, attention) for _ in range(3))
        self.O = at_zero(nn.Linear(attention, size))

    def forward(self, a: Tensor, p: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """a, p (batch, places, size), there (batch, places) bool -> b, and A (batch, heads, places, places)."""
        q, k, v = (part(p).unflatten(2, (HEADS, -1)).transpose(1, 2) for part in (self.Q, self.K, self.V))
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
        A = scores.masked_fill(~there[:, None, None], NEVER).softmax(dim=3)
        return a + self.O((A @ v).transpose(1, 2).flatten(2)), A


class RecombineAndTell(ShowAndTell):
    """As ShowAndTell, of a picture whose places have seen each other. State: the LSTM's h and c."""

    def __init__(self, vocabulary: int, features: int, size: int, named: bool, dropout: float, attention: int) -> None:
        super().__init__(vocabulary, features, size, named, dropout)
        self.place = nn.Linear(4 * WAVES, size)
        self.recombine = Recombine(size, attention)
        self.convolution = nn.Conv2d(size, CHANNELS, 3, padding=1)
        self.full = at_zero(nn.Linear(CHANNELS * POOLED**2, size))

    def show(self, sight: Sight) -> Tensor:
        """x_-1 (batch, size)."""
        return self.recombined(sight)[0]

    def recombined(self, sight: Sight) -> tuple[Tensor, Tensor]:
        """x_-1 (batch, size) and the attention maps A."""
        there = sight.features.any(dim=2)
        a = self.annotate(sight)
        b, A = self.recombine(a, a + self.place(waves(sight)), there)
        b = b * there[..., None]
        pooled = functional.max_pool2d(self.convolution(cells(b, sight)).relu(), POOL, STRIDE)
        return self.shown(b, sight) + self.full(self.dropout(pooled.flatten(1))), A


def cells(b: Tensor, sight: Sight) -> Tensor:
    """b of each place in its cell of the grid (batch, size, CELLS, CELLS); places of one cell are added up."""
    column, row = (((axis + 1) / 2 * CELLS).long().clamp(0, CELLS - 1) for axis in (sight.x, sight.y))
    number = (row * CELLS + column)[..., None].expand_as(b)
    return b.new_zeros(len(b), CELLS**2, b.shape[2]).scatter_add(1, number, b).transpose(1, 2).unflatten(2, (CELLS, -1))


def at_zero(layer: nn.Linear) -> nn.Linear:
    """The layer with all weights zero: what it is added to begins as if it were not there."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Model(Captioner):
    """As the others; attention.png shows, for each place where something is seen, the places that it looked at."""

    name, teller = "self-attention", RecombineAndTell

    @torch.inference_mode()
    def draw(self, picture: Image.Image, sight: Sight, tokens: tuple[int, ...], folder: Path) -> list[Path]:
        teller = self.network.teller
        assert isinstance(teller, RecombineAndTell)
        there = sight.features[0].any(dim=1)
        A = teller.recombined(sight)[1][0].mean(dim=0)[there]
        maps = A.new_zeros(len(A), math.prod(sight.grid)).index_add(1, sight.places[0], A)
        named = self.vocabulary.tokens[-teller.things :] if teller.things else ()
        titles = [
            named[place.argmax()] if named else f"place {n}" for n, place in enumerate(sight.features[0][there].cpu())
        ]
        strip(picture, maps.unflatten(1, sight.grid).cpu().numpy(), titles).save(folder / "attention.png")
        return [folder / "attention.png"]
