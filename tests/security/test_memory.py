"""Files made to exhaust memory are refused by a limit that is checked first; what is read stays in a stated bound."""

import functools
import gzip
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from tasks.bucket.fetch import fetch
from tasks.bucket.storage import Storage
from tasks.caption.pictures import decoded
from tasks.recommend import tables
from tasks.recommend.cleaning import Cleaning
from tasks.recommend.columns import Choice
from tasks.settings import Settings
from tasks.transcribe import audio
from tests.security.measured import measured
from tests.tasks.transcribe.sounds import made
from tests.web import serve

REFUSED_MIB = 100  # what a refusal may take at most
PICTURE_MIB = 800  # what the largest picture that is read may take: 50 million pixels
SOUND_MIB = 150
TABLE_MIB = 200
HOURS = 9


def saved(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def refused(call, path: Path, code: str, says: str, mib: float = REFUSED_MIB) -> None:
    found = measured(call, path)
    assert found.error is not None, f"it was read: {found}"
    assert found.error.code == code and says in found.error.detail, found.error.detail
    assert found.mib < mib


@functools.cache
def packed(bits: int) -> bytes:
    """200 MB of zeros; `bits` 31 for gzip, 15 for deflate."""
    pack = zlib.compressobj(9, zlib.DEFLATED, bits)
    return b"".join([*(pack.compress(bytes(2**21)) for _ in range(100)), pack.flush()])


# -- pictures


def see(path: Path) -> tuple[int, int]:
    """As the process apart does it, whose memory counts."""
    with path.open("rb") as file:
        head, _ = decoded(file)
    return tuple(json.loads(head)["size"])


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int, height: int, depth: int, colour: int, row_bytes: int, *more: bytes, rows: int | None = None
) -> bytes:
    """A black PNG, of fewer rows than it promises where told so; `more` are chunks before its pixels."""
    packing, row = zlib.compressobj(1), b"\0" + bytes(row_bytes)
    pixels = b"".join([*(packing.compress(row) for _ in range(height if rows is None else rows)), packing.flush()])
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
        + b"".join(more)
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


def gif(width: int, height: int, frame: tuple[int, int] = (1, 1), frames: int = 1) -> bytes:
    """A GIF whose screen and whose first frame promise other sizes than its one pixel."""
    made = io.BytesIO()
    Image.new("P", (1, 1)).save(made, "GIF")
    body = bytearray(made.getvalue())
    body[6:10] = struct.pack("<HH", width, height)
    start = body.index(b",")
    body[start + 5 : start + 9] = struct.pack("<HH", *frame)
    return bytes(body[:start] + body[start:-1] * frames + b";")


@pytest.mark.parametrize(
    "content",
    [
        png(60_000, 60_000, 8, 2, 180_000, rows=1),
        png(10_000, 10_000, 1, 0, 1250),
        gif(65_535, 65_535),
        gif(1, 1, (65_535, 65_535)),
        gif(20_000, 20_000, frames=1000),
    ],
    ids=["a PNG of 3,600 megapixels", "one of 100, a bit each", "a GIF's screen", "a GIF's first frame", "animated"],
)
def test_more_pixels_than_the_limit_are_refused_unread(tmp_path, content):
    """Kilobytes that would become gigabytes."""
    assert len(content) < 200_000
    refused(see, saved(tmp_path, "bomb", content), "too_large", "50,000,000")


@pytest.mark.parametrize(("depth", "colour", "row"), [(16, 0, 20_000), (8, 6, 40_000)], ids=["16 bits grey", "RGBA"])
def test_the_largest_picture_stays_in_its_bound(tmp_path, depth, colour, row):
    """50 megapixels in the two forms that take most to bring to RGB; the file has less than a megabyte."""
    found = measured(see, saved(tmp_path, "large.png", png(10_000, 5_000, depth, colour, row)))
    assert found.answer == (10_000, 5_000) and found.mib < PICTURE_MIB


def test_what_a_picture_carries_beside_its_pixels_is_bounded_too(tmp_path):
    """Texts and a colour profile that unpack to 384 MiB."""
    texts = [chunk(b"zTXt", b"note%d\0\0" % n + zlib.compress(bytes(2**26), 1)) for n in range(4)]
    profile = chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(bytes(2**27), 1))
    refused(see, saved(tmp_path, "talks.png", png(1, 1, 8, 2, 3, *texts, profile)), "too_large", "16 MiB")


def test_a_large_picture_cut_short_is_refused_in_the_same_bound(tmp_path):
    whole = png(10_000, 5_000, 8, 2, 30_000)
    refused(see, saved(tmp_path, "cut.png", whole[: len(whole) // 2]), "invalid_input", "cut short", PICTURE_MIB)


# -- recordings


def hear(path: Path) -> int:
    with path.open("rb") as file:
        return sum(len(piece) - 1 for piece in audio.decoded(file, damaged="refuse")) // 2


def wav(seconds: float, rate: int = 8000, channels: int = 1, data: bytes = bytes(1000)) -> bytes:
    """8 bits a sample; the header promises the seconds."""
    size = int(seconds * rate * channels)
    return (
        struct.pack("<4sI4s", b"RIFF", min(36 + size, 2**32 - 1), b"WAVE")
        + struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * channels, channels, 8)
        + struct.pack("<4sI", b"data", size)
        + data
    )


def flac(samples: int) -> bytes:
    """STREAMINFO (RFC 9639, section 8.2) of 8 kHz mono, and nothing behind it."""
    packed = (8000 << 44 | 0 << 41 | 15 << 36 | samples).to_bytes(8, "big")
    return b"fLaC\x80\0\0\x22" + struct.pack(">HH", 4096, 4096) + bytes(6) + packed + bytes(16)


def mp3(frames: int) -> bytes:
    """Frames of MPEG-1 layer III, 128 kbit/s, 44.1 kHz mono; the first says how many follow (the tag Xing)."""
    frame = b"\xff\xfb\x90\xc4" + bytes(413)
    first = frame[:21] + b"Xing" + struct.pack(">II", 1, frames) + frame[33:]
    return first + frame * 20


def m4a(samples: int) -> bytes:
    """An index that counts so many samples of one byte, in one entry."""

    def box(name: bytes, *parts: bytes) -> bytes:
        return struct.pack(">I4s", 8 + sum(map(len, parts)), name) + b"".join(parts)

    def table(name: bytes, *numbers: int) -> bytes:
        return box(name, struct.pack(f">I{len(numbers)}I", 0, *numbers))

    entry = box(b"mp4a", bytes(6), struct.pack(">HHHIHHHHI", 1, 0, 0, 0, 2, 16, 0, 0, 44100 << 16))
    index = box(
        b"stbl",
        box(b"stsd", struct.pack(">II", 0, 1), entry),
        table(b"stts", 1, samples, 1),
        table(b"stsc", 1, 1, samples, 1),
        table(b"stsz", 1, samples),
        table(b"stco", 1, 40),
    )
    media = box(
        b"mdia",
        table(b"mdhd", 0, 0, 44100, samples, 0),
        box(b"hdlr", bytes(8), b"soun", bytes(13)),
        box(b"minf", index),
    )
    track = box(b"trak", box(b"tkhd", struct.pack(">6I", 7, 0, 0, 1, 0, samples), bytes(60)), media)
    return (
        box(b"ftyp", b"M4A \0\0\0\0M4A ")
        + box(b"moov", table(b"mvhd", 0, 0, 44100, samples, *[0] * 20), track)
        + box(b"mdat", bytes(1000))
    )


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (wav(HOURS * 3600), "invalid_input", "cut short"),
        (flac(HOURS * 3600 * 8000), "too_large", "4 hours"),
        (mp3(HOURS * 3600 * 39), "too_large", "4 hours"),
    ],
    ids=["wav", "flac", "mp3"],
)
def test_a_recording_that_claims_hours_is_refused_by_its_header(tmp_path, content, code, says):
    """A few kilobytes that say they last nine hours."""
    refused(hear, saved(tmp_path, "long", content), code, says)


def test_a_recording_of_one_sample_a_second_is_read_at_constant_memory(tmp_path):
    """3.9 hours in 14 KB, which become 224 million samples, a block at a time."""
    found = measured(hear, saved(tmp_path, "slow.wav", wav(14_000, rate=1, data=bytes(14_000))))
    assert found.answer == 14_000 * audio.RATE and found.mib < SOUND_MIB


def test_a_hole_of_hours_is_silence_at_constant_memory(tmp_path):
    """A second of sound, and another 2 hours later: a block of zeros at a time."""
    second = np.ones(audio.RATE, np.int16)
    path = made(tmp_path / "hole.mkv", (0, second), (7_000, second), codec="pcm_s16le")
    found = measured(hear, path)
    assert found.answer == 7_001 * audio.RATE and found.mib < SOUND_MIB


def test_channels_of_one_sample_a_second_are_mixed_at_constant_memory(tmp_path):
    """The mix is decided for half a second at a time, however much comes at once."""
    content = wav(2_048, rate=1, channels=2, data=bytes(4_096))
    found = measured(hear, saved(tmp_path, "slow.wav", content))
    assert found.answer == 2_048 * audio.RATE and found.mib < 2 * SOUND_MIB


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (wav(1, channels=255), "unsupported_media"),
        (wav(1, rate=2**31 - 1), "unsupported_media"),
        (m4a(2**27), "invalid_input"),
    ],
    ids=["255 channels", "two thousand million samples a second", "an index of 134 million samples"],
)
def test_a_recording_of_absurd_numbers_is_refused(tmp_path, content, code):
    refused(hear, saved(tmp_path, "absurd", content), code, "")


@pytest.mark.parametrize(
    "playlist",
    ["#EXTM3U\n#EXTINF:1,\n{0}\n" * 3 + "#EXT-X-ENDLIST\n", "ffconcat version 1.0\n" + "file {0}\n" * 10_000],
    ids=["m3u8", "concat"],
)
def test_a_playlist_that_repeats_itself_is_no_recording(tmp_path, playlist):
    """Ten thousand times a recording of its own folder would be days."""
    saved(tmp_path, "short.wav", wav(1, data=bytes(8000)))
    refused(hear, saved(tmp_path, "list", playlist.format("short.wav").encode()), "unsupported_media", "are read")


# -- tables


def read(path: Path) -> int:
    return len(tables.read(path, title, Cleaning("catalogue"), 10**6, lambda rows: None).lines)


def title(header: list[str]) -> Choice:
    return Choice({"title": header.index("title")} if "title" in header else {})


def parquet_of(tmp_path: Path, values: pyarrow.Array, **options) -> Path:
    path = tmp_path / "table.parquet"
    parquet.write_table(pyarrow.table({"title": values}), path, compression="zstd", store_schema=False, **options)
    assert path.stat().st_size < 200_000
    return path


def repeated(rows: int) -> pyarrow.DictionaryArray:
    """One text of a megabyte, so many times."""
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * rows, pyarrow.int32()), pyarrow.array(["a" * 2**20]))


def test_a_parquet_file_that_declares_gigabytes_is_refused(tmp_path):
    """By its header, into which 3 GiB are written; its rows are as they were."""
    path = parquet_of(tmp_path, pyarrow.array(["a" * 2**20] * 160), use_dictionary=False)
    stated = parquet.read_metadata(path).row_group(0).column(0).total_uncompressed_size
    true, content = thrift(stated), path.read_bytes()
    assert true in content and len(true) == len(thrift(3 * 2**30))
    path.write_bytes(content.replace(true, thrift(3 * 2**30)))
    refused(read, path, "too_large", "at most 2,147,483,648")


def thrift(number: int) -> bytes:
    """As Thrift's compact protocol writes an i64: zigzag, 7 bits a byte, the lowest first."""
    number, written = number * 2, b""
    while number > 127:
        number, written = number >> 7, written + bytes([number & 127 | 128])
    return written + bytes([number])


@pytest.mark.parametrize(
    "values",
    [repeated(200_000), pyarrow.ListArray.from_arrays([0, 200_000], repeated(200_000))],
    ids=["a row each", "in one list"],
)
def test_a_parquet_file_that_repeats_one_large_text_is_refused(tmp_path, values):
    """200 GB written out, from a file of a kilobyte."""
    refused(read, parquet_of(tmp_path, values), "too_large", "268,435,456")


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (b"title\n" + b"a" * 20_000_000, "too_large", "1,048,576"),
        (b'title\n"' + b"a\n" * 200_000, None, ""),
        (("title\n" + "a" * 10_000_000).encode("utf-16"), "too_large", "1,048,576"),
        (b"title" + b",a" * 500_000 + b"\n", "invalid_input", "no rows"),
        (b"title," + b",".join(b"c%d" % n for n in range(100_000)) + b"\na" + b"," * 200_000 + b"\n", None, ""),
        (b'{"title": ' + b"[" * 500_000 + b"\n", "invalid_input", "not JSON"),
        (b'{"title": ' + b'{"a":' * 100_000 + b"\n", "invalid_input", "not JSON"),
        (b"PK\3\4" + bytes(100), "unsupported_media", "binary"),
        (packed(31), "unsupported_media", "binary"),
    ],
    ids=[
        "one line",
        "an open quote",
        "one line of UTF-16",
        "one name for 500,000 columns",
        "100,000 columns",
        "500,000 lists deep",
        "100,000 objects deep",
        "zip",
        "gzip",
    ],
)
def test_a_table_is_read_in_its_bound_or_refused(tmp_path, content, code, says):
    """Lines, cells and depth; a row that is only odd is counted as such."""
    path = saved(tmp_path, "table", content)
    if code:
        refused(read, path, code, says, TABLE_MIB)
    else:
        found = measured(read, path)
        assert found.error is None and found.mib < TABLE_MIB


# -- what a web server packs


def get(path: Path, url: str, settings: Settings, max_bytes: int) -> str:
    return fetch(
        url, path, tenant="acme", max_bytes=max_bytes, settings=settings, storage=Storage(settings), uploads={}
    )


@pytest.mark.parametrize(
    ("encoding", "body", "code", "says"),
    [
        ("gzip", packed(31), "too_large", "50000000 bytes"),
        ("deflate", packed(15), "too_large", "50000000 bytes"),
        ("gzip, gzip", gzip.compress(packed(31)), "input_unreachable", "gzip and deflate are unpacked"),
        ("br", b"any", "input_unreachable", "packed as 'br'"),
        ("gzip", b"any", "input_unreachable", "not the gzip"),
        ("gzip", packed(31)[:500], "input_unreachable", "breaks off"),
    ],
    ids=["gzip", "deflate", "twice", "another", "none", "half"],
)
def test_a_packed_body_is_counted_as_it_is_unpacked(tmp_path, settings, encoding, body, code, says):
    """200 MB in 200 KB, or packed once more in 1 KB: never more than a piece in memory."""
    with serve() as web:
        url = web.gives("/bomb", body, content_encoding=encoding)
        found = measured(get, tmp_path / "input", url, settings, 50_000_000)
    assert found.error and found.error.code == code and says in found.error.detail
    assert found.mib < REFUSED_MIB
