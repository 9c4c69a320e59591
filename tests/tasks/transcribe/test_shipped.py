"""The weights of rnn and dnn that ship: words out of real recordings, and the card that goes with them."""

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.algorithm import Call, load
from tasks.transcribe.ctc_listener import timed
from tests.tasks.transcribe.test_audio import SAMPLES, encode

WEIGHTS = Path(__file__).parents[3] / "tasks" / "transcribe" / "weights"


@pytest.mark.parametrize("name", ["rnn", "dnn"])
def test_nothing_said_is_an_empty_transcript(name, tmp_path):
    """Silence, and a stretch in which no word is heard."""
    (result,) = load("transcribe", name).run(
        [Call.of("transcribe", audio=str(encode(np.zeros(30_000, np.int16), tmp_path, "wav")))]
    )
    assert (result.value["text"], result.value["duration_s"], result.value["confidence"]) == ("", 1.875, None)
    assert timed([], 1.0) == []


@pytest.mark.parametrize("name", ["rnn", "dnn"])
def test_words_have_times_and_confidence(name):
    """Of speech that is not of its domain, too: times rise and stay within the recording, with and without a search."""
    model = load("transcribe", name)
    for params in ({}, {"beams": 1}, {"language_model": False, "beams": 4}, {"denoise": "spectral"}):
        call = Call.of("transcribe", params, audio=str(SAMPLES / "reading_female.opus"))
        (result,) = model.run([call])
        words = [
            word
            for segment in json.loads((call.workdir / "transcript.json").read_text())["segments"]
            for word in segment["words"]
        ]
        assert words and result.value["text"] == " ".join(word["text"] for word in words)
        assert all(0 <= word["start"] <= word["end"] <= 12.3 and 0 <= word["confidence"] <= 1 for word in words)
        assert all(one["end"] <= other["start"] + 1e-6 for one, other in zip(words, words[1:], strict=False))


@pytest.mark.parametrize("name", ["rnn", "dnn", "hmm-words"])
def test_the_card_tells_what_was_measured(name):
    """Every held-out figure of config.json that is a rate stands in CARD.md, and the licence of the data."""
    card = (WEIGHTS / name / "CARD.md").read_text()
    figures = json.loads((WEIGHTS / name / "config.json").read_text())["held_out"]
    for value in figures.values():
        for one in value.values() if isinstance(value, dict) else [value]:
            assert f"{one:.3f}" in card or one == 130
    assert "CC BY-SA 4.0" in card if name == "hmm-words" else "Carnegie Mellon University" in card
    assert sum(path.stat().st_size for path in (WEIGHTS / name).iterdir()) < 12e6


@pytest.mark.slow
@pytest.mark.data("audio/an4")
@pytest.mark.parametrize(("name", "at_most"), [("rnn", 0.25), ("dnn", 0.4)])
def test_speakers_that_nobody_was_trained_on_are_understood(name, at_most, real_data):
    """Every sixth utterance of AN4's test part, as jobs; the whole part is measured in the bench."""
    from tasks.transcribe.training import corpora
    from tasks.transcribe.training.wer import word_error_rate

    said = corpora.an4(real_data, "test")[::6]
    results = load("transcribe", name).run([Call.of("transcribe", audio=str(one.path)) for one in said])
    pairs = [(one.text, result.value["text"]) for one, result in zip(said, results, strict=True)]
    assert word_error_rate(pairs) < at_most
