"""The measures behind `out_of_domain`: against numbers worked out by hand, and on sounds made here."""

import numpy as np
import pytest

from tasks.transcribe.alphabet import NUMBER, SIGNS, SPACE
from tasks.transcribe.cepstra import SIZE
from tasks.transcribe.filler import Filler
from tasks.transcribe.measures import MEASURES, of_emission
from tasks.transcribe.ngram import WordModel
from tasks.transcribe.voice import MOST, Voice
from tasks.transcribe.word_models import SILENCE, Loop, WordHmm
from tests.tasks.transcribe.test_words import random_model, sample

MODEL = WordModel.learn(["go", "go", "no"], 2)


def emission(text: str, p: float) -> np.ndarray:
    """A step a sign, which has this p; the others share the rest. '_' is the blank."""
    steps = np.full((len(text), len(SIGNS)), np.log((1 - p) / (len(SIGNS) - 1)))
    for step, sign in zip(steps, text, strict=True):
        step[0 if sign == "_" else SPACE if sign == " " else NUMBER[sign]] = np.log(p)
    return steps


def test_the_measures_of_an_emission():
    """Two words in six steps that last 2 s; a third of the steps are blank."""
    measured = of_emission(emission("go_no_", 0.9), 2.0, MODEL)
    rest = 0.1 / (len(SIGNS) - 1)
    assert tuple(measured) == MEASURES
    assert measured["entropy"] == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(rest))
    assert measured["confidence"] == pytest.approx(0.9)
    assert (measured["signs"], measured["blank"]) == (2.0, pytest.approx(1 / 3))
    assert measured["language"] == pytest.approx(MODEL.log_p("gono", ()))


def test_nothing_but_blanks_has_measures():
    """No sign and no word."""
    measured = of_emission(emission("____", 0.9), 1.0, MODEL)
    assert measured == {"entropy": 0.0, "language": 0.0, "confidence": 0.0, "signs": 0.0, "blank": 1.0}


def test_known_words_are_likelier_than_the_filler_and_other_sounds_are_not():
    """Of frames drawn from either; silence beside them changes nothing much."""
    quiet = random_model(9, -12, states=1)
    silence = WordHmm(np.ones((1, 1)), quiet.weights, quiet.means, quiet.variances)
    word, other = random_model(1, 4), random_model(2, -4, states=1)
    loop, filler = Loop({SILENCE: silence, "yes": word}), Filler(other)
    said, noise, rest = sample(word, 8, 0), sample(other, 30, 0), sample(silence, 20, 0)
    assert filler.ratio(loop, said) > 1 > -1 > filler.ratio(loop, noise)
    assert filler.ratio(loop, np.vstack([rest, said, rest])) == pytest.approx(filler.ratio(loop, said), rel=0.1)


def test_a_voice_is_bounded_a_frame():
    """A sound that one mixture cannot explain at all counts no more than MOST."""
    near, far = (
        WordHmm(np.ones((1, 1)), np.ones((1, 1)), np.full((1, 1, SIZE), mean), np.ones((1, 1, SIZE)))
        for mean in (0.0, 1e3)
    )
    sound = np.random.default_rng(0).normal(0, 500, 8000).astype(np.int16)
    assert (Voice(near, far).ratio(sound), Voice(far, near).ratio(sound)) == (MOST, -MOST)
