"""A prompt continued by a plain recurrent language model, one token of every call a pass.

Elman (1990), "Finding Structure in Time"; as a language model Mikolov et al. (2010), here with two layers, trained
through time, and read and scored through one embedding, Press, Wolf (2017). For a token x:

    h <- tanh(W x + U h + b)            (rows, hidden); the second layer reads the first's h
    scores = E (P h + p) + s            (rows, vocabulary)

The same seed gives the same text, alone or in any batch: every sum is exact (exact.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tasks.generate import recurrent
from tasks.generate.exact import COARSE, look_up, table


class Network(recurrent.Network):
    """The formulas on top."""

    def __init__(self, tensors: dict[str, Tensor], device: str) -> None:
        super().__init__(tensors, device, cell="rnn")
        self.tanh = table(torch.tanh, COARSE, device)

    def blank(self, rows: int) -> tuple[Tensor]:
        """No past: h, (layers, rows, hidden)."""
        return (self.bias.new_zeros(self.layers, rows, self.hidden),)

    def step(self, tokens: Sequence[int], *state: Tensor) -> tuple[Tensor]:
        """One token a row: (rows,), and the state after it."""
        (h,) = state
        new_h: list[Tensor] = []
        for layer in range(self.layers):
            heard = self.heard(layer, tokens, new_h[-1] if new_h else None)
            new_h.append(look_up(self.tanh, heard + h[layer] @ self.recurrent[layer]))
        return (torch.stack(new_h),)


class Model(recurrent.RecurrentModel):
    """Continues English prose by a plain recurrent network; see RecurrentModel."""

    name = "rnn"
    network_class = Network
