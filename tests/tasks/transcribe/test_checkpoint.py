"""A transcription that was stopped goes on from what it had saved, and says what an undisturbed one says."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.algorithm import Call, Result, load
from tasks.errors import Canceled
from tasks.transcribe.listening import Listener
from tasks.transcribe.transcript import Word
from tests.tasks.transcribe.test_audio import SAMPLES, decode, encode

RECORDING = SAMPLES / "reading_male.opus"  # four stretches


class Parrot(Listener):
    """Hears of each stretch how long it is; counts the stretches."""

    name = "parrot"

    def __init__(self, at_once: int = 1) -> None:
        self.at_once, self.heard = at_once, 0

    @classmethod
    def load(cls, weights, device):
        return cls()

    def hear(self, sounds, params):
        self.heard += len(sounds)
        return [[Word(f"{len(sound)} samples", 0.0, len(sound) / 16_000, 1 / 3)] for sound in sounds]


def call(
    audio: Path = RECORDING, saved: bytes | None = None, save: Callable[[bytes], None] = lambda data: None, **params
) -> Call:
    return replace(Call.of("transcribe", params, audio=str(audio)), saved=lambda: saved, save=save)


def stopped(model: Listener, after: int = 2) -> bytes:
    """What a run that is canceled after so many stretches had saved last."""
    saves: list[bytes] = []
    begun = replace(call(save=saves.append), canceled=lambda: len(saves) * model.at_once >= after)
    (outcome,) = model.run([begun])
    assert isinstance(outcome, Canceled)
    return saves[-1]


def written(outcome: Result) -> list[str]:
    return [path.read_text() for path in outcome.files]


def stretches_heard(saved: bytes | None, audio: Path = RECORDING, **params) -> int:
    """How many a run with this checkpoint hears. It says what one without says, to the byte."""
    (undisturbed,) = Parrot().run([call(audio, **params)])
    model = Parrot()
    (outcome,) = model.run([call(audio, saved, **params)])
    assert written(outcome) == written(undisturbed) and outcome.value == undisturbed.value
    return model.heard


@pytest.mark.parametrize("name", ["hmm", "hmm-words"])
def test_the_whole_is_the_same_to_the_byte(name):
    """PocketSphinx's noise goes from stretch to stretch, so the last one that was finished is heard again."""
    model = load("transcribe", name)
    (undisturbed,) = model.run([call()])
    (resumed,) = model.run([call(saved=stopped(model))])
    assert written(resumed) == written(undisturbed) and resumed.value == undisturbed.value


def test_only_the_rest_is_heard():
    assert (stretches_heard(None), stretches_heard(stopped(Parrot()))) == (4, 2)


def test_stretches_that_are_heard_together_are_saved_together():
    """So that a batch after the checkpoint has in it what it would have had."""
    model = Parrot(at_once=2)
    saved = stopped(model)
    assert model.heard == 2 and stretches_heard(saved) == 2


def test_with_nothing_left_nothing_is_heard():
    """The process died between the last stretch and the commit."""
    saves: list[bytes] = []
    Parrot().run([call(save=saves.append)])
    assert stretches_heard(saves[-1]) == 0


def test_a_checkpoint_serves_the_same_params_alone():
    assert stretches_heard(stopped(Parrot()), denoise="spectral") == 4


def test_a_checkpoint_of_another_sound_is_not_used(tmp_path):
    """A URL may give something else at the second attempt, which begins alike."""
    sound = decode(RECORDING)
    sound[-1] += 1
    assert stretches_heard(stopped(Parrot()), Path(encode(sound, tmp_path, "wav"))) == 4


def test_a_checkpoint_of_another_model_is_not_used():
    head, *lines = stopped(Parrot()).decode().split("\n")
    foreign = json.dumps({**json.loads(head), "model": "hmm"}, sort_keys=True)
    assert stretches_heard("\n".join([foreign, *lines]).encode()) == 4


@pytest.mark.parametrize("damaged", [b"", b"\xff\xfe", b"[1, 2", b"null\n[]"])
def test_a_checkpoint_that_cannot_be_read_is_none(damaged):
    assert stretches_heard(damaged) == 4


def test_one_that_was_cut_short_is_none():
    assert stretches_heard(stopped(Parrot())[:-5]) == 4


def test_stretches_that_are_cut_elsewhere_are_heard_again():
    """As by a release that finds speech otherwise."""
    head, first, second = stopped(Parrot()).decode().split("\n")
    moved = json.dumps([0.001, *json.loads(second)[1:]])
    assert stretches_heard("\n".join([head, first, moved]).encode()) == 3
