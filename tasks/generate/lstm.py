"""A prompt continued by a long short-term memory language model, one token of every call a pass.

Hochreiter, Schmidhuber (1997) with the forget gate of Gers, Schmidhuber, Cummins (2000); two layers as in
Zaremba, Sutskever, Vinyals (2014); read and scored through one embedding, Press, Wolf (2017). For a token x:

    i, f, o = sigmoid(W x + U h + b)    g = tanh(W x + U h + b)     (rows, hidden) each
    c <- f c + i g                      h <- o tanh(c)              the second layer reads the first's h
    scores = E (P h + p) + s                                        (rows, vocabulary)

The same seed gives the same text, alone or in any batch: every sum is exact (exact.py; cells are multiples of
FINE). The rounding costs less than a thousandth of the perplexity (see the tests).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tasks.generate import recurrent
from tasks.generate.exact import COARSE, FINE, look_up, snap, table


class Network(recurrent.Network):
    """The formulas on top."""

    def __init__(self, tensors: dict[str, Tensor], device: str) -> None:
        super().__init__(tensors, device, cell="lstm")
        self.sigmoid, self.tanh = (table(curve, COARSE, device) for curve in (torch.sigmoid, torch.tanh))

    def blank(self, rows: int) -> tuple[Tensor, Tensor]:
        """No past: h and c, (layers, rows, hidden) each."""
        zeros = self.bias.new_zeros(self.layers, rows, self.hidden)
        return zeros, zeros.clone()

    def step(self, tokens: Sequence[int], *state: Tensor) -> tuple[Tensor, Tensor]:
        """One token a row: (rows,), and the state after it."""
        h, c = state
        new_h: list[Tensor] = []
        new_c: list[Tensor] = []
        for layer in range(self.layers):
            heard = self.heard(layer, tokens, new_h[-1] if new_h else None)
            i, f, g, o = (heard + h[layer] @ self.recurrent[layer]).chunk(4, dim=1)
            cell = look_up(self.sigmoid, f) * c[layer] + look_up(self.sigmoid, i) * look_up(self.tanh, g)
            new_c.append(snap(cell, FINE))
            new_h.append(snap(look_up(self.sigmoid, o) * look_up(self.tanh, new_c[-1]), COARSE))
        return torch.stack(new_h), torch.stack(new_c)


class Model(recurrent.RecurrentModel):
    """Continues English prose by an LSTM; see RecurrentModel."""

    name = "lstm"
    network_class = Network
