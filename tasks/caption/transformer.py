"""Caption by a Transformer decoder that reads patches of the picture.

Vaswani et al., 'Attention Is All You Need' (2017), section 3, with patches of a picture in place of source words
(as Liu, Chen, Guo, Zhu, Liu, 'CPTR', 2021). A patch is one place of encoder.py. Departures:

    - layers are normalised before, not after (Xiong et al. 2020), which needs no long warm-up;
    - beside the patches (of scenes only the peaks of what is seen) the decoder reads v of teller.py, because
      attention alone, a mean, cannot count;
    - the places of patches are sines and cosines of x and y (teller.py), those of words are learned;
    - CPTR cuts raw pixels and learns a Transformer encoder from ImageNet; here convolutions (encoder.py) come first.
"""

from typing import Any

import torch
from torch import Tensor, nn

from tasks.caption.captioner import Captioner
from tasks.caption.encoder import Sight
from tasks.caption.teller import WAVES, Teller, waves


class PatchesToWords(Teller):
    """State: the tokens so far (1, batch, length) and what is read of the picture (1, batch, patches + 1, size)."""

    def __init__(
        self,
        vocabulary: int,
        features: int,
        size: int,
        named: bool,
        dropout: float,
        layers: int,
        heads: int,
        longest: int,
    ) -> None:
        super().__init__(vocabulary, features, size, named, dropout)
        self.place = nn.Linear(4 * WAVES, size)
        self.order = nn.Parameter(torch.randn(longest, size) * 0.1)
        self.read = nn.LayerNorm(size)
        kind: dict[str, Any] = {
            "dim_feedforward": 4 * size,
            "dropout": dropout,
            "batch_first": True,
            "norm_first": True,
        }
        self.encoder = nn.TransformerEncoderLayer(size, heads, **kind)
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(size, heads, **kind), layers, nn.LayerNorm(size)
        )

    def forward(self, sight: Sight, tokens: Tensor) -> Tensor:
        return self._told(self.memory(sight), tokens)

    def memory(self, sight: Sight) -> Tensor:
        """What the decoder reads (batch, patches + 1, size): v, then the patches."""
        a = self.annotate(sight)
        seen = torch.cat([self.whole(a, sight)[:, None], a + self.place(waves(sight))], dim=1)
        return self.encoder(self.read(seen))

    def begin(self, sight: Sight) -> tuple[Tensor, ...]:
        return torch.empty(1, len(sight), 0, dtype=torch.int64, device=sight.x.device), self.memory(sight)[None]

    def step(self, last: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        tokens = torch.cat([state[0], last[None, :, None]], dim=2)
        return self._told(state[1][0], tokens[0])[:, -1].log_softmax(dim=-1), (tokens, state[1])

    def _told(self, memory: Tensor, tokens: Tensor) -> Tensor:
        """Logits of each next token; a word sees only those before it."""
        length = tokens.shape[1]
        later = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        told = self.decoder(self.embed(tokens) + self.order[:length], memory, tgt_mask=later)
        return self.out(told / self.scale)


class Model(Captioner):
    """Captions what its encoder knows (config.json says what); of other pictures it says something untrue."""

    name, teller = "transformer", PatchesToWords
