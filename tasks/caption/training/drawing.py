"""Draws scenes: things over a background, in some light, sometimes blurred, grainy or stored as JPEG.

What is drawn where, it is told; backgrounds and faults are decided by a seed. Knows nothing of captions.
"""

import io
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageFilter

PLAIN = 96  # pixels a side for which blur and grain below are meant
GAIN = (0.55, 1.25)  # light: from dusk to glare
CAST = 0.06  # standard deviation of each channel's own gain: warm and cold light
SHADE = 0.6  # how much light is left at the darker rim, at the least
BLUR, BLURRED = (0.3, 1.1), 0.35  # standard deviation in pixels; how often
GRAIN, GRAINY = (2, 9), 0.35  # standard deviation in grey values; how often
QUALITY, JPEG = (30, 95), 0.4  # of the JPEG; how often


class Thing(Protocol):
    """What is drawn: see scenes.Placed."""

    @property
    def thing(self) -> str: ...
    @property
    def x(self) -> float: ...
    @property
    def y(self) -> float: ...
    @property
    def size(self) -> float: ...
    @property
    def mirrored(self) -> bool: ...


def read_sprites(folder: Path, rows: Sequence[dict]) -> dict[str, Image.Image]:
    """The pictures of these rows of names.tsv, by name, cropped to what is visible; errors: FileNotFoundError."""
    with zipfile.ZipFile(folder / "png128.zip") as pictures:
        return {row["name"]: _cropped(pictures.read(row["file"])) for row in rows}


class Painter:
    """Draws things of one set of sprites. `sprites`: by thing an RGBA picture."""

    def __init__(self, sprites: dict[str, Image.Image]) -> None:
        self.sprites = sprites
        self._sprite = lru_cache(maxsize=30_000)(self._resized)
        self._grain = np.random.default_rng(0).normal(size=(512, 512, 1)).astype(np.float32)

    def draw(self, things: Sequence[Thing], side: int, seed: int) -> Image.Image:
        """RGB, side x side pixels."""
        chance = np.random.default_rng(seed)
        picture = _background(chance, side)
        for placed in things:
            sprite = self._sprite(placed.thing, max(1, round(placed.size * side)), placed.mirrored)
            corner = (round(placed.x * side - sprite.width / 2), round(placed.y * side - sprite.height / 2))
            picture.paste(sprite, corner, sprite)
        return self._taken(picture, chance)

    def _resized(self, thing: str, longest: int, mirrored: bool) -> Image.Image:
        sprite = self.sprites[thing]
        scale = longest / max(sprite.size)
        small = sprite.resize([max(1, round(length * scale)) for length in sprite.size], Image.Resampling.LANCZOS)
        return small.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else small

    def _taken(self, picture: Image.Image, chance: np.random.Generator) -> Image.Image:
        """The picture as some camera would have it: lit, blurred, grainy, stored as JPEG."""
        scale = picture.width / PLAIN
        picture = Image.fromarray(_lit(np.asarray(picture, dtype=np.float32), chance))
        if chance.random() < BLURRED:
            picture = picture.filter(ImageFilter.GaussianBlur(chance.uniform(*BLUR) * scale))
        if chance.random() < GRAINY:
            top, left = chance.integers(0, 512 - min(picture.width, 511), size=2)
            grain = np.resize(
                self._grain[top : top + picture.width, left : left + picture.width], (picture.height, picture.width, 1)
            )
            picture = _bytes(np.asarray(picture) + chance.uniform(*GRAIN) * grain)
        return _stored(picture, int(chance.integers(*QUALITY))) if chance.random() < JPEG else picture


def _background(chance: np.random.Generator, side: int) -> Image.Image:
    """A plain colour, a gradient between two, blotches of many or stripes of two, alike often."""
    colours = chance.uniform(30, 255, size=(16, 3)).astype(np.float32)
    sort = chance.integers(4)
    if sort == 0:
        return Image.new("RGB", (side, side), tuple(colours[0].astype(int).tolist()))
    if sort == 1:
        grid = colours[:2].reshape((2, 1, 3) if chance.random() < 0.5 else (1, 2, 3))
    elif sort == 2:
        grid = colours[0] + 0.35 * (colours - colours[0]).reshape(4, 4, 3)
    else:
        stripes = np.arange(int(chance.integers(4, 13))) % 2
        grid = colours[0] + 0.5 * (stripes[:, None] * (colours[1] - colours[0]))
        grid = grid[None] if chance.random() < 0.5 else grid[:, None]
    how = Image.Resampling.NEAREST if sort == 3 else Image.Resampling.BICUBIC
    return _bytes(grid).resize((side, side), how)


def _lit(pixels: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Bright or dim, warm or cold, half the time falling off towards one rim."""
    light = chance.uniform(*GAIN) * chance.normal(1, CAST, size=3).astype(np.float32)
    if chance.random() < 0.5:
        ramp = np.linspace(1, chance.uniform(SHADE, 1), pixels.shape[0], dtype=np.float32)
        ramp = ramp[::-1] if chance.random() < 0.5 else ramp
        light = light * (ramp[:, None, None] if chance.random() < 0.5 else ramp[None, :, None])
    return np.clip(pixels * light.astype(np.float32), 0, 255).astype(np.uint8)


def _stored(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _bytes(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _cropped(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    return picture.crop(picture.getchannel("A").getbbox())
