"""Opening pictures: what is read, and what is refused before it is decoded."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tasks.caption.image import normalise, to_square
from tasks.caption.pictures import MAX_PIXELS, open_picture
from tasks.errors import InvalidInput, TooLarge, UnsupportedMedia

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def of_bytes(tmp_path, content, name="picture.png"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def png_header(width, height):
    """A PNG that promises width x height pixels and holds none."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def noise(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, size=(height, width, 3), dtype=np.uint8))


def near(pixel, expected, by=12):
    return all(abs(a - b) <= by for a, b in zip(pixel, expected, strict=True))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.bmp", "a.tiff", "a.avif"])
def test_every_format_of_the_contract_is_read(saved, name):
    """Each that the contract names comes back as RGB of the same size."""
    picture = open_picture(saved(Image.new("RGB", (40, 30), RED), name))
    assert picture.mode == "RGB" and picture.size == (40, 30)
    assert near(picture.getpixel((20, 15)), RED)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 100, (100, 100, 100)),
        ("1", 1, WHITE),
        ("P", 0, (0, 0, 0)),
        ("RGBA", (255, 0, 0, 0), WHITE),
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
        ("LA", (0, 0), WHITE),
        ("I;16", 40_000, (156, 156, 156)),
    ],
)
def test_every_mode_becomes_rgb_over_white(saved, mode, colour, expected):
    """Grey, palette, transparent and 16-bit pictures all come as 8-bit RGB, transparency over white."""
    assert near(open_picture(saved(Image.new(mode, (8, 8), colour))).getpixel((3, 3)), expected, by=2)


def test_cmyk_jpeg_becomes_rgb(saved):
    """Full magenta and yellow is red."""
    path = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "print.jpg", quality=95)
    assert near(open_picture(path).getpixel((8, 8)), RED)


def test_palette_with_transparency_lies_over_white(saved):
    """The transparent entry of a palette is white, the others are themselves."""
    picture = Image.new("P", (2, 1))
    picture.putpalette([*RED, *BLUE])
    picture.putdata([0, 1])
    opened = open_picture(saved(picture, transparency=0))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [WHITE, BLUE]


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (2, (1, 0)), (3, (1, 1)), (4, (0, 1)), (5, (0, 0)), (6, (1, 0)), (7, (1, 1)), (8, (0, 1))],
)
def test_exif_orientation_is_applied(saved, orientation, corner):
    """The red quarter, stored top left, is where each of the eight orientations says."""
    picture = Image.new("RGB", (64, 32), BLUE)
    picture.paste(RED, (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_picture(saved(picture, "turned.jpg", exif=exif, quality=95))
    assert opened.size == ((64, 32) if orientation < 5 else (32, 64))
    at = [int(part * (length - 1) * 0.8 + length * 0.1) for part, length in zip(corner, opened.size, strict=True)]
    assert near(opened.getpixel(at), RED, by=40)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_refuse_a_picture(saved):
    """An EXIF block that cannot be read is as good as none."""
    path = saved(Image.new("RGB", (16, 16), GREEN), "odd.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert near(open_picture(path).getpixel((8, 8)), GREEN)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (12_500, 4_001), (60_000, 60_000)])
def test_too_many_pixels_are_refused_by_the_header(tmp_path, width, height):
    """The file holds no pixel at all, so the refusal cannot come from decoding; it names the limit."""
    with pytest.raises(TooLarge, match=f"{MAX_PIXELS:,}"):
        open_picture(of_bytes(tmp_path, png_header(width, height)))


def test_the_limit_itself_is_allowed(tmp_path):
    """50 megapixels pass the header; that nothing follows is another complaint."""
    with pytest.raises(InvalidInput, match="cut short or damaged"):
        open_picture(of_bytes(tmp_path, png_header(10_000, 5_000)))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.bmp", "a.tiff", "a.avif"])
@pytest.mark.parametrize("kept", [0.03, 0.4])
def test_a_picture_of_which_too_little_is_there_is_invalid(saved, name, kept):
    """Whatever the format and wherever the cut, the answer is a sentence, not a traceback."""
    path = saved(noise(64, 64), name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InvalidInput, match="cut short or damaged"):
        open_picture(path)


def test_an_empty_file_is_invalid(tmp_path):
    """Nothing is not a picture."""
    with pytest.raises(InvalidInput, match="empty"):
        open_picture(of_bytes(tmp_path, b""))


@pytest.mark.parametrize(
    "content",
    [
        b"hello, I am text\n" * 10,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x00" * 99,
        b"RIFF\x24\x00\x00\x00WAVEfmt ",
    ],
)
def test_what_is_no_picture_is_unsupported(tmp_path, content):
    """A text by the name of picture.png is still a text; the sentence says what can be read."""
    with pytest.raises(UnsupportedMedia, match="png, jpeg, webp, gif, bmp, tiff, avif and heic"):
        open_picture(of_bytes(tmp_path, content))


@pytest.mark.parametrize("name", ["a.jp2", "a.ppm", "a.ico"])
def test_formats_beside_the_contract_are_unsupported(saved, name):
    """Pillow could read them; each further decoder is a further risk."""
    with pytest.raises(UnsupportedMedia):
        open_picture(saved(Image.new("RGB", (16, 16), RED), name))


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (7, 7), (5000, 1)])
def test_to_square_shows_all_of_the_picture(size):
    """Any shape fits; what is left over has the colour of the edge."""
    square = to_square(Image.new("RGB", size, GREEN), 96)
    assert square.size == (96, 96)
    assert np.asarray(square).reshape(-1, 3).tolist() == [list(GREEN)] * 96 * 96


def test_normalise_gives_a_batch_the_network_takes():
    """(batch, 3, height, width) float32: black is -1.99, white 1.99."""
    batch = normalise([Image.new("RGB", (4, 3), "black"), Image.new("RGB", (4, 3), "white")])
    assert batch.shape == (2, 3, 3, 4) and batch.dtype.is_floating_point
    assert batch[0].max() == pytest.approx(-127.5 / 64) and batch[1].min() == pytest.approx(127.5 / 64)
