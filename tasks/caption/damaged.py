"""Reads a damaged picture as far as it is whole. Knows Pillow's decoders; what is too little, and how it is told.

Pillow decodes on when ImageFile.LOAD_TRUNCATED_IMAGES says so, and does not say how far it came. Two decodings, one
over black and one over white, differ where nothing was written. A JPEG decoder fills what is missing with middle grey.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile

from tasks.errors import InvalidInput
from tasks.warning import warning

LEAST = 0.5
"""Share of the pixels that must be there."""
GREY = (127, 128)
"""Values of all bands where a JPEG has no data; inverted, where it is one of four bands."""
BLOCK = 8
"""Rows and columns that a JPEG stores together, at least."""
STRIP = 256
"""Rows compared at a time."""
FILLS = (0, 255)


@contextlib.contextmanager
def leniently() -> Iterator[None]:
    """Lets Pillow read on past damage; for a process that reads one picture at a time."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def salvaged(file: BinaryIO, formats: tuple[str, ...], name: str, reason: str) -> tuple[Image.Image, dict[str, str]]:
    """The picture without the rows at its ends that are missing, and a warning.

    Errors: InvalidInput, where less than LEAST of the pixels are there.
    """
    try:
        picture, rows, columns, share = _read_on(file, formats, name)
    except MemoryError:
        raise
    except Exception:
        raise InvalidInput(f"the {name} picture is cut short or damaged ({reason})") from None
    if share < LEAST:
        there = f"{math.floor(share * 100)}% of it is there, {LEAST:.0%} are needed"
        detail = f"the {name} picture is cut short or damaged: {there}"
        raise InvalidInput(detail)
    if share < 1:
        told = f"{math.floor(share * 100)}% of it is there, and was looked at"
    elif picture.info.get("progressive"):
        told = "all of its rows are there, perhaps without their detail"
    else:
        told = "all of its rows are there"
    return _without(picture, rows, columns), warning(
        "picture_damaged", f"the {name} file is cut short or damaged: {told}"
    )


def _read_on(file: BinaryIO, formats: tuple[str, ...], name: str) -> tuple[Image.Image, np.ndarray, np.ndarray, float]:
    """The picture, the numbers of the rows and of the columns that have anything (a TIFF comes turned as its tags say),
    and the share of pixels that was written."""
    if name in ("jpeg", "mpo"):
        picture = _over(file, formats, None)
        rows = picture.height - _grey_rows(picture)
        missing = _grey_end(picture.crop((0, max(0, rows - BLOCK), picture.width, rows)))
        share = (rows * picture.width - missing) / (picture.height * picture.width)
        return picture, np.arange(rows), np.arange(picture.width), share
    black, white = (_over(file, formats, fill) for fill in FILLS)
    written, pixels, across = [], 0, np.zeros(black.width, dtype=bool)
    for top in range(0, black.height, STRIP):
        box = (0, top, black.width, min(black.height, top + STRIP))
        one, other = (np.asarray(picture.crop(box)) for picture in (black, white))
        there = one == other
        there = there.all(axis=2) if there.ndim == 3 else there
        pixels += int(there.sum())
        across |= there.any(axis=0)
        written.append(top + np.flatnonzero(there.any(axis=1)))
    return black, np.concatenate(written), np.flatnonzero(across), pixels / (black.width * black.height)


def _without(picture: Image.Image, rows: np.ndarray, columns: np.ndarray) -> Image.Image:
    """What lies within the outermost rows and columns; a row between that is missing (interlaced) is that above it."""
    first, last = int(rows[0]), int(rows[-1])
    cut = picture.crop((int(columns[0]), first, int(columns[-1]) + 1, last + 1))
    for row in sorted({*range(first, last + 1)} - {*rows.tolist()}):
        above = row - first - 1
        cut.paste(cut.crop((0, above, cut.width, above + 1)), (0, above + 1))
    return cut


def _over(file: BinaryIO, formats: tuple[str, ...], fill: int | None) -> Image.Image:
    """Decoded leniently, over pixels of one value where one is given."""
    file.seek(0)
    with leniently():
        picture = Image.open(file, formats=formats)
        assert isinstance(picture, ImageFile.ImageFile)
        prepare = picture.load_prepare

        def filled() -> None:
            prepare()
            if fill is not None:
                bands = len(picture.getbands())
                picture.im.paste((fill,) * bands if bands > 1 else fill, (0, 0, *picture.im.size))

        picture.load_prepare = filled  # type: ignore[method-assign]
        picture.load()
        del picture.load_prepare  # the function holds the picture, which would stay after its last use
    return picture


def _grey_rows(picture: Image.Image) -> int:
    """Rows at the end of a JPEG that no data was read for."""
    for bottom in range(picture.height, 0, -STRIP):
        top = max(0, bottom - STRIP)
        strip = np.asarray(picture.crop((0, top, picture.width, bottom))).reshape(bottom - top, -1)
        there = np.flatnonzero(~np.isin(strip, GREY).all(axis=1))
        if there.size:
            return picture.height - (top + int(there[-1]) + 1)
    return picture.height


def _grey_end(block: Image.Image) -> int:
    """Pixels of a JPEG's last rows, at their right, that no data was read for."""
    pixels = np.asarray(block).reshape(block.height, block.width, -1)
    there = np.flatnonzero(~np.isin(pixels, GREY).all(axis=(0, 2)))
    missing = block.width - (int(there[-1]) + 1 if there.size else 0)
    return missing * block.height if missing >= BLOCK else 0
