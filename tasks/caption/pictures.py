"""Opens pictures that strangers sent: upright RGB, whatever they came as. It knows no network, and imports none.

A picture is judged by its header before anything is decoded, and decoded in a process apart.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from tasks.decoding import Decoder
from tasks.errors import InvalidInput, TooLarge, UnsupportedMedia

DECODES_WITH = ("PIL",)
MAX_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
BEGINNINGS = {
    "png": rb"\x89PNG\r\n\x1a\n",
    "jpeg": rb"\xff\xd8\xff",
    "webp": rb"RIFF....WEBP",
    "gif": rb"GIF8",
    "bmp": rb"BM",
}
WHITE = (255, 255, 255)


def open_picture(path: Path) -> Image.Image:
    """The file as an upright RGB picture: of an animation the first frame, transparency over white.

    Errors: InvalidInput (empty, cut short, damaged), UnsupportedMedia (no picture of FORMATS),
    TooLarge (more than MAX_PIXELS; nothing has been decoded then).
    """
    size, pixels = DECODER.stream(path)
    return Image.frombuffer("RGB", tuple(json.loads(size)), pixels, "raw", "RGB", 0, 1)


def decoded(file: BinaryIO) -> Iterator[bytes]:
    """The same from an open file: its width and height as JSON, then its pixels, row by row; the process that this runs
    in may open nothing more."""
    picture = _identified(file)
    _check_size(picture)
    try:
        picture.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise anything at all on damaged bytes
        raise InvalidInput(f"the {_name(picture)} picture is cut short or damaged ({error})") from error
    shown = to_rgb(_upright(picture))
    yield json.dumps(shown.size).encode()
    yield shown.tobytes()


def _identified(file: BinaryIO) -> Image.Image:
    """The picture with only its header read."""
    beginning = file.read(16)
    file.seek(0)
    if not beginning:
        raise InvalidInput("the file of the picture is empty")
    try:
        return Image.open(file, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow's own, higher limit
        raise TooLarge(f"the picture has more than {MAX_PIXELS:,} pixels, which is the limit") from error
    except MemoryError:
        raise
    except Exception as error:  # UnidentifiedImageError, and what a plugin lets through
        known = next((name for name, start in BEGINNINGS.items() if re.match(start, beginning, re.DOTALL)), None)
        if known:
            raise InvalidInput(f"the file begins like a {known} but is cut short or damaged") from error
        names = ", ".join(name.lower() for name in FORMATS)
        raise UnsupportedMedia(f"the file is not a picture that can be read here: {names}") from error


def _check_size(picture: Image.Image) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise TooLarge(f"the picture has {width} x {height} = {width * height:,} pixels; the limit is {MAX_PIXELS:,}")
    if width * height == 0:
        raise InvalidInput(f"the picture has no pixels: it is {width} x {height}")


def _upright(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; as it is where the EXIF block cannot be read."""
    try:
        ImageOps.exif_transpose(picture, in_place=True)
    except MemoryError:
        raise
    except Exception:  # a damaged EXIF block is no reason to refuse a picture
        pass
    return picture


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any of Pillow's modes as 8-bit RGB; transparency lies over white."""
    if picture.mode.startswith("I"):  # 16 bits of grey: convert() would clip at 255
        grey = np.asarray(picture).clip(0, 65535)
        picture = Image.fromarray((grey >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        seen = picture.convert("RGBA")
        paper = Image.new("RGB", seen.size, WHITE)
        paper.paste(seen, mask=seen.getchannel("A"))
        return paper
    return picture.convert("RGB")


def _name(picture: Image.Image) -> str:
    return (picture.format or "opened").lower()


DECODER = Decoder(f"{__name__}:{decoded.__name__}")
