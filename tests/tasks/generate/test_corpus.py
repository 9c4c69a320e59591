"""The text generate learns from and reads: normalised, cut in three, encoded; and the baselines it must beat."""

import gzip
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.generate.plain import normalise
from tasks.generate.training import baselines
from tasks.generate.training.corpus import clean, cut, read_prose
from tasks.generate.vocabulary import Vocabulary
from tasks.recipe import DataMissing

STORY = 'The lamp was out, and the house was still.\n\n"Who is there?" said the old man; 1887 it was.\n\n' * 30


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.learn([STORY], 280)


def test_lines_are_joined_and_paragraphs_kept():
    """A wrapped book becomes one line a paragraph, with plain quotes and dashes."""
    assert normalise("\r\n“It’s\r\nlate”—he  said…\r\n \r\n\r\nShe left.") == '"It\'s late"--he said...\n\nShe left.'


@pytest.mark.parametrize(
    ("text", "plain"),
    [("Once ", "Once "), ("Once\n", "Once "), ("Once\n\n\n", "Once\n\n"), ("  Once", "Once"), (" \n\n ", ""), ("", "")],
)
def test_what_a_text_ends_with_is_where_the_next_word_begins(text, plain):
    """A space stays a space, an empty line a paragraph's end; white space alone is nothing."""
    assert normalise(text) == plain


@given(st.text("ab \n\t\r—’", max_size=40))
def test_normalising_twice_changes_nothing(text):
    """So a prompt taken from a result is read as it was written."""
    assert normalise(normalise(text)) == normalise(text)


def test_nothing_after_the_end_is_learned():
    """A publisher's list behind THE END is no prose of the author's."""
    assert clean("He _was_ happy.\n\n     THE END\n\nOther books by this house") == "He was happy."


def test_a_book_is_cut_in_three_and_nothing_is_in_two_parts():
    """The last twentieth is the test, the one before it the validation, at paragraphs."""
    book = "\n\n".join(f"Paragraph {n} of a long book." for n in range(1000))
    train, validation, test = cut(book)
    assert train + validation + test == book
    assert train.endswith("\n\n") and validation.endswith("\n\n")
    assert abs(len(test) / len(book) - 0.05) < 0.002 and abs(len(validation) / len(book) - 0.05) < 0.002


def test_missing_novels_are_named(tmp_path):
    """The message says which set, and where it was looked for."""
    with pytest.raises(DataMissing, match="text/prose"):
        read_prose(tmp_path)


def test_novels_are_read_in_the_order_of_their_names(tmp_path):
    """So the same data give the same tokens everywhere."""
    folder = tmp_path / "text" / "prose"
    folder.mkdir(parents=True)
    for name in ("b", "a"):
        (folder / f"{name}.txt.gz").write_bytes(gzip.compress("\n\n".join([f"Book {name}."] * 100).encode()))
    split = read_prose(tmp_path)
    assert [book[:7] for book in split.train] == ["Book a.", "Book b."]


@given(st.text())
def test_any_text_can_be_encoded_and_comes_back(vocabulary, text):
    """Bytes are tokens too: no character is unknown."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        return
    assert b"".join(vocabulary.pieces[token] for token in vocabulary.encode(text)).decode() == text


def test_a_vocabulary_is_read_as_it_was_written(vocabulary, tmp_path):
    """The file alone is enough."""
    vocabulary.write(tmp_path / "tokenizer.json")
    again = Vocabulary.read(tmp_path / "tokenizer.json")
    assert again.encode(STORY) == vocabulary.encode(STORY)
    assert again.pieces == vocabulary.pieces and len(again) == 280
    assert len(set(again.pieces)) == 280 and {bytes([byte]) for byte in range(256)} <= set(again.pieces)


def test_the_end_of_a_paragraph_is_one_token(vocabulary):
    """Which is what every text begins after."""
    assert [vocabulary.pieces[token] for token in vocabulary.beginning] == [b"\n\n"]


def test_the_trigram_is_witten_and_bells_formula():
    """By hand on 'a b a b c': what follows 'a b' was seen twice, two different tokens."""
    a, b, c = 0, 1, 2
    probability = baselines.witten_bell([a, b, a, b, c], vocabulary=4)
    unigram = (1 + 3 / 4) / (5 + 3)  # c: seen once of five, three kinds of token, uniform 1/4
    bigram = (1 + 2 * unigram) / (2 + 2)  # after b: a, c
    assert probability((a, b), c) == pytest.approx((1 + 2 * bigram) / (2 + 2))
    assert probability((3, 3), c) == pytest.approx(unigram)
    assert sum(probability((a, b), token) for token in range(4)) == pytest.approx(1)


def test_nats_are_the_mean_of_what_each_token_cost():
    """Of all tokens but the first, each after the ones before it."""
    asked = []

    def probability(context, token):
        asked.append((context, token))
        return 0.5 if token else 0.25

    assert baselines.nats_per_token(probability, [1, 0, 1], order=2) == pytest.approx(1.5 * math.log(2))
    assert asked == [((1,), 0), ((0,), 1)]
