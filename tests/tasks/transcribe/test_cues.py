"""Captions: two lines of 42 characters, in order, legible, with all of the text, whatever a recogniser calls a word."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.transcribe.cues import CHARACTERS_PER_S, CUE_S, LEAST_S, LINE, LINES, Cue, cues
from tasks.transcribe.transcript import Word


def said(text: str, word_s: float = 0.4, start: float = 0.0) -> list[Word]:
    """The words of a text, one after another without a pause."""
    return [Word(word, start + n * word_s, start + (n + 1) * word_s) for n, word in enumerate(text.strip().split(" "))]


def lines(made: list[Cue]) -> list[str]:
    return [line for cue in made for line in cue.lines]


def bare(texts: list[str]) -> str:
    """All characters but white space."""
    return "".join("".join(text.split()) for text in texts)


def check(words: list[Word], made: list[Cue], until: float) -> None:
    """All that a caption promises."""
    assert bare(lines(made)) == bare([word.text for word in words])
    assert all(1 <= len(cue.lines) <= LINES for cue in made)
    assert all(line.strip() and len(line) <= LINE for line in lines(made))
    assert all(cue.start_ms < cue.end_ms for cue in made)
    assert all(one.end_ms <= other.start_ms for one, other in zip(made, made[1:], strict=False))
    ends = [*(cue.start_ms for cue in made[1:]), round(until * 1000)]
    for cue, following in zip(made, ends, strict=False):  # one end more, where nothing was said
        wanted = 1000 * max(LEAST_S, len(" ".join(cue.lines)) / CHARACTERS_PER_S)
        assert cue.end_ms - cue.start_ms >= min(wanted, following - cue.start_ms) - 1


WORDS = st.one_of(
    st.text("abc", min_size=1, max_size=60),
    st.text("0123456789.,", min_size=1, max_size=100),
    st.text("a é-/.漢字かな。e\u0301\u200d\u00a0\u200b\n \U0001f600", max_size=300),
    st.sampled_from(["Mr.", "John", "Smith", "twenty", "one", "-->", "", "  "]),
)


@given(st.lists(st.tuples(WORDS, st.floats(0, 3), st.floats(0, 9)), max_size=30), st.floats(0, 20))
def test_whatever_is_said_captions_keep_their_promises(spoken, rest):
    """Words of any text and length, with pauses and without, of no length too, up to the end and well before it."""
    at, words = 0.0, []
    for text, pause, length in spoken:
        words.append(Word(text, at + pause, at + pause + length))
        at += pause + length
    check(words, cues(words, at + rest), at + rest)


@given(st.lists(st.tuples(WORDS, st.floats(0, 30), st.floats(0, 30)), max_size=15))
def test_times_in_no_order_make_captions_in_order(spoken):
    """A recogniser whose words overlap, or run backwards, costs no text and no caption."""
    words = [Word(*each) for each in spoken]
    made = cues(words)
    assert bare(lines(made)) == bare([word.text for word in words])
    assert all(cue.start_ms < cue.end_ms for cue in made)
    assert all(one.end_ms <= other.start_ms for one, other in zip(made, made[1:], strict=False))


@pytest.mark.parametrize(
    "text",
    [
        "x" * 300,
        "a" * 42,
        "b" * 43,
        "私は昨日東京駅で古い友人に会いました。" * 12,
        "https://example.com/" + "path/to/" * 20 + "?q=" + "1" * 90,
        "e\u0301" * 100,
        "7" * 100,
    ],
    ids=["letters", "a line", "a line and a letter", "no spaces", "address", "accents", "digits"],
)
def test_a_word_longer_than_a_line_is_parted(text):
    """It shares its time and the pause behind it; a sign and its accent stay together."""
    words = [Word("so", 0.0, 0.3), Word(text, 0.3, 1.0), Word("end", 60.0, 60.4)]
    made = cues(words, 61.0)
    check(words, made, 61.0)
    assert not any(line.startswith("\u0301") for line in lines(made))
    assert all(cue.end_ms - cue.start_ms >= 830 for cue in made)
    assert made[-1] == Cue(60_000, 60_830, ("end",))


def test_captions_fit_a_screen():
    """Six seconds at most; a pause starts a new caption."""
    words = said("word " * 20, 0.5) + said("later " * 20, 0.5, 15.0)
    made = cues(words, 30.0)
    check(words, made, 30.0)
    assert all(cue.end_ms - cue.start_ms <= CUE_S * 1000 for cue in made)
    assert any(cue.lines[0].startswith("later") and cue.start_ms == 15_000 for cue in made)


def test_a_short_word_stands_as_long_as_there_is_room():
    """0.83 s alone; up to the next caption, up to the recording's end."""
    assert cues([Word("no", 1.0, 1.1)], 9.0) == [Cue(1000, 1830, ("no",))]
    assert cues([Word("no", 1.0, 1.1)], 1.5) == [Cue(1000, 1500, ("no",))]
    assert cues([Word("no", 1.0, 1.1), Word("yes", 1.95, 3.0)], 9.0)[0] == Cue(1000, 1830, ("no",))


def test_fast_speech_stands_until_it_is_read():
    """Seventeen characters a second, where nobody speaks behind it."""
    (cue,) = cues(said("thirty characters of fast talk", 0.05), 9.0)
    assert cue.end_ms == round(1000 * 30 / CHARACTERS_PER_S)


@pytest.mark.parametrize(
    "kept", ["John Smith", "2 500 000", "twenty one thousand", "Dr. Martin Luther King", "3.5 million", "10\u00a0000"]
)
@pytest.mark.parametrize("before", range(1, 40, 3))
def test_no_break_in_a_number_or_a_name(kept, before):
    """Wherever it stands in a talk without pauses; breaks elsewhere are free."""
    words = said("so " * before + kept + " and then we all went home again to sleep" * 3, 0.3)
    made = cues(words, 99.0)
    check(words, made, 99.0)
    assert any(re.search(rf"(^| ){re.escape(kept)}( |$)", line) for line in lines(made))


def test_a_name_longer_than_a_line_is_broken():
    """The rule gives way; the text does not."""
    words = said("Twenty Long Capital Names " * 10, 0.3)
    check(words, cues(words, 99.0), 99.0)


def test_sentences_end_captions_where_they_can():
    """Two sentences that fit a caption each are one caption each, if they do not fit one together."""
    first, second = "It was the best of times that anyone had seen.", "It was the worst of times that anyone had seen."
    made = cues(said(f"{first} {second}", 0.3), 9.0)
    assert [" ".join(cue.lines) for cue in made] == [first, second]
