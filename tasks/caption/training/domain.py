"""Fits domain.safetensors for the trained encoder; domain_report.py runs it and says how well it holds.

Statistics and limits come from scenes alone, drawn at several sizes: statistics from the last of TRAIN_SEEDS, limits
from VALIDATION_SEEDS. The number of directions and the two measures were chosen by half of the classes of UCM, noise
and drawn shapes; no source of domain_report.py that it calls unseen was looked at before. All captioners
have the same encoder, and so the same file.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tasks.caption.domain import Domain, certainty
from tasks.caption.encoder import SceneEncoder, Sight
from tasks.caption.image import normalise, to_square
from tasks.caption.training import encoder as train_encoder
from tasks.caption.training.scenes import TRAIN_SEEDS, VALIDATION_SEEDS, Composer, Sort

FIT_SEEDS = TRAIN_SEEDS[-6000:]
LIMIT_SEEDS = VALIDATION_SEEDS[2000:3500]
SIDES = (96, 128, 160, 192, 256, 320)  # pixels that scenes are drawn at, in turn
DIRECTIONS = 192  # of 320
PASSED_OVER = 0.015  # share of scenes that each of the two measures lets be warned of
BATCH = 50


def drawn(composer: Composer, seeds: Iterable[int], sort: Sort = "known") -> list[Image.Image]:
    """Scenes, each at the size that its seed says."""
    return [composer.draw(composer.scene(seed, sort), SIDES[seed % len(SIDES)]) for seed in seeds]


@torch.inference_mode()
def looked_at(encoder: SceneEncoder, pictures: Sequence[Image.Image]) -> list[Sight]:
    """What is seen of each picture, batches of one."""
    found = []
    for first in range(0, len(pictures), BATCH):
        part = [to_square(picture, train_encoder.SIDE) for picture in pictures[first : first + BATCH]]
        seen = encoder(normalise(part))
        found += [seen[[row]] for row in range(len(part))]
    return found


def fit(encoder: SceneEncoder, composer: Composer) -> Domain:
    """Draws and looks at some 7,500 scenes."""
    learned, others = (looked_at(encoder, drawn(composer, seeds)) for seeds in (FIT_SEEDS, LIMIT_SEEDS))
    return fitted(summaries(learned), summaries(others), torch.cat([certainty(sight) for sight in others]))


def fitted(s: Tensor, others: Tensor, certain: Tensor) -> Domain:
    """s of the scenes that give the statistics and of those that give the limits, with the certainty of the latter."""
    mean, deviation = s.mean(dim=0), s.std(dim=0) + 1e-6
    _, vectors = torch.linalg.eigh(((s - mean) / deviation).T.cov().double())  # ascending
    R = vectors[:, :DIRECTIONS].half().float()
    distances = Domain(mean, deviation, R, 0.0, 0.0).distance(others)
    return Domain(
        mean,
        deviation,
        R,
        furthest=float(np.quantile(distances.numpy(), 1 - PASSED_OVER)),
        least=float(np.quantile(certain.numpy(), PASSED_OVER)),
    )


def summaries(sights: Sequence[Sight]) -> Tensor:
    """s of many."""
    return torch.cat([sight.summary for sight in sights if sight.summary is not None])
