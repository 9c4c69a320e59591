"""What the recurrent language models of generate share: a state a row, one token of every row a pass.

It knows how a state is carried; the formulas stand in lstm.py and rnn.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tasks.algorithm import Call
from tasks.errors import ModelFailed
from tasks.generate.exact import COARSE, EXACT, snap
from tasks.generate.prose import ProseModel
from tasks.generate.writing import Reading

CONTEXT = 512  # tokens of a prompt that are read: its last ones
State = tuple[Tensor, ...]  # (layers, rows, hidden) each; the first is what is heard


class Network(ABC):
    """A recurrent network as it serves, its sums exact (exact.py), for rows that never mix.

    scores = E (P h + p) + s, Press, Wolf (2017): read and scored through one embedding E.
    """

    def __init__(self, tensors: dict[str, Tensor], device: str, cell: str) -> None:
        """From the tensors of training/recurrent.py's network; errors: ModelFailed, where a sum may not be exact."""
        exact = {name: tensor.to(device, torch.float64) for name, tensor in tensors.items()}
        self.layers = sum(name.startswith(f"{cell}.weight_hh_l") for name in exact)
        self.hidden = exact[f"{cell}.weight_hh_l0"].shape[1]
        self.biases = [exact[f"{cell}.bias_ih_l{n}"] + exact[f"{cell}.bias_hh_l{n}"] for n in range(self.layers)]
        self.recurrent = [exact[f"{cell}.weight_hh_l{n}"].T.contiguous() for n in range(self.layers)]
        self.inputs = [exact[f"{cell}.weight_ih_l{n}"].T.contiguous() for n in range(1, self.layers)]
        self.projection, self.projection_bias = exact["projection.weight"].T.contiguous(), exact["projection.bias"]
        self.embedding, self.bias = exact["embedding.weight"].T.contiguous(), exact["bias"]
        self.words = snap(exact["embedding.weight"], COARSE)
        first = exact[f"{cell}.weight_ih_l0"].T
        self.read = self.words @ first + self.biases[0]  # (vocabulary, gates * hidden): what each token says to layer 0
        self._check_exact(first)

    def _check_exact(self, first: Tensor) -> None:
        """Activations are at most 1, words and the query what they are; up to four such sums and biases are added."""
        query = self.projection.abs().sum(0).max() + self.projection_bias.abs().max()
        sums: list[tuple[Tensor, Tensor | float]] = [
            (weight, 1.0) for weight in (*self.recurrent, *self.inputs, self.projection)
        ]
        sums += [(first, self.words.abs().max()), (self.embedding, query)]
        largest = max(float(weight.abs().sum(0).max() * size) for weight, size in sums)
        if not largest < EXACT / 4:
            raise ModelFailed(f"the weights are too large for exact sums ({largest:.0f}; the limit is {EXACT / 4:.0f})")

    @abstractmethod
    def blank(self, rows: int) -> State:
        """No past."""

    @abstractmethod
    def step(self, tokens: Sequence[int], *state: Tensor) -> State:
        """One token a row: (rows,), and the state after it."""

    def heard(self, layer: int, tokens: Sequence[int], below: Tensor | None) -> Tensor:
        """What a layer is told from below: (rows, gates * hidden), by the tokens or by the layer `below`."""
        return self.read[list(tokens)] if below is None else below @ self.inputs[layer - 1] + self.biases[layer]

    def scores(self, top: Tensor) -> np.ndarray:
        """(rows, hidden) of the last layer to (rows, vocabulary)."""
        query = snap(top @ self.projection + self.projection_bias, COARSE)
        return (query @ self.embedding + self.bias).cpu().numpy()


class Recurrence(Reading):
    """Rows that each carry a state of the same network."""

    def __init__(self, network: Network, rows: int) -> None:
        self.network, self.state = network, network.blank(rows)

    def portions(self, ahead: Sequence[int]) -> list[int]:
        return [1] * len(ahead)

    def read(self, tokens: Sequence[Sequence[int]], speakers: Sequence[int]) -> np.ndarray:
        self.state = self.network.step([token for (token,) in tokens], *self.state)
        return self.network.scores(self.state[0][-1][list(speakers)]) if speakers else np.empty((0, 0))

    def keep(self, rows: Sequence[int]) -> None:
        self.state = tuple(part[:, list(rows)] for part in self.state)


class RecurrentModel(ProseModel):
    """A prompt may be of any length: of a longer one, the last 512 tokens (about 1,800 characters) are read."""

    context = CONTEXT

    def fit(self, tokens: Sequence[int], call: Call) -> Sequence[int]:
        return tokens[-CONTEXT:]

    def reading(self, rows: int) -> Recurrence:
        return Recurrence(self.network, rows)

    def length(self, call: Call) -> int:
        most = call.params.max_tokens if call.params.mode == "generate" else 0
        return min(super().length(call) - most, CONTEXT) + most

    def pooled(self, windows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """What was read, and not the state after it: films' neighbours by plot are better so."""
        sums = [self.network.words[list(window)].sum(0).cpu().numpy() for window in windows]
        return np.stack(sums), np.array([float(len(window)) for window in windows])
