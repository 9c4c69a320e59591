"""Numbers of a column: what a comma, a dot, a slash or a star means is judged over all of it, or refused."""

import numpy as np
import pyarrow
import pytest

from tasks.errors import InvalidInput
from tasks.recommend import amounts

READ = [
    (["4", "4.5", "-1.5", "1e3", ".5", "+2"], [4, 4.5, -1.5, 1000, 0.5, 2]),
    (["4,5", "3,0", "5"], [4.5, 3, 5]),
    (["1,234.5", "2,000"], [1234.5, 2000]),
    (["1.234,5", "2.000", "2,5"], [1234.5, 2000, 2.5]),
    (["1,234,567", "1,234", "12345"], [1234567, 1234, 12345]),
    (["1.234.567", "1.234"], [1234567, 1234]),
    (["12,500", "4.5"], [12500, 4.5]),
    (["12.500", "4,5"], [12500, 4.5]),
    (["0,125", "3"], [0.125, 3]),
    (["4.125", "3", "5"], [4.125, 3, 5]),
    (["1 234", "12"], [1234, 12]),
    (["1'234.5", "1\u202f234,5", "1\u00a0000"], [1234.5, 1234.5, 1000]),
    (["4/5", "3/5", "2 out of 5"], [4, 3, 2]),
    (["4/5", "9/10"], [8, 9]),
    (["80%", "55,5 %"], [80, 55.5]),
    (["4 stars", "4.5 Stars", "1 point"], [4, 4.5, 1]),
    (["★★★☆☆", "★★★★★", "★½"], [3, 5, 1.5]),
    (["", "nan", "NULL", "4"], [None, None, None, 4]),
    (["-1", "7", "-1"], [None, 7, None]),
    (["-1", "-3", "4"], [-1, -3, 4]),
]


def read(texts: list) -> amounts.Amounts:
    return amounts.read([pyarrow.array(texts, pyarrow.large_string())], "rating", "interactions")


@pytest.mark.parametrize(("texts", "numbers"), READ)
def test_marks_are_read_as_the_column_uses_them(texts, numbers):
    """Without a guess."""
    found = read(texts)
    assert found.values.tolist() == pytest.approx([np.nan if n is None else n for n in numbers], nan_ok=True)
    assert not found.unreadable.any() and not found.warnings


@pytest.mark.parametrize("texts", [["999", "1,000", "500", "12,500"], ["120", "3.500", "12.000"]])
def test_whole_numbers_that_end_where_marks_begin_make_them_thousands(texts):
    """A guess, and told with an example."""
    found = read(texts)
    assert found.values.tolist() == [float(text.replace(",", "").replace(".", "")) for text in texts]
    (warning,) = found.warnings
    assert warning["code"] == "numbers_guessed" and "was read as" in warning["detail"]


@pytest.mark.parametrize("texts", [["12,500"], ["1,234", "5"], ["4,5", "1,234,567", "1,000"], ["1,000", "2000"]])
def test_marks_that_may_be_either_are_refused(texts):
    """With examples, and what to do."""
    with pytest.raises(InvalidInput, match=r"column 'rating' .* such as '1.*decimal or marks thousands.*write"):
        read(texts)


@pytest.mark.parametrize(
    "text", ["A+", "good", "1,2,3", "1.2.3", "12,34,567", "4/0", "--4", "inf", "1e999", "5 h", "½½x"]
)
def test_what_is_no_number_is_counted(text):
    found = read(["4", text])
    assert found.unreadable.tolist() == [False, True] and np.isnan(found.values[1])


def test_typed_numbers_are_what_they_are():
    """12.125 of JSON or Parquet is never twelve thousand."""
    chunks = [
        pyarrow.array([12.125, None, float("inf")]),
        pyarrow.array([500, 7]),
        pyarrow.array(["4,5"], pyarrow.large_string()),
    ]
    found = amounts.read(chunks, "rating", "interactions")
    assert found.values.tolist() == pytest.approx([12.125, np.nan, np.nan, 500, 7, 4.5], nan_ok=True)
    assert found.unreadable.tolist() == [False, False, True, False, False, False]
