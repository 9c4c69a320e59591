"""What the networks take, made of pictures. Opening files is pictures.py's."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

CENTRE, SPREAD = 127.5, 64  # grey values that become 0 and 1


def to_square(picture: Image.Image, side: int) -> Image.Image:
    """All of an RGB picture within side x side pixels; what it leaves over gets the mean colour of its edge."""
    small = picture.resize(
        [max(1, round(length * side / max(picture.size))) for length in picture.size], Image.Resampling.LANCZOS
    )
    if small.size == (side, side):
        return small
    square = Image.new("RGB", (side, side), _edge_colour(small))
    square.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
    return square


def _edge_colour(picture: Image.Image) -> tuple[int, ...]:
    pixels = np.asarray(picture)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(value) for value in edge.mean(axis=0))


def normalise(pictures: Sequence[Image.Image]) -> torch.Tensor:
    """RGB pictures of one size -> (batch, 3, height, width) float32, from about -2 to 2."""
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    return pixels.permute(0, 3, 1, 2).float().sub_(CENTRE).div_(SPREAD)
