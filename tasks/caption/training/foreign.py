"""Pictures that a model of photographs was not made for, by source: each is named here before anything is calibrated.

Calibration of caption/cnn uses none of them; its card says how many of each source are warned of. Knows no model.
"""

import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from tasks.caption.training.scenes import TEST_SEEDS, Composer

Pictures = list[Image.Image]
NUMBER = 150
"""Pictures of a source."""


def sources(data: Path, words: list[str]) -> dict[str, Callable[[], Pictures]]:
    """By name, what makes the pictures of a source; `words` are written in those of text."""
    return {
        "composed scenes of emoji": lambda: scenes(data / "images" / "emoji"),
        "single emoji": lambda: emoji(data / "images" / "emoji"),
        "aerial pictures (UCM)": lambda: aerial(data / "images" / "ucm" / "imgs"),
        "noise": noise,
        "gradients and single colours": gradients,
        "written text": lambda: text(words),
        "charts": charts,
        "rectangles and ellipses": shapes,
    }


def scenes(folder: Path) -> Pictures:
    composer = Composer.read(folder)
    return [composer.draw(composer.scene(seed, "known"), 192) for seed in TEST_SEEDS[:NUMBER]]


def emoji(folder: Path) -> Pictures:
    """Drawn by chance, on white."""
    with zipfile.ZipFile(folder / "png128.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        chosen = random.Random(0).sample(names, NUMBER)
        opened = [Image.open(io.BytesIO(archive.read(name))).convert("RGBA") for name in chosen]
    return [Image.alpha_composite(Image.new("RGBA", one.size, "white"), one).convert("RGB") for one in opened]


def aerial(folder: Path) -> Pictures:
    """Evenly of all 21 classes."""
    return [Image.open(folder / f"{number}.jpg").convert("RGB") for number in range(1, 2101, 2100 // NUMBER)]


def noise() -> Pictures:
    """In turn: of colours, grey, soft, and white dots on black."""
    rng, found = np.random.default_rng(0), []
    for number in range(NUMBER):
        side, coarse = int(rng.integers(64, 400)), int(rng.integers(3, 20))
        soft = Image.fromarray(rng.integers(0, 256, (coarse, coarse, 3), dtype=np.uint8)).resize((side, side))
        kinds = (
            lambda side=side: rng.integers(0, 256, (side, side, 3)),
            lambda side=side: rng.normal(128, rng.uniform(10, 60), (side, side, 1)).clip(0, 255).repeat(3, axis=2),
            lambda soft=soft: np.asarray(soft),
            lambda side=side: (rng.random((side, side, 1)) < rng.uniform(0.01, 0.5)).repeat(3, axis=2) * 255,
        )
        found.append(Image.fromarray(kinds[number % 4]().astype(np.uint8)))
    return found


def gradients() -> Pictures:
    """From one colour to another: across, down, both, from the middle; and of one colour."""
    rng, found = np.random.default_rng(0), []
    for number in range(NUMBER):
        height, width = rng.integers(100, 400, 2)
        y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
        share = (x, y, (x + y) / 2, np.hypot(x - 0.5, y - 0.5), np.zeros_like(x))[number % 5][..., None]
        one, other = rng.integers(0, 256, (2, 3))
        found.append(Image.fromarray((one * (1 - share) + other * share).astype(np.uint8)))
    return found


def text(words: list[str]) -> Pictures:
    rng, found = random.Random(0), []
    path = font_manager.findfont("DejaVu Sans")
    for number in range(NUMBER):
        width, height, size = rng.randint(200, 700), rng.randint(150, 700), rng.randint(9, 48)
        ink, paper = ("white", "navy") if number % 3 == 0 else ("black", "white")
        page = Image.new("RGB", (width, height), paper)
        pen, font = ImageDraw.Draw(page), ImageFont.truetype(path, size)
        for y in range(10, height, int(size * 1.4)):
            pen.text((10, y), " ".join(rng.choices(words, k=30)), font=font, fill=ink)
        found.append(page)
    return found


def charts() -> Pictures:
    """Lines, bars, dots, tiles and cakes in turn."""
    rng, found = np.random.default_rng(0), []
    for number in range(NUMBER):
        figure = Figure(figsize=(4, 3))
        canvas, axes = FigureCanvasAgg(figure), figure.subplots()
        kinds = (
            lambda axes=axes: axes.plot(rng.normal(size=(60, 3)).cumsum(axis=0)),
            lambda axes=axes: axes.bar(range(8), rng.random(8)),
            lambda axes=axes: axes.scatter(*rng.normal(size=(2, 200))),
            lambda axes=axes: axes.imshow(rng.random((12, 12))),
            lambda axes=axes: axes.pie(rng.random(5), labels=list("abcde")),
        )
        kinds[number % 5]()
        canvas.draw()
        found.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    return found


def shapes() -> Pictures:
    rng, found = random.Random(0), []

    def colour() -> tuple[int, int, int]:
        return rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)

    for _ in range(NUMBER):
        picture = Image.new("RGB", (300, 300), colour())
        pen = ImageDraw.Draw(picture)
        for _ in range(rng.randint(1, 6)):
            left, top = rng.randint(0, 250), rng.randint(0, 250)
            box = (left, top, left + rng.randint(20, 150), top + rng.randint(20, 150))
            rng.choice([pen.rectangle, pen.ellipse])(box, fill=colour())
        found.append(picture)
    return found
