"""One channel out of many: nothing is lost by opposite phase, dead channels or a change of form within the file."""

import struct

import numpy as np
import pytest

from tests.tasks.transcribe.sounds import RATE, heard, made, place, spoken


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return spoken()


def level(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(sound.astype(float)))))


@pytest.mark.parametrize("other", [-1.0, -0.9, -0.6])
def test_opposite_channels_do_not_cancel(other, speech, tmp_path):
    """The louder one is heard at its level, and the warning says so."""
    sound, warnings = heard(
        made(tmp_path / "x.flac", (0, np.stack([speech, (speech * other).astype(np.int16)])), layout="stereo")
    )
    assert level(sound) == pytest.approx(level(speech), rel=0.02)
    assert "in 4.0 of 4.0 seconds" in warnings["channels_cancel"]


@pytest.mark.parametrize("late", [1, 2])
def test_opposite_channels_a_little_apart_do_not_cancel(late, speech, tmp_path):
    """Two microphones, one wired the wrong way round: low sounds cancel, high ones do not."""
    sound, warnings = heard(made(tmp_path / "x.flac", (0, np.stack([speech, -np.roll(speech, late)])), layout="stereo"))
    assert level(sound) > 0.8 * level(speech) and "channels_cancel" in warnings


def test_speech_in_opposite_phase_under_music_in_phase_is_heard(speech, tmp_path):
    """A part of the sound may cancel, and the rest not."""
    music = np.random.default_rng(1).normal(0, 1500, len(speech))
    channels = np.stack([music + speech, music - speech]).clip(-32_768, 32_767).astype(np.int16)
    sound, warnings = heard(made(tmp_path / "x.flac", (0, channels), layout="stereo"))
    assert abs(np.corrcoef(sound, speech)[0, 1]) > 0.8 and "channels_cancel" in warnings


def test_two_speakers_at_two_microphones_are_mixed(speech, tmp_path):
    """Channels without any likeness: neither is left out, and nothing is said."""
    other = np.roll(speech, 2 * RATE)
    sound, warnings = heard(made(tmp_path / "x.flac", (0, np.stack([speech, other])), layout="stereo"))
    assert min(np.corrcoef(sound, voice)[0, 1] for voice in (speech, other)) > 0.5 and warnings == {}


@pytest.mark.parametrize("other", [1.0, 0.5, 0.0])
def test_ordinary_channels_are_mixed_and_nothing_is_said(other, speech, tmp_path):
    """Their mean, but for a dead one, which takes nothing from the other."""
    sound, warnings = heard(
        made(tmp_path / "x.flac", (0, np.stack([speech, (speech * other).astype(np.int16)])), layout="stereo")
    )
    assert level(sound) == pytest.approx(level(speech) * ((1 + other) / 2 if other else 1), rel=0.02)
    assert warnings == {}


def test_speech_in_opposite_phase_over_hum_in_phase_is_heard(speech, tmp_path):
    """Loud hum that both channels share does not hide that the speech cancels."""
    hum = (3000 * np.sin(2 * np.pi * 50 * np.arange(len(speech)) / RATE)).astype(np.int16)
    sound, warnings = heard(made(tmp_path / "x.flac", (0, np.stack([hum + speech, hum - speech])), layout="stereo"))
    assert "channels_cancel" in warnings
    middle = slice(RATE // 2, 3 * RATE)
    assert np.corrcoef(sound[middle], (hum + speech)[middle])[0, 1] > 0.99


@pytest.mark.parametrize("channel", range(6))
def test_speech_in_any_channel_of_a_film_is_heard(channel, speech, tmp_path):
    """5.1 with dialogue in one channel alone: at its level, even in the fourth, which is for rumble."""
    channels = np.zeros((6, len(speech)), np.int16)
    channels[channel] = speech
    sound, _ = heard(made(tmp_path / "x.flac", (0, channels), layout="5.1"))
    assert level(sound) == pytest.approx(level(speech), rel=0.02)


def test_dialogue_in_the_centre_stays_above_music_at_the_sides(speech, tmp_path):
    """Of a film's 5.1 the centre has the largest share."""
    noise = np.random.default_rng(1).normal(0, level(speech), (6, len(speech)))
    channels = noise.clip(-30_000, 30_000).astype(np.int16)
    channels[2] = speech
    sound, _ = heard(made(tmp_path / "x.flac", (0, channels), layout="5.1"))
    assert np.corrcoef(sound, speech)[0, 1] > 0.5


@pytest.mark.parametrize("count", [2, 3, 7, 8, 16, 64])
def test_channels_without_a_name_are_mixed_alike(count, speech, tmp_path):
    """A WAV file need not say where its channels stand, and may have more than any film."""
    samples = np.repeat(speech[:RATE, np.newaxis], count, axis=1)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, count, RATE, 2 * count * RATE, 2 * count, 16)
    data = struct.pack("<4sI", b"data", samples.nbytes) + samples.tobytes()
    (tmp_path / "x.wav").write_bytes(struct.pack("<4sI4s", b"RIFF", 28 + len(data), b"WAVE") + form + data)
    sound, warnings = heard(tmp_path / "x.wav")
    assert np.array_equal(sound, speech[:RATE]) and warnings == {}


CHANGES = {
    "mp3": [("libmp3lame", 44_100, "mono"), ("libmp3lame", 48_000, "stereo")],
    "aac": [("aac", 44_100, "mono"), ("aac", 22_050, "stereo")],
    "ogg": [("libopus", 48_000, "mono"), ("libopus", 48_000, "stereo")],
    "flac": [("flac", 16_000, "mono"), ("flac", 44_100, "stereo")],
    "wav": [("pcm_s16le", 16_000, "mono"), ("pcm_s24le", 44_100, "stereo")],
    "ac3": [("ac3", 48_000, "mono"), ("ac3", 32_000, "stereo")],
    "mkv": [("flac", 16_000, "mono"), ("flac", 44_100, "stereo")],
    "webm": [("libopus", 48_000, "mono"), ("libopus", 48_000, "stereo")],
    "mp4": [("aac", 16_000, "mono"), ("aac", 44_100, "stereo")],
    "flv": [("aac", 44_100, "mono"), ("aac", 22_050, "stereo")],
    "aiff": [("pcm_s16be", 16_000, "mono"), ("pcm_s16be", 44_100, "stereo")],
}


@pytest.mark.parametrize("ending", CHANGES)
def test_rate_and_channels_may_change_within_a_file(ending, speech, tmp_path):
    """Files joined byte by byte, and chained Ogg: both are heard, the second right behind the first."""
    form = "adts" if ending == "aac" else None
    joined = b"".join(
        made(tmp_path / f"{n}.{ending}", (0, speech), codec=codec, rate=rate, layout=layout, form=form).read_bytes()
        for n, (codec, rate, layout) in enumerate(CHANGES[ending])
    )
    (tmp_path / f"joined.{ending}").write_bytes(joined)
    sound, warnings = heard(tmp_path / f"joined.{ending}")
    assert warnings == {}
    assert len(sound) / RATE == pytest.approx(8.04, abs=0.2)
    first, second = place(sound[: 4 * RATE], speech[: 3 * RATE]), place(sound[4 * RATE :], speech[: 3 * RATE]) + 4
    assert second - first == pytest.approx(4.06, abs=0.1)
