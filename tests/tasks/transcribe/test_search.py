"""From what a network says of each step to words: against all paths, counted one by one."""

from itertools import groupby, product
from math import log

import numpy as np
import pytest

from tasks.transcribe.alphabet import BLANK, SIGNS, SPACE, decode, encode
from tasks.transcribe.ngram import WordModel
from tasks.transcribe.search import Judge, align, beam_search, best_path, spoken

A, B = encode("ab")


def emission(steps: int, seed: int, signs: tuple[int, ...] = (BLANK, SPACE, A, B), sharp: float = 1.5) -> np.ndarray:
    """Random ln p over a few signs; the others are impossible."""
    scores = np.full((steps, len(SIGNS)), -np.inf)
    scores[:, signs] = np.random.default_rng(seed).normal(0, sharp, (steps, len(signs)))
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def spells(path: tuple[int, ...]) -> tuple[int, ...]:
    """CTC's rule: repeats are one, then blanks fall away."""
    return tuple(sign for sign, _ in groupby(path) if sign != BLANK)


def every_text(heard: np.ndarray) -> dict[tuple[int, ...], float]:
    """p of each text, the sum of all its paths."""
    totals: dict[tuple[int, ...], float] = {}
    for path in product((BLANK, SPACE, A, B), repeat=len(heard)):
        text = spells(path)
        totals[text] = totals.get(text, 0.0) + float(np.exp(sum(heard[step, sign] for step, sign in enumerate(path))))
    return totals


def well_spaced(text: tuple[int, ...]) -> bool:
    return text[:1] != (SPACE,) and all(pair != (SPACE, SPACE) for pair in zip(text, text[1:], strict=False))


@pytest.mark.parametrize("seed", range(6))
def test_the_search_finds_the_text_with_the_most_paths(seed):
    """With room for every text, it is the best of all, counted one by one."""
    heard = emission(6, seed)
    totals = {text: p for text, p in every_text(heard).items() if well_spaced(text)}
    assert tuple(beam_search(heard, 5000)) == max(totals, key=totals.get)


@pytest.mark.parametrize("seed", range(6))
def test_the_word_model_has_its_say(seed):
    """The score of every text, by the formula on top of search.py; a last space makes no word."""
    model = WordModel.learn(["a b", "b b a", "ab"], 2)
    judge, heard = Judge(model, 0.8, 0.5), emission(5, seed)

    def score(text: tuple[int, ...], p: float) -> float:
        words = decode(list(text)).split()
        judged = sum(0.8 * model.log_p(word, tuple(words[:n])) + 0.5 for n, word in enumerate(words))
        return log(p) + judged + 0.8 * model.log_end(tuple(words))

    totals = {text: p for text, p in every_text(heard).items() if well_spaced(text)}
    assert tuple(beam_search(heard, 5000, judge)) == max(totals, key=lambda text: score(text, totals[text]))


def test_a_sum_of_paths_beats_the_single_best_path():
    """'a' is nowhere the likeliest sign, but most paths spell it (Graves et al., 2006, section 3.2)."""
    heard = np.full((2, len(SIGNS)), -np.inf)
    heard[:, BLANK], heard[:, A] = log(0.6), log(0.4)
    assert best_path(heard) == []
    assert beam_search(heard, 4) == [A]


def test_few_beams_find_what_many_find_where_sound_is_clear():
    """Sixteen beams are enough for peaked emissions."""
    for seed in range(10):
        heard = emission(20, seed, sharp=6.0)
        assert beam_search(heard, 16) == beam_search(heard, 100)


@pytest.mark.parametrize("seed", range(8))
def test_signs_stand_where_the_best_path_has_them(seed):
    """The likeliest of all paths that spell the text, found one by one; texts have repeats."""
    random = np.random.default_rng(seed)
    signs, heard = tuple(int(sign) for sign in random.choice([A, A, B, SPACE], 3)), emission(7, seed)
    spelling = [path for path in product((BLANK, SPACE, A, B), repeat=7) if spells(path) == signs]
    best = max(spelling, key=lambda path: sum(heard[step, sign] for step, sign in enumerate(path)))
    runs, step = [], 0
    for sign, run in groupby(best):
        length = len(list(run))
        runs += [(step, step + length)] if sign != BLANK else []
        step += length
    assert align(heard, list(signs)) == runs


def test_a_text_too_long_for_its_steps_has_no_place():
    """'aa' needs a blank between: three steps at least."""
    assert align(emission(2, 0), [A, A]) == []
    assert align(emission(3, 0), [A, A]) == [(0, 1), (2, 3)]


def test_words_have_steps_and_confidence():
    """Two words on a hand-made path; the second is said with p = 0.5."""
    heard = np.full((7, len(SIGNS)), log(1e-9))
    for step, (sign, p) in enumerate([(BLANK, 1), (A, 1), (A, 1), (SPACE, 1), (B, 0.5), (A, 0.5), (BLANK, 1)]):
        heard[step, sign] = log(p)
    one, two = spoken(heard, encode("a ba"))
    assert (one.text, one.start, one.end) == ("a", 1, 3)
    assert (two.text, two.start, two.end) == ("ba", 4, 6)
    assert (one.confidence, two.confidence) == (pytest.approx(1.0), pytest.approx(0.5))


def test_nothing_said_is_no_word():
    """Blanks alone, and no step at all."""
    heard = np.full((4, len(SIGNS)), -np.inf)
    heard[:, BLANK] = 0.0
    assert beam_search(heard, 8) == [] and spoken(heard, []) == []
    assert spoken(heard[:0], beam_search(heard[:0], 8)) == []


def test_texts_become_signs_and_back():
    """Lower case, single spaces; what is no sign falls away."""
    assert decode(encode("  Don't  STOP, 2 times! ")) == "don't stop times"
