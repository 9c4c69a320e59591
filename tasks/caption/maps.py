"""Attention maps as one picture: a strip of tiles, one a word, lighter where the network looked.

Knows nothing of networks; takes maps as arrays.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

TILE, LINE, GAP = 160, 18, 4  # pixels: side of a tile, height of its word, space between tiles
A_ROW = 8  # tiles
DIMMED = 0.25  # of the light that is left where it did not look
PAPER, INK = (255, 255, 255), (0, 0, 0)


def strip(picture: Image.Image, maps: np.ndarray, words: Sequence[str]) -> Image.Image:
    """`maps` (words, rows, columns), each summing to 1, over the square picture that was encoded."""
    rows, columns = -(-len(words) // A_ROW), min(len(words), A_ROW)
    sheet = Image.new("RGB", (columns * (TILE + GAP) - GAP, rows * (TILE + LINE + GAP) - GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (word, one) in enumerate(zip(words, maps, strict=True)):
        left, top = number % A_ROW * (TILE + GAP), number // A_ROW * (TILE + LINE + GAP)
        sheet.paste(tile(picture, one), (left, top + LINE))
        pen.text((left + 2, top + 3), word, fill=INK)
    return sheet


def tile(picture: Image.Image, one: np.ndarray) -> Image.Image:
    """The picture, full light where the map (rows, columns) is highest, dimmed to DIMMED where it is nothing."""
    looked = Image.fromarray((one / one.max() * 255).astype(np.uint8)).resize((TILE, TILE), Image.Resampling.BICUBIC)
    light = DIMMED + (1 - DIMMED) * np.asarray(looked, dtype=np.float32)[..., None] / 255
    pixels = np.asarray(picture.resize((TILE, TILE), Image.Resampling.BICUBIC), dtype=np.float32)
    return Image.fromarray((pixels * light).astype(np.uint8))
