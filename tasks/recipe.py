"""The interface of a training, one network each: `python -m worker.train <kind>/<algorithm>` drives any Recipe.

A recipe knows its data, its network and its metrics. It does not know of checkpoints, progress
displays or curves: worker/train.py keeps those, the same for all.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar


class DataMissing(Exception):
    """A data set is not in the folder BACKLOT_DATA; the message says which, and where it can be got."""


class Recipe(ABC):
    """One training. Subclasses stand in tasks/<kind>/training/recipes.py, listed there in RECIPES by algorithm name.

    steps     optimiser steps in all
    every     steps between two evaluations
    metric    the key of `evaluate()` that decides which weights are kept; lower is better
    """

    steps: ClassVar[int]
    every: ClassVar[int]
    metric: ClassVar[str]

    @abstractmethod
    def __init__(self, data: Path, device: str) -> None:
        """Read the data below `data`; errors: DataMissing."""

    @abstractmethod
    def step(self, number: int) -> float:
        """Do optimiser step `number` (0-based; what it draws depends on the number alone) and return its loss."""

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """The metrics on validation data that training never sees; quick, for the curve."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """The checkpoint that a resumed training needs (weights, optimiser); torch.load reads it with weights_only."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Restores what `state()` returned."""

    @abstractmethod
    def export(self, folder: Path, history: list[dict[str, Any]]) -> None:
        """Write the shipped files (model.safetensors, what belongs to it, CARD.md with the metric on held-out test
        data beside a trivial baseline) from the weights as they are now. `history` has one entry an evaluation:
        {"step", "seconds", "loss", and the metrics}."""
