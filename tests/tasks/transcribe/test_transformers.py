"""Checkpoints of other people: what transformers' own pipeline says of them, we say. Tiny random ones, on disk.

`make test` tries those of QUICK, `make test-checkpoints` all.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2ForCTC, Wav2Vec2Processor, WhisperForConditionalGeneration, WhisperProcessor, pipeline

from tasks.algorithm import Call
from tasks.errors import InvalidInput, ModelFailed
from tasks.transcribe import Params, ctc, segments, whisper
from tasks.transcribe.listening import shared
from tests.tasks.transcribe import checkpoints
from tests.tasks.transcribe.checkpoints import CTC, SEQ2SEQ
from tests.tasks.transcribe.test_audio import SAMPLES, decode, encode

QUICK = ("moonshine", "wav2vec2", "whisper")
RATE = 16_000


def sorts(made):
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.checkpoints) for name in sorted(made)]


@pytest.fixture(scope="module")
def reading() -> np.ndarray:
    """The first 16 s of a reading, int16: three stretches."""
    return decode(SAMPLES / "reading_male.opus")[: 16 * RATE]


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """3 s of the reading, int16."""
    return decode(SAMPLES / "reading_female.opus")[int(4.6 * RATE) : int(7.6 * RATE)]


@pytest.fixture
def recorded(reading, tmp_path) -> str:
    return str(encode(reading, tmp_path, "flac"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """name -> the folder of its checkpoint, made once."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            {**CTC, **SEQ2SEQ}[name](made[name])
        return made[name]

    return folder


def theirs(folder: Path, sounds: list[np.ndarray], **options: object) -> list[str]:
    """What transformers' pipeline hears in each stretch."""
    listen = pipeline("automatic-speech-recognition", model=str(folder), dtype=torch.float32, device="cpu", **options)
    waves = [{"raw": sound.astype(np.float32) / 32768, "sampling_rate": RATE} for sound in sounds]
    return [" ".join(listen(wave)["text"].split()) for wave in waves]


def stretches(sound: np.ndarray) -> list[np.ndarray]:
    spans = segments.find([sound])
    return [sound[round(span.start * RATE) : round(span.end * RATE)] for span in spans]


def params(**given: object) -> Params:
    return Call.of("transcribe", given, audio="x").params


def said(words) -> str:
    return " ".join(word.text for word in words)


def transcribed(model, path: str, **given: object):
    (outcome,) = model.run([Call.of("transcribe", given, audio=path)])
    return outcome


def codes(outcome) -> list[str]:
    return [one["code"] for one in outcome.value["warnings"]]


@pytest.mark.parametrize("name", sorts(CTC))
def test_ctc_says_what_the_pipeline_says(name, folders, reading, speech, recorded):
    """One stretch, with steps that follow one another; and a whole job of several."""
    model = ctc.Model.load(folders(name), "cpu")
    expected = theirs(folders(name), [speech, *stretches(reading)])
    (words,) = model.hear([speech], params())
    assert said(words) == expected[0] and len(expected[0]) > 10
    assert all(0 <= word.start < word.end <= 3.0 and 0 < word.confidence <= 1 for word in words)
    assert all(one.end <= other.start for one, other in zip(words, words[1:], strict=False))
    assert len(expected) > 2 and transcribed(model, recorded).value["text"] == " ".join(expected[1:])


@pytest.mark.parametrize("name", sorts(SEQ2SEQ))
def test_a_decoder_says_what_the_pipeline_says(name, folders, reading, speech, recorded):
    """Greedily; one stretch, and a whole job of several, which says the same to the letter."""
    model = whisper.Model.load(folders(name), "cpu")
    asked = {"language": "en", "task": "transcribe"} if name == "whisper" else {}
    expected = theirs(folders(name), [speech, *stretches(reading)], generate_kwargs={**asked, "num_beams": 1})
    (words,) = model.hear([speech], params(language="en"))
    assert said(words) == expected[0] and len(expected[0]) > 5
    assert all(0 < word.confidence <= 1 for word in words)
    assert len(expected) > 2 and transcribed(model, recorded).value["text"] == " ".join(expected[1:])


def test_a_tokenizer_without_word_marks_is_read_too(folders, speech):
    """The pipeline's text; its words share the stretch."""
    model = ctc.Model.load(folders("wav2vec2"), "cpu")
    model.delimiter = None
    (words,) = model.hear([speech], params())
    assert [said(words)] == theirs(folders("wav2vec2"), [speech])
    assert words[0].start == 0 and words[-1].end == pytest.approx(3.0)


@pytest.mark.parametrize("samples", [1, 1599])
@pytest.mark.parametrize("algorithm, name", [(ctc, "wav2vec2"), (whisper, "whisper"), (whisper, "moonshine")])
def test_a_sound_shorter_than_a_step_is_heard(algorithm, name, samples, folders, speech):
    """It fails for no network's sake."""
    model = algorithm.Model.load(folders(name), "cpu")
    assert isinstance(model.hear([speech[:samples]], params(language="en"))[0], list)


def by_hand(folder: Path, sound: np.ndarray, language: str) -> str:
    """Greedy, token by token, through forward() alone: what a Whisper writes without time stamps, in one window."""
    network = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    processor = WhisperProcessor.from_pretrained(folder)
    features = processor(sound.astype(np.float32) / 32768, sampling_rate=RATE, return_tensors="pt").input_features
    number = processor.tokenizer.convert_tokens_to_ids
    begun = [number(f"<|{mark}|>") for mark in ("startoftranscript", language, "transcribe", "notimestamps")]
    written: list[int] = []
    while len(written) < network.generation_config.max_length:  # which does not count what was begun with
        with torch.no_grad():
            given = torch.tensor([begun + written])
            scores = network(input_features=features, decoder_input_ids=given).logits[0, -1]
        scores[network.generation_config.suppress_tokens] = -torch.inf
        written.append(int(scores.argmax()))
    spoken = [token for token in written if token < number("<|endoftext|>")]
    return " ".join(processor.tokenizer.decode(spoken).split())


CLOCKED = [n for n, p in enumerate(checkpoints.PIECES) if not (p.isascii() and p.isalpha() or p in checkpoints.TIMES)]


SETTINGS = {
    "timestamps": {"return_timestamps": True},
    "times-in-text": {"suppress_tokens": CLOCKED},
    "both": {"return_timestamps": True, "suppress_tokens": CLOCKED},
    "no-numbers": {"lang_to_id": None, "task_to_id": None, "is_multilingual": None},
    "thresholds": {"no_speech_threshold": 0.0, "logprob_threshold": 5.0, "compression_ratio_threshold": 0.0},
    "forced": {"forced_decoder_ids": [[1, None], [2, checkpoints.PIECES.index("<|translate|>")]]},
    "preset": {"language": "german", "task": "translate"},
    "beams": {"num_beams": 3, "do_sample": True},
}
QUICK_SETTINGS = ("both", "no-numbers")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK_SETTINGS else pytest.mark.checkpoints) for n in SETTINGS]
)
def test_no_setting_of_a_whisper_loses_text(name, speech, tmp_path):
    """The text is that of one pass by hand, alone and beside others; times in it are no words."""
    changes = SETTINGS[name]
    checkpoints.whisper(tmp_path, **changes)
    model = whisper.Model.load(tmp_path, "cpu")
    expected = by_hand(tmp_path, speech, "en")
    other, words = model.hear([speech[:20_000], speech], params(language="en"))
    assert said(words) == said(model.hear([speech], params(language="en"))[0]) == expected
    assert said(other) == by_hand(tmp_path, speech[:20_000], "en")
    if changes.get("suppress_tokens") is CLOCKED:
        assert len(expected) < 20  # of 20 tokens, some are times


def test_languages_of_a_whisper(folders, recorded, tmp_path):
    """Those of its settings are heard apart, another is refused; English where nothing is said; an English one."""
    model = whisper.Model.load(folders("whisper"), "cpu")
    english, german, french, none = (
        transcribed(model, recorded, **given)
        for given in ({"language": "en"}, {"language": "de"}, {"language": "fr"}, {})
    )
    assert isinstance(french, InvalidInput) and "this model knows de, en only; language 'fr'" in french.detail
    assert english.value["text"] != german.value["text"] and german.value["language"] == "de"
    assert none.value == english.value and none.value["language"] == "en" and len(german.files) == 4
    checkpoints.whisper(tmp_path, is_multilingual=False, lang_to_id=None, task_to_id=None)
    model = whisper.Model.load(tmp_path, "cpu")
    assert isinstance(transcribed(model, recorded, language="fr"), InvalidInput)
    assert transcribed(model, recorded).value["language"] == "en"


def test_a_whisper_of_one_other_language_needs_no_word_of_it(recorded, tmp_path):
    """Its own language is the one heard; English is refused."""
    checkpoints.whisper(tmp_path, lang_to_id={"<|de|>": checkpoints.PIECES.index("<|de|>")})
    model = whisper.Model.load(tmp_path, "cpu")
    assert transcribed(model, recorded).value["language"] == "de"
    assert isinstance(transcribed(model, recorded, language="en"), InvalidInput)


@pytest.mark.parametrize("algorithm, name", [(ctc, "wav2vec2"), (whisper, "moonshine")])
def test_a_language_that_no_file_tells_of_is_not_believed(algorithm, name, folders, recorded):
    """The result says 'und', with a warning where one was asked for; the same in transcript.json."""
    model = algorithm.Model.load(folders(name), "cpu")
    french, none = transcribed(model, recorded, language="fr"), transcribed(model, recorded)
    assert "language_unknown" in codes(french) and "language_unknown" not in codes(none)
    assert french.value["language"] == none.value["language"] == "und" and french.value["text"] == none.value["text"]
    assert json.loads(french.files[0].read_text())["warnings"] == french.value["warnings"]


@pytest.mark.parametrize(
    "card, known",
    [("en", ("en",)), ("[fr, de]", ("fr", "de")), ("no", ("no",)), ("multilingual", ()), ("[", ()), ("[en, code]", ())],
)
def test_a_model_card_tells_the_languages(card, known, folders, recorded, tmp_path):
    """Of a CTC model; what it does not name is refused."""
    for path in folders("wav2vec2").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "README.md").write_text(f"---\nlanguage: {card}\n---\n# A model\n")
    model = ctc.Model.load(tmp_path, "cpu")
    assert model.languages == known
    if known == ("en",):
        assert isinstance(transcribed(model, recorded, language="fr"), InvalidInput)
        assert transcribed(model, recorded).value["language"] == "en"


def test_each_language_has_its_adapter(folders, speech, recorded):
    """Of MMS: in turns, each says what the network with that adapter says; another language is refused."""
    network = Wav2Vec2ForCTC.from_pretrained(folders("mms")).eval()
    processor = Wav2Vec2Processor.from_pretrained(folders("mms"))
    heard = {}
    for language in ("eng", "deu"):
        network.load_adapter(language)
        processor.tokenizer.set_target_lang(language)
        given = processor(speech.astype(np.float32) / 32768, sampling_rate=RATE, return_tensors="pt")
        with torch.no_grad():
            heard[language] = " ".join(processor.decode(network(**given).logits[0].argmax(-1)).split())
    model = ctc.Model.load(folders("mms"), "cpu")
    for language in ("deu", "eng", "deu"):
        model.prepare(params(language=language))
        assert said(model.hear([speech], params(language=language))[0]) == heard[language]
    assert heard["eng"] != heard["deu"] and transcribed(model, recorded).value["language"] == "eng"
    refused = transcribed(model, recorded, language="fra")
    assert isinstance(refused, InvalidInput) and "this model knows deu, eng only" in refused.detail


def test_text_that_breaks_off_says_so(recorded, tmp_path):
    """A stretch that is not ended after max_length tokens; one that may say nothing but its end is ended."""
    checkpoints.whisper(tmp_path)
    model = whisper.Model.load(tmp_path, "cpu")
    assert codes(transcribed(model, recorded)).count("text_cut") == 1
    end = checkpoints.PIECES.index("<|endoftext|>")
    model.network.generation_config.suppress_tokens = [n for n in range(len(checkpoints.PIECES)) if n != end]
    ended = transcribed(model, recorded)
    assert ended.value["text"] == "" and "text_cut" not in codes(ended)


def test_a_whisper_whose_window_is_shorter_than_a_stretch_is_refused(folders, tmp_path):
    """It would hear 10 s of 20 s."""
    for path in folders("whisper").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for path in (tmp_path / "preprocessor_config.json", tmp_path / "processor_config.json"):
        if path.exists():
            path.write_text(path.read_text().replace('"chunk_length": 30', '"chunk_length": 10'))
    with pytest.raises(ModelFailed, match="hears 10 s at once"):
        whisper.Model.load(tmp_path, "cpu")


@pytest.mark.parametrize("algorithm, name", [(ctc, "wav2vec2"), (whisper, "whisper")])
def test_pickled_weights_are_refused(algorithm, name, folders, tmp_path):
    """A checkpoint whose weights are not safetensors does not load; neither does an empty folder."""
    for path in folders(name).iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path, tmp_path / "empty"):
        with pytest.raises(ModelFailed, match="safetensors|config.json"):
            algorithm.Model.load(folder, "cpu")


def test_words_share_their_stretch_by_length():
    """Four letters and a space of eight in all, 1.6 s: half of it each."""
    one, two = shared(["abc", "def"], 1.6, 0.5)
    assert (one.start, one.end, two.start, two.end) == pytest.approx((0, 0.8, 0.8, 1.6))
    assert shared([], 1.0, 0.5) == []
