"""Measures if a picture is of the sort that an encoder of scenes learned from; others get the warning out_of_domain.

Wang, Li, Feng, Zhang, 'ViM: Out-Of-Distribution with Virtual-logit Matching' (2022), section 4: the features of what
a network learned from lie near a subspace, and what lies far off it is foreign. Departures: the features are mean and
standard deviation over all places (a scene is told by many things, so there is no one class, and no logits to join);
the distance has a limit of its own. Beside it three plain reasons: nothing is seen, more is seen than captions were
learned of, or what is seen is not certain. domain.safetensors, beside the weights, has what training/domain.py fitted.

    s  (batch, 2 * channels)         float32   means, then standard deviations, of the last stage (Sight.summary)
    R  (2 * channels, directions)    float32   the directions in which scenes differ least, of standardised s
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from tasks.caption.encoder import Sight

FILE = "domain.safetensors"
MOST_THINGS = 4  # of one scene


@dataclass(frozen=True)
class Domain:
    """mean, deviation (2 * channels,), R; furthest: the largest distance that passes; least: the least certainty."""

    mean: Tensor
    deviation: Tensor
    R: Tensor
    furthest: float
    least: float

    @classmethod
    def load(cls, folder: Path) -> "Domain | None":
        """None where a folder of weights has no domain.safetensors: nothing is measured then."""
        if not (folder / FILE).exists():
            return None
        stored = {name: value.float() for name, value in load_file(folder / FILE).items()}
        return cls(stored["mean"], stored["deviation"], stored["R"], stored["furthest"].item(), stored["least"].item())

    def save(self, folder: Path) -> None:
        """R as float16, the rest as float32."""
        tensors = {
            "mean": self.mean,
            "deviation": self.deviation,
            "R": self.R.half().contiguous(),
            "furthest": torch.tensor(self.furthest),
            "least": torch.tensor(self.least),
        }
        (folder / FILE).write_bytes(save(tensors))

    def distance(self, s: Tensor) -> Tensor:
        """s -> squared distance to the subspace of scenes (batch,)."""
        return (((s - self.mean) / self.deviation) @ self.R).square().sum(dim=1)

    def foreign(self, sight: Sight) -> str:
        """The reason for which one picture (a batch of one) is not of the domain; empty where there is none."""
        assert sight.summary is not None
        number = int(sight.features.any(dim=2).sum())
        distance, certain = self.distance(sight.summary.cpu()).item(), certainty(sight).item()
        reasons = (
            (number == 0, "nothing that it knows is seen"),
            (number > MOST_THINGS, f"{number} things are seen, of at most {MOST_THINGS}"),
            (distance > self.furthest, f"its distance to scenes is {distance:.1f}, of at most {self.furthest:.1f}"),
            (certain < self.least, f"a thing is seen with a certainty of {certain:.2f}, of at least {self.least:.2f}"),
        )
        return next((reason for holds, reason in reasons if holds), "")


def certainty(sight: Sight) -> Tensor:
    """The likelihood of the likeliest thing at the peak where it is lowest (batch,); 1 where there is no peak."""
    there = sight.features.any(dim=2)
    return sight.features.amax(dim=2).masked_fill(~there, 1.0).amin(dim=1)
