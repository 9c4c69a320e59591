"""Recordings of every accepted kind are decoded alike; anything else is refused in a sentence."""

import random
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.errors import InvalidInput, TooLarge, UnsupportedMedia
from tasks.transcribe import audio, cut, recording

SAMPLES = Path(audio.__file__).parent / "samples"
# ending: FFmpeg's container and codec, its sample rate, channels
FORMATS = {
    "wav": ("wav", "pcm_s16le", 44_100, "stereo"),
    "mp3": ("mp3", "libmp3lame", 22_050, "mono"),
    "m4a": ("mp4", "aac", 44_100, "stereo"),
    "flac": ("flac", "flac", 16_000, "mono"),
    "ogg": ("ogg", "flac", 44_100, "stereo"),
    "opus": ("opus", "libopus", 48_000, "mono"),
    "webm": ("webm", "libopus", 48_000, "mono"),
}


def encode(samples: np.ndarray, path: Path, ending: str) -> Path:
    """int16 samples, 16 kHz, as a file of one of FORMATS."""
    container, codec, rate, layout = FORMATS[ending]
    path = path / f"recording.{ending}"
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
    frame.rate, frame.pts = audio.RATE, 0
    with av.open(str(path), "w", format=container) as file:
        track = file.add_stream(codec, rate=rate, layout=layout)
        track.codec_context.open()
        resampler = av.AudioResampler(track.codec_context.format, layout, rate, track.codec_context.frame_size or 1024)
        for piece in resampler.resample(frame) + resampler.resample(None):
            file.mux(track.encode(piece))
        file.mux(track.encode(None))
    return path


def decode(path: Path) -> np.ndarray:
    return np.concatenate(list(audio.blocks(path)))


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Six seconds of a reading, int16, 16 kHz."""
    return decode(SAMPLES / "reading_female.opus")[: 6 * audio.RATE]


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_same_sound(ending, speech, tmp_path):
    """Whatever rate, channels and codec a recording has, the samples line up with the original."""
    decoded = decode(encode(speech, tmp_path, ending))
    assert decoded.dtype == np.int16
    assert abs(len(decoded) - len(speech)) < 0.1 * audio.RATE
    assert _similarity(speech, decoded) > 0.95


def _similarity(one: np.ndarray, other: np.ndarray) -> float:
    """The largest correlation within 50 ms: codecs add a little silence in front."""
    middle = one[audio.RATE : 4 * audio.RATE].astype(float)
    shifts = range(-800, 801, 4)
    shifted = [other[audio.RATE + s : 4 * audio.RATE + s] for s in shifts]
    return max(float(np.corrcoef(middle, s)[0, 1]) for s in shifted)


def test_blocks_are_a_second_each(speech, tmp_path):
    """Memory does not grow with the recording: it comes in blocks of a second, the last shorter."""
    sizes = [len(block) for block in audio.blocks(encode(speech[:40_000], tmp_path, "flac"))]
    assert sizes == [16_000, 16_000, 8_000]


def test_the_sound_of_a_video_is_read(speech, tmp_path):
    """A video file with an audio track is a recording too."""
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as file:
        picture, sound = file.add_stream("mpeg4", rate=10), file.add_stream("aac", rate=16_000, layout="mono")
        picture.width = picture.height = 64
        for _ in range(20):
            file.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        frame = av.AudioFrame.from_ndarray(speech[np.newaxis, :32_000], format="s16", layout="mono")
        frame.rate = 16_000
        resampler = av.AudioResampler("fltp", "mono", 16_000, 1024)
        file.mux([packet for piece in resampler.resample(frame) + [None] for packet in sound.encode(piece)])
        file.mux(picture.encode(None))
    assert len(decode(path)) == pytest.approx(32_000, abs=2048)


@pytest.mark.parametrize(("codec", "ending"), [("tta", "mkv"), ("g722", "wav")])
def test_a_codec_beside_the_list_is_refused_by_its_name(speech, tmp_path, codec, ending):
    """A container that is read may hold what is not: FFmpeg has hundreds of decoders."""
    path = tmp_path / f"old.{ending}"
    with av.open(str(path), "w") as file:
        sound = file.add_stream(codec, rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(speech[np.newaxis, :32_000], format="s16", layout="mono")
        frame.rate = 16_000
        file.mux([*sound.encode(frame), *sound.encode(None)])
    with pytest.raises(UnsupportedMedia, match=codec):
        decode(path)


def test_a_video_without_sound_is_refused(tmp_path):
    """What has no audio track cannot be transcribed."""
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as file:
        picture = file.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 64
        file.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        file.mux(picture.encode(None))
    with pytest.raises(UnsupportedMedia, match="no audio track"):
        decode(path)


@pytest.mark.parametrize("ending", sorted(set(FORMATS) - {"m4a"}))
def test_a_file_cut_in_the_middle_says_at_what_second(ending, speech, tmp_path):
    """Half a recording is not passed off as the whole where the caller wants none of it."""
    path = encode(speech, tmp_path, ending)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InvalidInput, match=r"(breaks off at|cannot be decoded past) second [123]\.\d"):
        list(audio.blocks(path, damaged="refuse"))


def test_a_cut_m4a_has_lost_its_index(speech, tmp_path):
    """An m4a keeps its index at the end; without it nothing can be decoded."""
    path = encode(speech, tmp_path, "m4a")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UnsupportedMedia, match="index is missing"):
        decode(path)


def test_a_damaged_stretch_is_skipped(speech, tmp_path):
    """Stream rips have bad frames: what follows them is still read."""
    path = encode(speech, tmp_path, "mp3")
    data = bytearray(path.read_bytes())
    data[8000:8600] = random.Random(1).randbytes(600)
    path.write_bytes(data)
    assert 5.0 < len(decode(path)) / audio.RATE < 6.1


REFUSED = {
    "text": b"Dear all, the recording follows on Monday.\n" * 50,
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(2000),
    "noise": random.Random(0).randbytes(50_000),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_recording_is_refused(what, tmp_path):
    """The answer says what is read instead."""
    (tmp_path / what).write_bytes(REFUSED[what])
    with pytest.raises(UnsupportedMedia, match="wav, mp3, .* ts and mpg are read"):
        decode(tmp_path / what)


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nrecording.wav\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile recording.wav\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_never_reaches_the_file_it_names(name, speech, tmp_path):
    """FFmpeg would read, or fetch, what a playlist names; here it is no recording."""
    encode(speech, tmp_path, "wav")
    (tmp_path / name).write_text(PLAYLISTS[name])
    with pytest.raises(UnsupportedMedia):
        decode(tmp_path / name)


def test_ffmpeg_would_have_followed_the_playlist(speech, tmp_path):
    """The trap is real: without the list of containers the same file plays its neighbour."""
    encode(speech, tmp_path, "wav")
    (tmp_path / "list.ffconcat").write_text(PLAYLISTS["list.ffconcat"])
    with (tmp_path / "list.ffconcat").open("rb") as file, av.open(file) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) > 0


def test_an_empty_file_is_refused(tmp_path):
    """No bytes, no recording."""
    (tmp_path / "empty.wav").touch()
    with pytest.raises(InvalidInput, match="0 bytes"):
        decode(tmp_path / "empty.wav")


def test_a_recording_without_a_single_sample_is_refused(tmp_path):
    """A header alone is no recording either."""
    path = tmp_path / "header.wav"
    path.write_bytes(_wav_header(0))
    with pytest.raises(InvalidInput, match="no sound at all"):
        decode(path)


def _wav_header(data: int) -> bytes:
    """8 kHz, mono, 8 bits a sample."""
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + data, b"WAVE")
        + struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
        + struct.pack("<4sI", b"data", data)
    )


def test_more_than_four_hours_are_refused_by_the_header(tmp_path):
    """Nothing is decoded when the file itself says that it is too long."""
    path, seconds = tmp_path / "long.wav", 4 * 3600 + 1
    with path.open("wb") as file:
        file.write(_wav_header(seconds * 8000))
        file.truncate(44 + seconds * 8000)  # a hole: takes no disk
    with pytest.raises(TooLarge, match="longer than 4 hours"):
        next(audio.blocks(path))


def test_the_limit_is_counted_where_no_header_states_it(speech, tmp_path, monkeypatch):
    """A file that states no length, or a false one, is stopped while it is decoded."""
    monkeypatch.setattr(recording, "MAX_HOURS", 3 / 3600)
    monkeypatch.setattr(cut, "stated_seconds", lambda *_: None)
    heard = []
    with encode(speech, tmp_path, "flac").open("rb") as file, pytest.raises(TooLarge, match="longer than"):
        heard.extend(audio.decoded(file))
    assert sum(len(piece) - 1 for piece in heard) <= 3 * audio.RATE * 2
