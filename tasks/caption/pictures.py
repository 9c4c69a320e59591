"""Opens pictures that strangers sent: upright RGB, whatever they came as. It knows no network, and imports none.

A picture is judged by its header before anything is decoded, and decoded in a process apart. Of an animation, a file of
several pages or a video the first picture is read; a damaged file is read as far as damaged.py says. Both are told.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pi_heif
from PIL import AvifImagePlugin, Image, ImageOps, PngImagePlugin
from pydantic import BaseModel, ValidationError

from tasks.caption import WARNINGS, damaged, video
from tasks.caption.limits import MAX_PIXELS, check_size
from tasks.decoding import ENDED, Decoder
from tasks.errors import DETAIL_MAX, BacklotError, InvalidInput, TooLarge, UnsupportedMedia
from tasks.text import line
from tasks.warning import Warned, warning

DECODES_WITH = ("PIL", "pi_heif", "av")
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
READS = "png, jpeg, webp, gif, bmp, tiff, avif and heic are read, and the first frame of mp4, mov, webm, mkv and avi"
BEGINNINGS = {
    "png": rb"\x89PNG\r\n\x1a\n",
    "jpeg": rb"\xff\xd8\xff",
    "webp": rb"RIFF....WEBP",
    "gif": rb"GIF8",
    "bmp": rb"BM",
    "tiff": rb"II\*\0|MM\0\*",
    "avif": rb"....ftypavi[fs]",
    "heic": rb"....ftyp(heic|heix|heim|heis|hevc|mif1|msf1)",
}
TEXT_MAX, TEXTS_MAX = 16 * 1024**2, 32 * 1024**2
"""Bytes that a colour profile or a text within a PNG may unpack to, one and all."""
TOO_MUCH_TEXT = r"[Dd]ecompressed data too large|[Tt]oo much memory used in text chunks"
"""Words of Pillow about them."""
PREVIEW, GAIN_MAP = "Large Thumbnail", b"hdrgm:"
"""Begins the sort of a further picture in a JPEG (MPO) that is the first, smaller; stands in the XMP where one is its
brightness map."""
VIDEOS = rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI "
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Read:
    """An upright RGB picture, and reasons not to take it for all that the file has."""

    picture: Image.Image
    warnings: list[dict[str, str]]


class _Head(BaseModel):
    """What the decoder says before the pixels; as little trusted as the file."""

    size: tuple[int, int]
    warnings: list[Warned]


def read_picture(path: Path) -> Read:
    """The file's picture, the first where it has several, transparency over white.

    Errors: InvalidInput (empty, cut short, damaged), UnsupportedMedia (no picture of FORMATS and no video),
    TooLarge (more than MAX_PIXELS; nothing has been decoded then).
    """
    with path.open("rb") as file:
        heic = re.match(BEGINNINGS["heic"], file.read(16), re.DOTALL)
    said, pixels = (HEIC_DECODER if heic else DECODER).stream(path)
    try:
        head = _Head.model_validate_json(said)
        picture = Image.frombuffer("RGB", head.size, pixels, "raw", "RGB", 0, 1)
    except (ValidationError, ValueError) as error:
        raise InvalidInput(ENDED) from error
    if any(one.code not in WARNINGS for one in head.warnings):
        raise InvalidInput(ENDED)
    return Read(picture, [{"code": one.code, "detail": line(one.detail, DETAIL_MAX)} for one in head.warnings])


def open_picture(path: Path) -> Image.Image:
    """The picture alone, where nobody asks for warnings; errors as of read_picture."""
    return read_picture(path).picture


def decoded(file: BinaryIO) -> Iterator[bytes]:
    """The same from an open file: its size and warnings as JSON, then its pixels, row by row; the process that this
    runs in may open nothing more, nor start a thread."""
    PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = TEXT_MAX, TEXTS_MAX
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    shown, warnings = _read(file)
    yield json.dumps({"size": shown.size, "warnings": warnings}).encode()
    yield shown.tobytes()


def _read(file: BinaryIO) -> tuple[Image.Image, list[dict[str, str]]]:
    beginning = file.read(16)
    file.seek(0)
    if not beginning:
        raise InvalidInput("the file of the picture is empty")
    known = next((name for name, start in BEGINNINGS.items() if re.match(start, beginning, re.DOTALL)), None)
    if known is None:
        return _first_frame(file, beginning)
    picture = _identified(file, known)
    check_size(*picture.size)
    name, warnings = (picture.format or known).lower(), _others(picture)
    if reason := _fault(picture):
        del picture
        picture, told = damaged.salvaged(file, FORMATS, name, reason)
        warnings.append(told)
    return to_rgb(_upright(picture)), warnings


def _fault(picture: Image.Image) -> str | None:
    """Decodes the picture, or says why that cannot be; not the exception, whose frames hold the pixels."""
    try:
        picture.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise anything at all on damaged bytes
        if re.search(TOO_MUCH_TEXT, str(error)):
            raise _too_much_text() from error
        return str(error) or type(error).__name__
    return None


def _identified(file: BinaryIO, known: str) -> Image.Image:
    """The picture with only its header read; what is unsound beside the pixels is passed over at a second look."""
    try:
        try:
            return Image.open(file, formats=FORMATS)
        except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise
        except Exception as error:
            if re.search(TOO_MUCH_TEXT, str(error)):
                raise _too_much_text() from error
            file.seek(0)
            with damaged.leniently():
                return Image.open(file, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow's own, higher limit
        raise TooLarge(f"the picture has more than {MAX_PIXELS:,} pixels, which is the limit") from error
    except (MemoryError, BacklotError):
        raise
    except Exception as error:  # UnidentifiedImageError, and what a plugin lets through
        other = ", or its pixels are of a sort that is not read: save it as png" if known == "tiff" else ""
        raise InvalidInput(f"the file begins as {known} but is cut short or damaged{other}") from error


def _first_frame(file: BinaryIO, beginning: bytes) -> tuple[Image.Image, list[dict[str, str]]]:
    """Of a video; what is none is no picture either."""
    try:
        frame = video.first_frame(file)
    except video.NoVideo as error:
        if re.match(VIDEOS, beginning, re.DOTALL) and error.damaged:
            raise InvalidInput("the file begins like a video but is cut short or damaged") from error
        raise UnsupportedMedia(f"the file is not a picture that can be read here: {READS}") from error
    return frame, [warning("frames_ignored", "the file is a video: only its first frame was looked at")]


def _others(picture: Image.Image) -> list[dict[str, str]]:
    """A warning where the file has more pictures than the first."""
    try:
        number = int(getattr(picture, "n_frames", 1))
        if picture.format == "MPO":
            entries = getattr(picture, "mpinfo", {}).get(0xB002, [])
            others = sum(not str(one["Attribute"]["MPType"]).startswith(PREVIEW) for one in entries[1:])
            number = 1 if GAIN_MAP in picture.info.get("xmp", b"") else 1 + others
        picture.seek(0)
    except MemoryError:
        raise
    except Exception:  # the later pictures are damaged: there are some
        number = 2
    detail = f"the file has {number} pictures or frames: only the first was looked at"
    return [warning("frames_ignored", detail)] if number > 1 else []


def _too_much_text() -> TooLarge:
    return TooLarge(
        f"a text or colour profile in the png has more than {TEXT_MAX // 1024**2} MiB, or all of them more than "
        f"{TEXTS_MAX // 1024**2} MiB: save the picture without it"
    )


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
    """Any of Pillow's modes as 8-bit RGB; transparency lies over white. Errors: UnsupportedMedia for other numbers."""
    if picture.mode.startswith("I"):  # 16 bits of grey: convert() would clip at 255
        grey = np.asarray(picture)
        if picture.mode == "I" and (grey.min() < 0 or grey.max() > 65535):
            raise UnsupportedMedia("the picture has grey values of 32 bits: save it with 8 or 16 bits")
        picture = Image.fromarray((grey.astype(np.uint16, copy=False) >> 8).astype(np.uint8))
    if picture.mode == "F":
        raise UnsupportedMedia("the picture has floating-point values: save it with 8 or 16 bits")
    if picture.has_transparency_data:
        seen = picture.convert("RGBA")
        paper = Image.new("RGB", seen.size, WHITE)
        paper.paste(seen, mask=seen.getchannel("A"))
        return paper
    try:
        return picture.convert("RGB")
    except ValueError as error:
        raise UnsupportedMedia(f"the picture's colours are {picture.mode}: save it as RGB") from error


DECODER = Decoder(f"{__name__}:{decoded.__name__}")
HEIC_DECODER = Decoder(f"{__name__}:{decoded.__name__}", threads=True)
"""libde265 starts a thread for each picture, however many it is asked to take."""
