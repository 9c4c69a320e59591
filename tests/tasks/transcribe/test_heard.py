"""Recordings as strangers bring them, through a model: words at their times, warnings in result and file."""

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.algorithm import Call, load
from tasks.transcribe.hmm_words import Model
from tests.tasks.transcribe.sounds import NINE, made, spoken

COUNTED = "one two three four five"
"""What hmm-words surely hears of NINE, however the recording is packed."""


@pytest.fixture(scope="module")
def model() -> Model:
    return load("transcribe", "hmm-words")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return spoken()


def transcript(model: Model, path: Path, **params) -> dict:
    """transcript.json, which has the result too."""
    call = Call.of("transcribe", params, audio=str(path))
    (result,) = model.run([call])
    told = json.loads((call.workdir / "transcript.json").read_text())
    assert {name: told[name] for name in result.value} == result.value
    return told


def first_word(told: dict, segment: int = 0) -> float:
    return told["segments"][segment]["words"][0]["start"]


def codes(told: dict) -> list[str]:
    """But that of the voice, which is none of the six that the model knows."""
    return [warning["code"] for warning in told["warnings"] if warning["code"] != "out_of_domain"]


def test_words_of_a_late_track_are_late(model, speech, tmp_path):
    """By exactly as much: a hole is no part of what is recognised."""
    path = made(tmp_path / "late.mp4", (3.936, speech), codec="alac", video_s=10)
    late, plain = transcript(model, path), transcript(model, NINE)
    assert COUNTED in late["text"] and codes(late) == []
    assert first_word(late) == pytest.approx(first_word(plain) + 3.936, abs=0.05)
    assert late["duration_s"] == pytest.approx(7.95, abs=0.1)


def test_words_behind_a_hole_come_after_it(model, speech, tmp_path):
    """The hole is 20 s long."""
    path = made(tmp_path / "hole.webm", (0, speech), (24.0, speech), codec="libopus", rate=48_000)
    told = transcript(model, path)
    assert told["text"].count(COUNTED) == 2 and codes(told) == []
    assert first_word(told, 1) == pytest.approx(24.0, abs=0.05)


def test_opposite_phase_is_heard_and_told(model, speech, tmp_path):
    """The text is that of one channel."""
    told = transcript(model, made(tmp_path / "x.flac", (0, np.stack([speech, -speech])), layout="stereo"))
    assert COUNTED in told["text"] and codes(told) == ["channels_cancel"]


def test_half_a_recording_is_a_transcript_with_a_warning(model, tmp_path):
    """What is there was said."""
    data = NINE.read_bytes()
    (tmp_path / "half.opus").write_bytes(data[: len(data) // 2])
    told = transcript(model, tmp_path / "half.opus")
    assert "one two" in told["text"] and codes(told) == ["audio_cut"]
    call = Call.of("transcribe", {"damaged": "refuse"}, audio=str(tmp_path / "half.opus"))
    (error,) = model.run([call])
    assert error.code == "invalid_input" and "breaks off at second" in error.detail
