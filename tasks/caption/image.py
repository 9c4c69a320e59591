"""Opening pictures that strangers sent, and making of them what the networks take.

A picture is judged by its header, before anything is decoded; knows nothing of networks but the
shape they want.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from tasks.errors import InvalidInput, TooLarge, UnsupportedMedia

MAX_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
BEGINNINGS = {"png": rb"\x89PNG\r\n\x1a\n", "jpeg": rb"\xff\xd8\xff", "webp": rb"RIFF....WEBP",
              "gif": rb"GIF8", "bmp": rb"BM"}
WHITE = (255, 255, 255)
CENTRE, SPREAD = 127.5, 64  # grey values that become 0 and 1


def open_picture(path: Path) -> Image.Image:
    """The file as an upright RGB picture: of an animation the first frame, transparency over white.

    Errors: InvalidInput (empty, cut short, damaged), UnsupportedMedia (no picture of FORMATS),
    TooLarge (more than MAX_PIXELS; nothing has been decoded then).
    """
    with path.open("rb") as file:
        picture = _identified(file)
        _check_size(picture)
        try:
            picture.load()
        except MemoryError:
            raise
        except Exception as error:  # Pillow's decoders raise anything at all on damaged bytes
            raise InvalidInput(f"the {_name(picture)} picture is cut short or damaged ({error})") from error
    return to_rgb(_upright(picture))


def _identified(file) -> Image.Image:
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


def to_square(picture: Image.Image, side: int) -> Image.Image:
    """All of an RGB picture within side x side pixels; what it leaves over gets the mean colour of its edge."""
    small = picture.resize([max(1, round(length * side / max(picture.size))) for length in picture.size],
                           Image.Resampling.LANCZOS)
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


def _name(picture: Image.Image) -> str:
    return (picture.format or "opened").lower()
