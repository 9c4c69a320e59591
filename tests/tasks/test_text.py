"""What is recorded, logged and shown is text that UTF-8 and a line can carry."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import errors, text

ANY = st.text(st.characters())  # lone surrogates too


@pytest.mark.parametrize(
    ("given_text", "line"),
    [
        ("plain", "plain"),
        ("a\ud800b", "a�b"),
        ("two\nlines\r\nand\x00more\u2028", "two lines and more"),
        ("雪 \U0001f3ac", "雪 \U0001f3ac"),
        ("x" * 11, "x" * 9 + "…"),
        ("x" * 10, "x" * 10),
        (7, "7"),
        ("", ""),
    ],
)
def test_a_line(given_text, line):
    assert text.line(given_text, 10 if str(given_text).startswith("x") else 100) == line


@given(ANY, st.integers(1, 50))
def test_a_line_can_be_written_and_is_bounded(told, most):
    line = text.line(told, most)
    assert line.encode() is not None and len(line) <= most and len(line.splitlines()) <= 1


@given(st.recursive(st.none() | st.integers() | ANY, lambda more: st.lists(more) | st.dictionaries(ANY, more)))
def test_json_can_be_shown_and_is_as_it_was_where_it_could_be(value):
    assert json.dumps(text.shown(value), ensure_ascii=False).encode()
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert text.shown(value) == value


def test_an_errors_words_are_one_clean_line():
    """Whoever raised it: a model, a server, a caller."""
    error = errors.ModelFailed("bad \ud800\nERROR forged line " + "x" * 5000)
    assert error.as_dict()["detail"].startswith("bad � ERROR forged line xxx") and len(error.detail) == 2000
    assert str(error) == error.detail
