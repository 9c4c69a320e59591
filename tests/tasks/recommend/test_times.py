"""Times of a column, in any usual form; what is a guess is told, what is no time is counted."""

from datetime import UTC, datetime

import numpy as np
import pyarrow
import pytest

from tasks.recommend import times


def read(values: list, kind=None) -> times.Times:
    kind = kind or pyarrow.large_string()
    return times.read([pyarrow.array(values, kind)], "time", "interactions")


def at(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()


JAN, DEC = at(2024, 1, 5), at(2024, 12, 31)
READ = [
    ["2024-01-05", "2024-12-31T00:00:00Z"],
    ["2024-01-05 01:00:00+01:00", "2024-12-31 00:00"],
    ["5/1/2024", "31/12/2024"],
    ["1/5/2024", "12/31/2024"],
    ["1/5/24 12:00 AM", "12/31/24 12:00 AM"],
    ["05.01.2024", "31.12.2024"],
    ["Jan 05, 2024", "Dec 31, 2024"],
    ["January 5, 2024", "December 31, 2024"],
    ["5 Jan 2024", "31 Dec 2024"],
    ["01 5, 2024", "12 31, 2024"],
    ["Fri Jan 05 00:00:00 +0000 2024", "Tue Dec 31 00:00:00 +0000 2024"],
    ["Fri, 05 Jan 2024 00:00:00 GMT", "Tue, 31 Dec 2024 00:00:00 GMT"],
    ["2024/01/05", "2024/12/31"],
    ["20240105", "20241231"],
    ["202401050000", "202412310000"],
    ["20240105000000", "20241231000000"],
    ["2024-01-05T00:00:00.000Z", None, "2024-12-31"],
    ["1704412800", "1735603200"],
    ["1704412800.0", "1735603200.0"],
    ["1704412800000", "1735603200000"],
    ["1704412800000000", "1735603200000000"],
    ["1704412800000000000", "1735603200000000000"],
]


@pytest.mark.parametrize("texts", READ, ids=lambda texts: texts[0])
def test_times_are_read_in_every_usual_form(texts):
    """Seconds since 1970, without a zone UTC, and no guess."""
    found = read(texts)
    assert (
        found.values[np.isfinite(found.values)].tolist() == [JAN, DEC]
        and not found.warnings
        and not found.unreadable.any()
    )


def test_small_numbers_are_any_count():
    """They tell older from newer."""
    assert read(["3", "-1", "20"]).values.tolist() == [3, -1, 20]


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["01/02/2024", "03/04/2024"], "read as month/day"),
        (["01.02.2024", "03.04.2024"], "read as day/month"),
        (["13/01/2024", "01/13/2024"], "stand in both places"),
        (["1704412800", "1704412800000"], "times in ms and s"),
        (["2024-01-05", "2190-01-01"], "1 times of the column 'time' of the input interactions lie in the future"),
    ],
)
def test_a_guess_is_told(texts, says):
    (warning,) = read(texts).warnings
    assert warning["code"] == "times_guessed" and says in warning["detail"]


@pytest.mark.parametrize("text", ["soon", "2024-13-01", "31/31/2024", "10:00", "true"])
def test_what_is_no_time_is_counted(text):
    found = read(["2024-01-05", text, None, "null"])
    assert found.unreadable.tolist() == [False, True, False, False] and np.isnan(found.values[1:]).all()


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31", "1753-01-01T00:00:00"])
def test_what_databases_write_for_nothing_is_no_time(text):
    """The year 1, the year 9999."""
    found = read(["2024-01-05", text])
    assert found.absurd.tolist() == [False, True] and np.isnan(found.values[1])


def test_times_of_parquet_are_times():
    """Beside texts, as chunks of one table may differ."""
    typed = pyarrow.array([datetime(2024, 1, 5), None], pyarrow.timestamp("us"))
    found = times.read([typed, pyarrow.array(["2024-12-31"], pyarrow.large_string())], "time", "interactions")
    assert found.values.tolist() == pytest.approx([JAN, np.nan, DEC], nan_ok=True)
