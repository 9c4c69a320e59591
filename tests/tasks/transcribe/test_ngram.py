"""A word's probability after others: by hand, as a distribution, and read back."""

import importlib
from math import exp, log

import pytest

from tasks.transcribe.ngram import END, LETTERS, WordModel
from tasks.transcribe.training.wer import edits, word_error_rate

TEXTS = ["go on", "go on", "go back", "stop"]


def test_probabilities_are_those_of_the_formula():
    """Witten and Bell's method C, order 2, worked out by hand for p(on | go)."""
    model = WordModel.learn(TEXTS, 2)
    # words and ends: go 3, on 2, back 1, stop 1, </s> 4: 11 in all, 5 kinds; after 'go': on 2, back 1
    never = LETTERS**-3.0
    on = (2 + 5 * never) / (11 + 5)
    assert model.log_p("on", ("go",)) == pytest.approx(log((2 + 2 * on) / (3 + 2)))


def test_probabilities_after_any_history_sum_to_one():
    """All known words, the end, and words never seen, whose share is what is left."""
    model = WordModel.learn(TEXTS, 3)
    for before in ((), ("go",), ("go", "on"), ("stop", "go"), ("unheard",)):
        known = sum(exp(model.log_p(word, before)) for word in [*model.words, END])
        assert 0.6 < known < 1
    never = [exp(model.log_p("x" * length, ())) * 26**length for length in range(1, 40)]
    known = sum(exp(model.log_p(word, ())) for word in [*model.words, END])
    assert known + sum(never) < 1.0001


def test_only_the_last_words_count():
    """A trigram looks two words back."""
    model = WordModel.learn(TEXTS, 3)
    assert model.log_p("on", ("a", "b", "stop", "go")) == model.log_p("on", ("stop", "go"))
    assert model.log_p("on", ("go",)) > model.log_p("on", ("stop",))


def test_a_model_reads_back(tmp_path):
    """The JSON file holds all that it knows."""
    model = WordModel.learn(TEXTS, 3)
    model.write(tmp_path / "words.json")
    again = WordModel.read(tmp_path / "words.json")
    assert again.order == 3 and again.words == model.words == {"go", "on", "back", "stop"}
    assert again.log_p("back", ("go",)) == model.log_p("back", ("go",))


def test_errors_are_counted_as_jiwer_counts_them():
    """Against the library, where it is installed: replaced, left out and put in."""
    jiwer = importlib.import_module("jiwer")
    pairs = [("a b c d", "a x c d e"), ("one two", ""), ("go", "go on then"), ("s t o p", "s o p p")]
    assert word_error_rate(pairs) == pytest.approx(jiwer.wer(*map(list, zip(*pairs, strict=True))))
    assert edits(["a", "b", "c"], ["b", "c", "d"]) == 2
