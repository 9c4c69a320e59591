"""How the networks of transcribe are trained: what a step hears, that it learns and resumes, who is in which part."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.algorithm import Call
from tasks.errors import ModelFailed
from tasks.recipe import DataMissing
from tasks.registry import Registry
from tasks.transcribe import rnn
from tasks.transcribe.alphabet import SIGNS, decode
from tasks.transcribe.features import MELS
from tasks.transcribe.networks import NETWORKS, SUBSAMPLE
from tasks.transcribe.search import best_path
from tasks.transcribe.training import corpora
from tasks.transcribe.training import ctc as train_ctc
from tasks.transcribe.training import recipes as train
from tasks.transcribe.training.wer import edits
from tests.tasks.transcribe.test_audio import encode

SMALL = {
    "rnn": {"width": 24, "hidden": 24, "layers": 1, "dropout": 0.1},
    "dnn": {"width": 32, "reach": (1, 2), "dropout": 0.1},
}
TONES = {"go": (400, 800), "no": (1500, 800), "up": (2500, 3400)}  # hertz of each half of a made-up word
ALL = ["rnn", "dnn"]
STEPS = 60


def said(word: str, random: np.random.Generator) -> np.ndarray:
    """A word of two tones, half a second, in a little hiss."""
    length = int(random.integers(6000, 9000))
    halves = [np.sin(2 * np.pi * hertz * np.arange(length // 2) / 16_000) for hertz in TONES[word]]
    quiet = np.zeros(2000)
    clean = 6000 * np.concatenate([quiet, *halves, quiet])
    return (clean + random.normal(0, 60, len(clean))).astype(np.int16)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A corpus laid out as AN4, of tones; one of its speakers is of the validation. Two clips of noise."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for part, speakers in (("train", ["fash", "mblb", corpora.AN4_VALIDATION[0]]), ("test", ["mmxg"])):
        rows = ["path\ttext\tspeaker\tsplit\tseconds"]
        for speaker in speakers:
            for number in range(6):
                word = list(TONES)[number % 3]
                (folder / "audio" / "an4" / speaker / str(number)).mkdir(parents=True)
                path = encode(said(word, random), folder / "audio" / "an4" / speaker / str(number), "flac")
                rows.append(f"{path.relative_to(folder / 'audio' / 'an4')}\t{word.upper()}\t{speaker}\t{part}\t0.5")
        (folder / "audio" / "an4" / f"{part}.tsv").write_text("\n".join(rows) + "\n")
    for name in ("dryer", "rain"):
        (folder / "audio" / "noise" / name).mkdir(parents=True)
        made = encode(random.normal(0, 500, 20_000).astype(np.int16), folder / "audio" / "noise" / name, "opus")
        made.rename(folder / "audio" / "noise" / f"{name}.opus")
    return folder


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Networks of a few thousand weights, four seconds of sound a step."""
    patch.setattr(train_ctc, "BATCH_S", 4.0)
    patch.setattr(train_ctc, "WARM_UP", 5)
    for name in ALL:
        patch.setattr(train.RECIPES[name], "size", SMALL[name])
        patch.setattr(train.RECIPES[name], "steps", STEPS)
        patch.setattr(train.RECIPES[name], "peak_rate", 1e-2)


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory) -> tuple[Path, list[float]]:
    """A small rnn, trained and exported: what dnn learns from; and its losses."""
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        recipe = train.RECIPES["rnn"](data, "cpu")
        before = loss_of_validation(recipe)
        losses = [recipe.step(number) for number in range(STEPS)]
        recipe.export(folder, [{"step": STEPS, "seconds": 60.0, "loss": 1.0, **recipe.evaluate()}])
    return folder, [before, loss_of_validation(recipe), *losses]


def loss_of_validation(recipe: train_ctc.CtcRecipe) -> float:
    """-ln p a sign of what the speaker says whom it never hears."""
    recipe.network.eval()
    with torch.no_grad():
        lengths, emission = train_ctc.heard(recipe.network, recipe.heard, "cpu")
        return train_ctc.ctc_loss(emission, lengths, recipe.validation).item()


@pytest.fixture
def small(monkeypatch, data, teacher):
    """Makes small recipes."""
    shrink(monkeypatch)
    monkeypatch.setattr(train_ctc, "TEACHER", teacher[0])
    return lambda name: train.RECIPES[name](data, "cpu")


def parts_of(folder: Path) -> list[set[str]]:
    return [corpora.speakers(corpora.an4(folder, part)) for part in ("train", "validation", "test")]


def test_parts_share_no_speaker(data):
    """Training, validation and test, on these rows."""
    parts = parts_of(data)
    assert all(parts) and not any(one & other for one in parts for other in parts if one is not other)


@pytest.mark.data("audio/an4", "audio/librispeech", "audio/fsdd", "audio/noise")
def test_the_real_parts_share_no_speaker_and_no_noise(real_data):
    """AN4, LibriSpeech, the clips that networks are trained with and measured with; FSDD by its official indexes."""
    data, parts = real_data, parts_of(real_data)
    assert all(parts) and not any(one & other for one in parts for other in parts if one is not other)
    books = [corpora.speakers(corpora.librispeech(data, part)) for part in ("train", "dev")]
    assert all(books) and not books[0] & books[1]
    trained, measured = (set(corpora.noises(data, training)) for training in (True, False))
    assert trained == set(corpora.TRAINING_NOISE) and len(measured) == 13 and not trained & measured
    digits = list(corpora.digits(data, (4, 5, 9, 10)))
    assert {digit.index: digit.official for digit in digits} == {4: "test", 5: "train", 9: "train", 10: "train"}
    assert len({digit.speaker for digit in digits}) == 6


def test_rnn_learns(teacher):
    """What the speaker says whom it never hears becomes many times likelier."""
    before, after, *losses = teacher[1]
    assert np.mean(losses[-10:]) < losses[0] / 3
    assert after < before / 4


def test_dnns_teacher_is_the_rnn_that_ships():
    """The weights beside the algorithms, which `python -m worker.train transcribe/rnn` writes."""
    assert Registry.default().model("transcribe", "rnn").weights_path() == train_ctc.TEACHER
    assert (train_ctc.TEACHER / "model.safetensors").is_file()


@pytest.mark.slow
def test_dnn_learns_from_rnn(small, tmp_path):
    """What it says comes nearer to the texts and to its teacher; without a teacher there is no lesson."""
    recipe = small("dnn")
    before, losses = loss_of_validation(recipe), [recipe.step(number) for number in range(STEPS)]
    assert np.mean(losses[-10:]) < losses[0] / 3
    assert loss_of_validation(recipe) < before / 4
    train_ctc.TEACHER = tmp_path
    with pytest.raises(DataMissing, match="transcribe/rnn"):
        small("dnn")


@pytest.mark.parametrize("name", ALL)
def test_a_resumed_training_is_the_uninterrupted_one(small, name):
    """After three steps through another object: the same losses, augmentation and dropout included."""
    whole, first, second = small(name), small(name), small(name)
    expected = [whole.step(number) for number in range(5)]
    losses = [first.step(number) for number in range(3)]
    second.restore(first.state())
    assert losses + [second.step(number) for number in range(3, 5)] == expected


def test_batches_are_of_like_lengths_and_hold_all():
    """Each recording is in one batch, and none has more sound than allowed, padding counted."""
    lengths = [int(n) for n in np.random.default_rng(0).integers(8000, 90_000, 200)]
    made = train_ctc.batches(lengths)
    assert sorted(int(n) for batch in made for n in batch) == list(range(200))
    assert all(len(batch) * max(lengths[n] for n in batch) <= train_ctc.BATCH_S * 16_000 for batch in made)


def test_the_rate_goes_up_stays_and_falls():
    """To a hundredth of its peak."""
    rates = [train_ctc.schedule(number, 1000) for number in range(1000)]
    assert max(rates) == 1 and rates[0] == 0.01 and rates[400] == 1 and rates[-1] == 0.01
    assert rates[600:] == sorted(rates[600:], reverse=True)


@pytest.mark.parametrize("name", ALL)
def test_a_recording_is_heard_alike_alone_and_in_a_batch(name):
    """What stands past a length is not heard, and steps are a third of the frames."""
    torch.manual_seed(0)
    network = NETWORKS[name](**SMALL[name]).eval()
    frames = torch.randn(2, 100, MELS)
    frames[1, 61:] = 7.0
    with torch.no_grad():
        both = network(frames, torch.tensor([100, 61]))
        alone = network(frames[1:, :61], torch.tensor([61]))
    assert both.shape == (2, 34, len(SIGNS)) and alone.shape[1] == -(-61 // SUBSAMPLE) == 21
    if name == "dnn":  # its first window reaches ten frames past the end
        frames[1, 61:] = 0.0
        with torch.no_grad():
            both = network(frames, torch.tensor([100, 61]))
    tail = 2 if name == "rnn" else 0
    assert both[1, : 21 - tail].numpy() == pytest.approx(alone[0, : 21 - tail].numpy(), abs=0.5 if tail else 1e-4)
    assert both.exp().sum(dim=-1).numpy() == pytest.approx(1, abs=1e-4)


def test_what_is_exported_is_what_was_measured(data, teacher):
    """The figures of the card once more, by the files alone; and a job of the model that reads them."""
    folder = teacher[0]
    config, model = json.loads((folder / "config.json").read_text()), rnn.Model.load(folder, "cpu")
    test = corpora.an4(data, "test")
    heard = [best_path(model.emission(corpora.sound(one.path))) for one in test]
    wrong = sum(edits(one.text.split(), decode(signs).split()) for signs, one in zip(heard, test, strict=True))
    assert config["held_out"]["greedy"] == pytest.approx(wrong / len(test), abs=1e-3)
    card = (folder / "CARD.md").read_text()
    assert f"{config['held_out']['language_model']:.3f}" in card and "Carnegie Mellon" in card
    assert model.judge.model.words == set(TONES)
    (result,) = model.run([Call.of("transcribe", {"beams": 8}, audio=str(test[0].path))])
    assert set(result.value) == {"text", "language", "duration_s", "confidence", "warnings"} and len(result.files) == 4


def test_weights_of_another_network_are_refused(tmp_path):
    """A folder says which network its weights are of; one that lacks a file is named."""
    with pytest.raises(ModelFailed, match=r"config\.json"):
        rnn.Model.load(tmp_path, "cpu")
    with pytest.raises(ModelFailed, match="'dnn'"):
        rnn.Model.load(Registry.default().model("transcribe", "dnn").weights_path(), "cpu")


def test_missing_data_is_named(tmp_path):
    """The folder that is not there, in the message."""
    for name in train.RECIPES:
        with pytest.raises(DataMissing, match="audio/"):
            train.RECIPES[name](tmp_path, "cpu")
