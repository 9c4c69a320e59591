"""Arithmetic that gives the same bits in whatever order and shape it is done: whole numbers of some 2^-n in float64.

A matrix product's last bits depend on how many rows it has, for its sums are rounded in another order. Where every
operand is a multiple of a power of two, and few enough of them are added, float64 holds each product and sum exactly,
and a sum without rounding is the same in any order. It knows numbers; it does not know any network.

Weights (as shipped, float16) are multiples of FINE, activations are rounded to COARSE; a sum of their products is
exact below EXACT. What is done number by number (square roots, divisions) is the same in any shape anyhow, by IEEE 754;
curves such as the exponential, which libraries round as they like, are looked up in a table made once.
"""

from collections.abc import Callable

import torch
from torch import Tensor

FINE, COARSE = 2.0**-24, 2.0**-12  # every float16 is a whole number of FINE
EXACT = 2.0**53 * FINE * COARSE  # 2^17
SATURATED = 16.0  # past it, sigmoid and tanh are 0 or 1 to within COARSE


def snap(values: Tensor, grid: float) -> Tensor:
    """The nearest multiples of `grid`, a power of two."""
    return torch.round(values / grid) * grid


def table(curve: Callable[[Tensor], Tensor], grid: float, device: str) -> Tensor:
    """The curve at the multiples of COARSE from -SATURATED to SATURATED, rounded to `grid`."""
    return snap(curve(torch.arange(-SATURATED, SATURATED + COARSE, COARSE, dtype=torch.float64)), grid).to(device)


def look_up(made: Tensor, values: Tensor) -> Tensor:
    """What `table` made, at the multiple of COARSE nearest to each value."""
    return made[(torch.round(values.clamp(-SATURATED, SATURATED) / COARSE) + SATURATED / COARSE).long()]
