"""Muon: momentum whose step for a matrix has equal singular values; with AdamW for all that is no matrix.

Jordan et al. (2024), "Muon: An optimizer for hidden layers in neural networks": Nesterov momentum, then five steps of a
quintic Newton-Schulz iteration. It knows gradients; it does not know any network. Departures: float32 throughout (a CPU
has no fast bfloat16); a stack of matrices is stepped as one tensor.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
QUINTIC = (3.4445, -4.7750, 2.0315)  # the polynomial of the paper: singular values go to about 1, quickly, not exactly
ROUNDS = 5


class Muon:
    """Steps `matrices` (..., rows, columns) by Muon and `others` by AdamW, each at its own peak rate."""

    def __init__(
        self, matrices: Sequence[nn.Parameter], others: Sequence[nn.Parameter], rate: float, other_rate: float
    ) -> None:
        self.matrices, self.rate, self.other_rate = list(matrices), rate, other_rate
        self.momenta = [torch.zeros_like(matrix) for matrix in self.matrices]
        self.adam = torch.optim.AdamW(others, other_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)

    def zero_grad(self) -> None:
        self.adam.zero_grad()
        for matrix in self.matrices:
            matrix.grad = None

    @torch.no_grad()
    def step(self, share: float) -> None:
        """One step at `share` of the peak rates."""
        for group in self.adam.param_groups:
            group["lr"] = self.other_rate * share
        self.adam.step()
        for matrix, momentum in zip(self.matrices, self.momenta, strict=True):
            gradient = matrix.grad
            assert gradient is not None, "a step follows loss.backward()"
            momentum.lerp_(gradient, 1 - MOMENTUM)
            ahead = gradient.lerp(momentum, MOMENTUM)
            tall = max(1.0, matrix.shape[-2] / matrix.shape[-1]) ** 0.5
            matrix.add_(orthogonal(ahead), alpha=-self.rate * share * tall)

    def state_dict(self) -> dict:
        return {"momenta": self.momenta, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.momenta = [given.to(own.device) for given, own in zip(state["momenta"], self.momenta, strict=True)]
        self.adam.load_state_dict(state["adam"])


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix whose singular values are all about 1 (0.7 to 1.2); of each, where there are many."""
    a, b, c = QUINTIC
    x = matrix / (matrix.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x
