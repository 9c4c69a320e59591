"""Input that a model was not made for: warnings, the confidence of its words, and the counts in the cards."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tasks.algorithm import Call, load
from tasks.errors import ModelFailed
from tasks.transcribe import hmm_words
from tasks.transcribe.domain import SHARE, UNLIKE, Domain, doubted, findings
from tasks.transcribe.finished import Finished
from tasks.transcribe.segments import Span
from tasks.transcribe.transcript import Segment, Word
from tests.tasks.transcribe.test_audio import SAMPLES, encode

WEIGHTS = Path(__file__).parents[3] / "tasks" / "transcribe" / "weights"
JUDGES = ["hmm-words", "rnn", "dnn"]
TIME = np.arange(48_000) / 16_000
FOREIGN = {
    "tone": 3000 * np.sin(2 * np.pi * 440 * TIME),
    "two tones": 3000 * (np.sin(2 * np.pi * 300 * TIME) + np.sin(2 * np.pi * 1270 * TIME)),
    "hum": 4000 * np.sign(np.sin(2 * np.pi * 50 * TIME)),
    "hiss": np.random.default_rng(0).normal(0, 2000, 48_000),
    "siren": 5000 * np.sin(2 * np.pi * (600 * TIME + 40 * np.sin(2 * np.pi * 2 * TIME))),
    "clicks": 20_000.0 * (np.arange(48_000) % 4000 < 8),
    "clipped noise": 32_767 * np.sign(np.random.default_rng(1).normal(0, 1, 48_000)),
    "an instant": 9000 * np.sin(2 * np.pi * 700 * TIME[:800]),
}


@pytest.fixture(scope="module", params=JUDGES)
def model(request):
    """Each of the models that ship with a domain."""
    return load("transcribe", request.param)


def told(model, path) -> dict:
    (result,) = model.run([Call.of("transcribe", audio=str(path))])
    return result.value


def codes(value: dict) -> list[str]:
    return [warning["code"] for warning in value["warnings"]]


@pytest.mark.parametrize("name", FOREIGN)
def test_sounds_that_are_no_speech_are_warned_of(model, name, tmp_path):
    """No word, or words that the result does not vouch for."""
    value = told(model, encode(FOREIGN[name].clip(-32768, 32767).astype(np.int16), tmp_path, "wav"))
    assert codes(value) in (["out_of_domain"], ["no_speech"])
    assert value["text"] == "" if codes(value) == ["no_speech"] else value["confidence"] < 0.35


@pytest.mark.parametrize("name", ["reading_male", "jfk_1961"])
def test_prose_is_warned_of(model, name):
    """The detail says when; transcript.json has the warning and the fit of each stretch."""
    call = Call.of("transcribe", audio=str(SAMPLES / f"{name}.opus"))
    (result,) = model.run([call])
    (warning,) = result.value["warnings"]
    assert warning["code"] == "out_of_domain" and " s) sound unlike what this model learned" in warning["detail"]
    written = json.loads((call.workdir / "transcript.json").read_text())
    assert written["warnings"] == [warning]
    assert any(segment["fit"] < UNLIKE for segment in written["segments"])


def test_silence_is_warned_of(model, tmp_path):
    """An empty text has its reason."""
    value = told(model, encode(np.zeros(30_000, np.int16), tmp_path, "wav"))
    assert value["text"] == "" and value["warnings"] == [
        {"code": "no_speech", "detail": "no speech was found, in 1.9 s; the text is empty"}
    ]


def segments(*fits: float | None) -> list[Segment]:
    """A second each, with a word; None: not judged."""
    return [Segment(n, n + 1, (Word("one", n, n + 1, 0.9),), fit) for n, fit in enumerate(fits)]


def test_a_tenth_of_unlike_stretches_is_no_warning():
    """Just at the share and just over it; where nothing is judged, nothing is said."""
    assert SHARE == 0.1
    assert findings(segments(*[0.9] * 9, 0.1), 10) == []
    (warning,) = findings(segments(*[0.9] * 8, 0.1), 9)
    assert warning["code"] == "out_of_domain" and "1 of 9 stretches (8.0-9.0 s)" in warning["detail"]
    assert findings(segments(None, None), 2) == []


def test_a_warning_lists_a_few_stretches():
    assert "4.0-5.0 s and 3 more)" in findings(segments(*[0.1] * 8), 8)[0]["detail"]


def test_sound_without_a_word_is_no_speech():
    """Also where the stretches are unlike: there is no text to doubt."""
    (warning,) = findings([Segment(0, 1, (), 0.1)], 1)
    assert warning["code"] == "no_speech"


def test_confidence_falls_with_the_fit():
    """As it was from 0.5 up, half of it at a quarter; none where the model gives none."""
    words = [Word("one", 0, 1, 0.8), Word("two", 1, 2, None)]
    assert [[word.confidence for word in doubted(words, fit)] for fit in (None, 1.0, 0.5, 0.25, 0.0)] == [
        [0.8, None],
        [0.8, None],
        [0.8, None],
        [0.4, None],
        [0.0, None],
    ]


def test_a_fit_is_the_logistic_function():
    """Of the bias and the standardised measures; far off, 0 or 1 without an overflow."""
    domain = Domain(("a", "b"), (1.0, 0.0), (2.0, 1.0), (1.0, -1.0), 0.5)
    assert domain.fit({"a": 3.0, "b": 1.5}) == pytest.approx(0.5)
    assert domain.fit({"a": 5.0, "b": 0.5}) == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert (domain.fit({"a": -1e9, "b": 0}), domain.fit({"a": 1e9, "b": 0})) == (pytest.approx(0), pytest.approx(1))


def test_weights_without_a_domain_judge_nothing(tmp_path):
    """An operator's own; a domain without its filler is a fault of the folder."""
    assert Domain.read(tmp_path) is None
    for name in ("config.json", "model.safetensors", "domain.json"):
        (tmp_path / name).write_bytes((WEIGHTS / "hmm-words" / name).read_bytes())
    with pytest.raises(ModelFailed, match=r"domain\.safetensors"):
        hmm_words.Model.load(tmp_path)
    (tmp_path / "domain.json").unlink()
    model = hmm_words.Model.load(tmp_path)
    assert [fit for _, fit in model.judged([np.zeros(8000, np.int16)], Call.of("transcribe", audio="x").params)] == [
        None
    ]


def test_a_checkpoint_keeps_the_fit():
    """Lines of a release without one are read, too."""
    saved: list[bytes] = []
    span = Span(0.0, 1.0)
    call = Call.of("transcribe", audio="x")
    object.__setattr__(call, "save", saved.append)
    Finished(call, "rnn", "hash", [span]).add([Segment(0.0, 1.0, (Word("one", 0.0, 1.0, 0.5),), 0.25)])
    object.__setattr__(call, "saved", lambda: saved[-1])
    assert Finished(call, "rnn", "hash", [span]).segments[0].fit == 0.25
    object.__setattr__(call, "saved", lambda: saved[-1].replace(b", 0.25]", b"]"))
    assert Finished(call, "rnn", "hash", [span]).segments[0].fit is None


@pytest.mark.parametrize("name", ["tone", "an instant"])
def test_the_default_model_hears_no_voice_in_a_tone(name, tmp_path):
    """`hmm` is judged too: by how like speech a stretch sounds, and by its words."""
    value = told(load("transcribe", "hmm"), encode(FOREIGN[name][:24_000].astype(np.int16), tmp_path, "wav"))
    assert codes(value) in (["out_of_domain"], ["no_speech"])


@pytest.mark.parametrize("name", ["hmm", *JUDGES])
def test_the_card_tells_how_much_is_warned_of(name):
    """The constants are of the weights beside them; 95 in 100 foreign recordings have a warning, 5 in 100 own ones."""
    constants = json.loads((WEIGHTS / name / "domain.json").read_text())
    if name != "hmm":  # whose weights are the wheel's
        weights = (WEIGHTS / name / "model.safetensors").read_bytes()
        assert constants["model_sha256"] == hashlib.sha256(weights).hexdigest()
    card = (WEIGHTS / name / "CARD.md").read_text()
    shares = {}
    for of, half in constants["held_out"].items():
        for source, (warned, total) in half.items():
            assert f"| {of} | {source} | {warned} of {total} | {warned / total:.1%} |" in card
        shares[of] = sum(warned for warned, _ in half.values()) / sum(total for _, total in half.values())
    assert shares["foreign"] >= 0.95 and shares["own"] <= 0.05


@pytest.mark.timeout(600)
@pytest.mark.data("audio/an4", "audio/fsdd", "audio/librispeech", "audio/noise", "audio/long", "audio/samples")
@pytest.mark.parametrize("name", [*JUDGES, pytest.param("hmm", marks=pytest.mark.slow)])
def test_input_that_calibration_never_saw(name, real_data):
    """A fifth of what was held back, once more: foreign recordings are warned of, the model's own are not."""
    from tasks.transcribe.training import domain, foreign

    judge = load("transcribe", name)
    own, other = (
        [domain.warned(judge, sounds[::5]) for sounds in half.values()] for half in foreign.held(real_data, name)
    )
    assert sum(warned for warned, _ in other) >= 0.95 * sum(total for _, total in other)
    assert sum(warned for warned, _ in own) <= 0.05 * sum(total for _, total in own) + 1
