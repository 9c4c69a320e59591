"""A recording that is cut or damaged gives what there is with a warning, or is refused: the caller's choice."""

import contextlib
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import BacklotError, InvalidInput, UnsupportedMedia
from tasks.transcribe import audio
from tests.tasks.transcribe.sounds import RATE, heard, made, place, spoken


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return spoken()


CONTAINERS = {
    "wav": {"codec": "pcm_s16le"},
    "rf64.wav": {"codec": "pcm_s16le", "options": {"rf64": "always"}},
    "w64": {"codec": "pcm_s16le"},
    "au": {"codec": "pcm_s16be"},
    "aiff": {"codec": "pcm_s16be"},
    "caf": {"codec": "pcm_s16be"},
    "mp3": {"codec": "libmp3lame"},
    "stream.mp3": {"codec": "libmp3lame", "options": {"write_xing": "0"}},
    "mp2": {"codec": "mp2"},
    "aac": {"codec": "aac", "form": "adts"},
    "ac3": {"codec": "ac3", "rate": 48_000},
    "amr": {"codec": "libopencore_amrnb", "rate": 8_000},
    "flac": {"codec": "flac"},
    "ogg": {"codec": "libopus", "rate": 48_000},
    "mkv": {"codec": "flac"},
    "webm": {"codec": "libopus", "rate": 48_000},
    "mp4": {"codec": "aac", "options": {"movflags": "faststart"}},
    "fragmented.mp4": {"codec": "aac", "options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}},
    "3gp": {"codec": "libopencore_amrnb", "rate": 8_000, "options": {"movflags": "faststart"}},
    "wma": {"codec": "libmp3lame", "rate": 44_100, "form": "asf"},
    "avi": {"codec": "libmp3lame", "rate": 44_100},
    "flv": {"codec": "aac", "rate": 44_100},
    "ts": {"codec": "aac"},
    "mpg": {"codec": "mp2", "rate": 48_000},
}


@pytest.fixture(scope="module")
def files(speech, tmp_path_factory) -> dict[str, Path]:
    """The speech in each of CONTAINERS."""
    folder = tmp_path_factory.mktemp("whole")
    return {ending: made(folder / f"x.{ending}", (0, speech), **how) for ending, how in CONTAINERS.items()}


@pytest.mark.parametrize("ending", CONTAINERS)
def test_whole_recordings_are_heard_without_a_word(ending, files, speech):
    """Each container, with no false alarm where the caller wants nothing damaged either."""
    sound, warnings = heard(files[ending], damaged="refuse")
    assert place(sound, speech) == pytest.approx(0.03, abs=0.05) and warnings == {}
    assert len(sound) / RATE == pytest.approx(4.05, abs=0.06)


@pytest.mark.parametrize("ending", CONTAINERS)
def test_a_cut_recording_gives_what_there_is_or_is_refused(ending, files, tmp_path):
    """Six tenths of the bytes: about as much of the sound, and the second where it breaks off."""
    data, path = files[ending].read_bytes(), tmp_path / files[ending].name
    path.write_bytes(data[: len(data) * 6 // 10 + 1])
    sound, warnings = heard(path)
    assert 1.5 < len(sound) / RATE < 2.8 and [*warnings] == ["audio_cut"]
    with pytest.raises(InvalidInput, match=r"(breaks off at|cannot be decoded past) second [12]\.\d"):
        list(audio.blocks(path, damaged="refuse"))


@pytest.mark.parametrize("ending", ["mp3", "flac", "ogg", "ac3", "ts", "3gp"])
def test_damage_in_the_middle_is_told_and_moves_nothing(ending, files, speech, tmp_path):
    """Bytes of noise: what comes after them is heard at its time."""
    data = bytearray(files[ending].read_bytes())
    middle, count = len(data) // 2, max(600, len(data) // 20)
    data[middle : middle + count] = random.Random(1).randbytes(count)
    (tmp_path / files[ending].name).write_bytes(data)
    sound, warnings = heard(tmp_path / files[ending].name)
    whole, _ = heard(files[ending])
    assert [*warnings] == ["audio_damaged"]
    assert place(sound[3 * RATE :], whole[3 * RATE : -RATE // 4]) == pytest.approx(0, abs=0.05)
    with pytest.raises(InvalidInput, match=r"cannot be decoded past second \d\.\d: the file is damaged"):
        list(audio.blocks(tmp_path / files[ending].name, damaged="refuse"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ending=st.sampled_from(sorted(CONTAINERS)), at=st.floats(0, 0.2), junk=st.binary(min_size=1, max_size=200))
def test_a_damaged_file_is_read_or_refused_but_never_crashes(ending, at, junk, files, tmp_path):
    """Whatever bytes are spoilt, of headers above all, the answer is samples or an error of ours."""
    data = bytearray(files[ending].read_bytes())
    start = int(at * len(data))
    data[start : start + len(junk)] = junk
    (tmp_path / files[ending].name).write_bytes(data)
    try:
        assert heard(tmp_path / files[ending].name)[0].dtype == np.int16
    except BacklotError as error:
        assert error.code in ("invalid_input", "unsupported_media", "too_large")


def test_a_header_that_points_nowhere_is_read_or_refused(files, tmp_path):
    """FFmpeg seeks to where an object of 2^63 bytes would end, and before the beginning of the file."""
    for size in (2**63 - 1, 2**62, 2**64 - 8):
        data = bytearray(files["wma"].read_bytes())
        data[40:48] = data[16:24]
        data[16:24] = size.to_bytes(8, "little")
        (tmp_path / "x.wma").write_bytes(data)
        with contextlib.suppress(InvalidInput, UnsupportedMedia):
            heard(tmp_path / "x.wma")


@pytest.mark.parametrize("spoil", ["overwritten", "taken out"])
def test_a_hole_that_damage_made_is_told_and_one_that_is_meant_is_not(spoil, speech, tmp_path):
    """Matroska may have holes: its elements say whether bytes are missing between them."""
    path = made(tmp_path / "x.webm", (0, np.tile(speech, 3)), codec="libopus", rate=48_000)
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 2, len(data) // 2 + 3000)
    data[middle] = bytes(3000) if spoil == "overwritten" else b""
    path.write_bytes(data)
    assert "audio_damaged" in heard(path)[1]


def wav(samples: np.ndarray, riff: int, data: int, behind: bytes = b"") -> bytes:
    """A WAV file with these sizes in its header."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    head = struct.pack("<4sI4s", b"RIFF", riff, b"WAVE") + form + struct.pack("<4sI", b"data", data)
    return head + samples.tobytes() + behind


WHOLE = 64_288 * 2
SIZES = {
    "right": (36 + WHOLE, WHOLE),
    "none": (0, 0),
    "all ones": (0xFFFF_FFFF, 0xFFFF_FFFF),
    "2^31 - 1": (0x7FFF_FFFF, 0x7FFF_FFFF),
    "2^31": (0x8000_0024, 0x8000_0000),
    "sox, to a pipe": (0x7FFF_F024, 0x7FFF_F000),
    "of the samples alone": (0, WHOLE),
}


@pytest.mark.parametrize("sizes", SIZES)
def test_sizes_that_a_stream_could_not_know_say_nothing(sizes, speech, tmp_path):
    """All is heard, and nothing is told."""
    (tmp_path / "x.wav").write_bytes(wav(speech, *SIZES[sizes]))
    sound, warnings = heard(tmp_path / "x.wav", damaged="refuse")
    assert np.array_equal(sound, speech) and warnings == {}


@pytest.mark.parametrize("stated", [2, 64, 32_000, WHOLE - 3200])
def test_sound_behind_the_stated_size_is_heard_and_told(stated, speech, tmp_path):
    """A recorder that ran out of power has not written its header."""
    (tmp_path / "x.wav").write_bytes(wav(speech, 36 + stated, stated))
    sound, warnings = heard(tmp_path / "x.wav")
    assert np.array_equal(sound, speech)
    assert f"leaves out {WHOLE - stated:,} bytes" in warnings["sizes_wrong"]


@pytest.mark.parametrize("behind", [b"\0", b"LIST\4\0\0\0INFO", b"id3 \3\0\0\0abc\0LIST\4\0\0\0INFO"])
def test_notes_behind_the_samples_are_no_sound(behind, speech, tmp_path):
    """Chunks that programs append, and a byte that makes the size even."""
    (tmp_path / "x.wav").write_bytes(wav(speech, 36 + WHOLE + len(behind), WHOLE, behind))
    sound, warnings = heard(tmp_path / "x.wav")
    assert np.array_equal(sound, speech) and warnings == {}
