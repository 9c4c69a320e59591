"""Files that are not quite one whole picture: cut short, with more beside the pixels, of several frames, videos."""

import io
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tasks.caption.pictures import TEXT_MAX, read_picture
from tasks.errors import InvalidInput, TooLarge, UnsupportedMedia

WIDTH, HEIGHT = 60, 80
RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture():
    """Grey from top to bottom, with noise: 80 rows that each differ."""
    rng = np.random.default_rng(0)
    grey = np.linspace(20, 235, HEIGHT)[:, None, None] + rng.integers(-20, 20, (HEIGHT, WIDTH, 3))
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


def encoded(form, image=None, **options):
    made = io.BytesIO()
    (image or picture()).save(made, form, **options)
    return made.getvalue()


@pytest.fixture
def read(tmp_path):
    def of(content):
        (tmp_path / "picture").write_bytes(content)
        return read_picture(tmp_path / "picture")

    return of


def codes(found):
    return [one["code"] for one in found.warnings]


# -- cut short


@pytest.mark.parametrize(
    ("form", "options"),
    [("PNG", {}), ("JPEG", {"quality": 95}), ("GIF", {"interlace": 0}), ("BMP", {}), ("TIFF", {})],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize(("kept", "is_read"), [(0.9, True), (0.65, True), (0.4, False)])
def test_of_a_cut_picture_the_whole_rows_are_read(read, form, options, kept, is_read):
    """They are those of the whole picture; the share is told; under half of it is refused, with the share."""
    content = encoded(form, **options)
    whole = read(content)
    assert whole.warnings == []
    cut = content[: int(len(content) * kept)]
    if not is_read:
        with pytest.raises(InvalidInput, match=r"\d+% of it is there, 50% are needed"):
            read(cut)
        return
    found = read(cut)
    assert codes(found) == ["picture_damaged"] and found.picture.width == WIDTH
    rows = found.picture.height
    assert kept - 0.2 < rows / HEIGHT < kept + (0.2 if form == "JPEG" else 0.1)  # a JPEG has blocks of 16 rows
    of_whole = np.asarray(whole.picture, int)[-rows:] if form == "BMP" else np.asarray(whole.picture, int)[:rows]
    differing = np.abs(np.asarray(found.picture, int) - of_whole).max(axis=(1, 2)) > 0
    assert differing.sum() <= (18 if form == "JPEG" else 1)  # the last row, or block of rows, is there in part
    assert "% of it is there" in found.warnings[0]["detail"]


def test_a_jpeg_without_its_end_is_whole(read):
    """All pixels are there: the caption is that of the whole picture, with a warning."""
    content = encoded("JPEG", quality=95)
    found = read(content.removesuffix(b"\xff\xd9"))
    assert np.array_equal(np.asarray(found.picture), np.asarray(read(content).picture))
    assert codes(found) == ["picture_damaged"] and "all of its rows are there" in found.warnings[0]["detail"]


def test_a_progressive_jpeg_cut_late_lacks_detail_alone(read):
    content = encoded("JPEG", progressive=True, quality=95)
    found = read(content[: len(content) * 3 // 4])
    assert found.picture.size == (WIDTH, HEIGHT) and "without their detail" in found.warnings[0]["detail"]
    difference = np.abs(np.asarray(found.picture, int) - np.asarray(picture(), int))
    assert difference.mean() < 15


def test_missing_rows_of_an_interlaced_gif_are_those_above_them(read):
    """Cut in its last pass, which has every second row."""
    content = encoded("GIF", interlace=1)
    found = read(content[: int(len(content) * 0.75)])
    assert codes(found) == ["picture_damaged"] and found.picture.height >= HEIGHT - 1
    rows = np.asarray(found.picture, int)
    assert np.array_equal(rows[-2], rows[-3]) or np.array_equal(rows[-1], rows[-2])


def test_a_cut_picture_is_turned_as_a_whole_one(read):
    exif = Image.Exif()
    exif[0x0112] = 6
    for form in ("JPEG", "PNG", "TIFF"):
        content = encoded(form, exif=exif)
        found = read(content[: int(len(content) * 0.85)])
        assert found.picture.height == WIDTH and found.picture.width < HEIGHT, form


def test_bytes_that_are_wrong_are_told_or_refused(read):
    """A flipped byte in a PNG ends what can be read there."""
    content = bytearray(encoded("PNG"))
    content[int(len(content) * 0.8)] ^= 255
    assert codes(read(bytes(content))) == ["picture_damaged"]


@pytest.mark.parametrize("form", ["WEBP", "AVIF"])
def test_forms_that_cannot_be_read_in_part_are_refused(read, form):
    content = encoded(form)
    with pytest.raises(InvalidInput, match="cut short or damaged"):
        read(content[: int(len(content) * 0.9)])


# -- beside the pixels


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(*chunks):
    """A PNG with these chunks after its header."""
    plain = encoded("PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_large_colour_profile_is_no_damage(read, form):
    """2 MB that do not compress."""
    found = read(encoded(form, icc_profile=np.random.default_rng(0).bytes(2_000_000)))
    assert found.picture.size == (WIDTH, HEIGHT) and found.warnings == []


@pytest.mark.parametrize("packed", [True, False])
def test_a_large_text_is_no_damage(read, packed):
    texts = PngInfo()
    texts.add_text("prompt", "a castle " * 400_000, zip=packed)
    found = read(encoded("PNG", pnginfo=texts))
    assert found.picture.size == (WIDTH, HEIGHT) and found.warnings == []


@pytest.mark.parametrize(("size", "fits"), [(TEXT_MAX - 1, True), (TEXT_MAX + 1, False)])
def test_a_profile_has_a_limit(read, size, fits):
    """Just under it is read, just over it is refused, with the limit and what to do."""
    content = png_with(chunk(b"iCCP", b"any\0\0" + zlib.compress(bytes(size))))
    if fits:
        assert read(content).warnings == []
    else:
        with pytest.raises(TooLarge, match="16 MiB.*save the picture without it"):
            read(content)


def test_a_broken_chunk_beside_the_pixels_does_not_refuse_them(read):
    """A text whose checksum is wrong."""
    broken = chunk(b"tEXt", b"note\0hello")[:-1] + b"\0"
    assert read(png_with(broken)).picture.size == (WIDTH, HEIGHT)


# -- several pictures


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"])
def test_of_several_the_first_is_read_and_the_others_are_told(read, form):
    """Red, then blue twice."""
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, BLUE, BLUE)]
    frames[2].putpixel((0, 0), RED)  # equal frames are joined
    found = read(encoded(form, frames[0], save_all=True, append_images=frames[1:]))
    red, _, blue = found.picture.getpixel((16, 16))
    assert red > 200 > 50 > blue
    assert codes(found) == ["frames_ignored"] and "3 pictures" in found.warnings[0]["detail"]


def test_a_brightness_map_beside_a_photograph_is_no_second_picture(read):
    """As telephones store it: an MPO whose XMP says so."""
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, BLUE)]
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"/>'
    )
    assert read(encoded("MPO", frames[0], save_all=True, append_images=frames[1:], xmp=xmp)).warnings == []


def video(form, codec, turned=0):
    """Half a second, red above blue at first."""
    made, frame = io.BytesIO(), np.zeros((48, 64, 3), np.uint8)
    frame[:24], frame[24:] = RED, BLUE
    with av.open(made, "w", format=form) as container:
        track = container.add_stream(codec, rate=10)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        for number in range(5):
            for packet in track.encode(av.VideoFrame.from_ndarray(frame if number == 0 else frame[::-1].copy())):
                container.mux(packet)
        for packet in track.encode():
            container.mux(packet)
    return made.getvalue()


@pytest.mark.parametrize(
    ("form", "codec"),
    [("mp4", "libx264"), ("mov", "mpeg4"), ("webm", "libvpx-vp9"), ("matroska", "libx264"), ("avi", "mpeg4")],
)
def test_of_a_video_the_first_frame_is_read(read, form, codec):
    found = read(video(form, codec))
    assert codes(found) == ["frames_ignored"] and "video" in found.warnings[0]["detail"]
    (above, _, _), (_, _, below) = (found.picture.getpixel((32, y)) for y in (8, 40))
    assert found.picture.size == (64, 48) and above > 200 and below > 200


def test_a_video_that_is_cut_is_damaged_and_sound_is_no_picture(read, tmp_path):
    content = video("mp4", "libx264")
    with pytest.raises(InvalidInput, match="video but is cut short"):
        read(content[:600])
    sound = io.BytesIO()
    with av.open(sound, "w", format="mp4") as container:
        track = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        for packet in [*track.encode(frame), *track.encode()]:
            container.mux(packet)
    with pytest.raises(UnsupportedMedia, match="not a picture"):
        read(sound.getvalue())


# -- kinds of numbers


@pytest.mark.parametrize(
    ("values", "expected"), [(np.full((9, 9), 40_000, np.uint16), 156), (np.full((9, 9), 40_000, np.int32), 156)]
)
def test_grey_of_16_bits_keeps_its_upper_8(read, values, expected):
    assert read(encoded("TIFF", Image.fromarray(values))).picture.getpixel((4, 4)) == (expected,) * 3


@pytest.mark.parametrize("values", [np.full((9, 9), 0.5, np.float32), np.full((9, 9), 1_000_000, np.int32)])
def test_numbers_without_a_known_range_are_refused(read, values):
    """Whether 0.5 is dark or half is not known."""
    with pytest.raises(UnsupportedMedia, match="8 or 16 bits"):
        read(encoded("TIFF", Image.fromarray(values)))


def test_a_tiff_of_pixels_that_are_not_read_says_so(read):
    """Whole, of 11 bits a pixel: the tag BitsPerSample (258) is changed."""
    content = encoded("TIFF", Image.new("L", (9, 9)))
    entry = struct.pack("<HHIH", 258, 3, 1, 8)
    assert entry in content
    with pytest.raises(InvalidInput, match="a sort that is not read: save it as png"):
        read(content.replace(entry, struct.pack("<HHIH", 258, 3, 1, 11)))


HEIC = Path(__file__).parent / "heic"
"""Four quarters, red and green over blue and yellow, 96 x 64; turned: EXIF orientation 6; several: two pictures."""
QUARTERS = (200, 30, 30), (30, 160, 40), (40, 60, 200), (230, 220, 60)


def corners(picture):
    """The colours of the corners, from the upper left by rows: which of QUARTERS each is, to within four of 255."""
    seen = [picture.getpixel((x, y)) for y in (4, picture.height - 5) for x in (4, picture.width - 5)]
    return [n for c in seen for n, one in enumerate(QUARTERS) if np.abs(np.subtract(c, one)).max() <= 4]


def test_heic_is_read_the_right_way_up(read):
    """As a telephone writes it."""
    found = read((HEIC / "quarters.heic").read_bytes())
    assert found.picture.size == (96, 64) and corners(found.picture) == [0, 1, 2, 3]
    assert found.warnings == []
    turned = read((HEIC / "turned.heic").read_bytes())
    assert turned.picture.size == (64, 96) and corners(turned.picture) == [2, 0, 3, 1]


def test_of_several_pictures_of_a_heic_the_first_is_read_and_the_others_are_told(read):
    found = read((HEIC / "several.heic").read_bytes())
    assert corners(found.picture) == [0, 1, 2, 3]
    assert [one["code"] for one in found.warnings] == ["frames_ignored"]


@pytest.mark.parametrize("left", [30, 200, 452])
def test_a_heic_that_breaks_off_is_refused(read, left):
    with pytest.raises(InvalidInput, match="cut short or damaged"):
        read((HEIC / "quarters.heic").read_bytes()[:left])
