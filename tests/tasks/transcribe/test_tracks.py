"""Of several audio tracks one is heard, and the answer names the others."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from tasks.errors import InvalidInput
from tasks.transcribe import audio

RATE = 16_000


def film(path: Path, *tracks: tuple[str, float, dict], default: int | None = None) -> Path:
    """One second a track: codec, level and metadata."""
    with av.open(str(path), "w") as file:
        made = []
        for number, (codec, level, said) in enumerate(tracks):
            track = file.add_stream(codec, rate=RATE, layout="mono")
            track.metadata.update(said)
            track.disposition = Disposition.default if number == default else Disposition(0)
            made.append((track, np.full((1, RATE), level, np.int16)))
        for track, samples in made:
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.rate, frame.pts = RATE, 0
            file.mux([*track.encode(frame), *track.encode(None)])
    return path


def heard(path: Path, track: int | None = None) -> tuple[float, list[dict]]:
    warnings: list[dict] = []
    sound = np.concatenate(list(audio.blocks(path, track=track, warn=warnings.append)))
    return float(np.median(sound)), warnings


TWO = (("pcm_s16le", 1000, {"language": "eng", "title": "Comments"}), ("flac", 2000, {"language": "ger"}))


@pytest.mark.parametrize(("default", "track", "level"), [(1, None, 2000), (0, None, 1000), (None, None, 1000)])
def test_the_track_is_the_default_or_the_first(default, track, level, tmp_path):
    """The file decides, and the warning names the other track by number, codec, language and title."""
    found, warnings = heard(film(tmp_path / "film.mkv", *TWO, default=default), track)
    assert found == level
    assert [warning["code"] for warning in warnings] == ["tracks_ignored"]
    other = "0 (pcm_s16le, eng, 'Comments')" if level == 2000 else "1 (flac, ger)"
    assert f"Not heard: {other}." in warnings[0]["detail"]


@pytest.mark.parametrize(("track", "level"), [(0, 1000), (1, 2000)])
def test_the_caller_may_choose_the_track(track, level, tmp_path):
    """Who chooses is told nothing."""
    assert heard(film(tmp_path / "film.mkv", *TWO, default=1), track) == (level, [])


def test_a_default_track_that_is_not_read_leaves_the_choice_to_the_others(tmp_path):
    """The first track that can be read is heard, and the warning says why."""
    path = film(tmp_path / "film.mkv", ("tta", 1000, {}), ("flac", 2000, {}), default=0)
    found, warnings = heard(path)
    assert found == 2000 and "the default one is in a form that is not read" in warnings[0]["detail"]


def test_a_track_that_is_not_there_is_refused_with_the_numbers_that_are(tmp_path):
    """Numbers count from 0."""
    with pytest.raises(InvalidInput, match="2 audio tracks, 0 to 1; `track` asks for 2"):
        heard(film(tmp_path / "film.mkv", *TWO), 2)


def test_a_title_of_control_characters_is_one_line(tmp_path):
    """Texts of the file are fit to be shown."""
    path = film(tmp_path / "film.mkv", TWO[0], ("flac", 1, {"title": "a\nb\x1b[31m" + "x" * 5000}))
    detail = heard(path)[1][0]["detail"]
    assert "\n" not in detail and "\x1b" not in detail and len(detail) < 500
