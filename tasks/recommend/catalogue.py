"""The caller's table of titles: which columns it has, and what becomes of rows that are not as they should be.

How rows are read from a file, tables.py knows; what is done with the titles is not known here.
"""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import InvalidInput, TooLarge
from tasks.recommend import tables
from tasks.recommend.cleaning import Cleaning
from tasks.recommend.tables import Row, Unusable, one_line, text

MAX_ROWS = 1_000_000
KEYS = ("id", "wikidata_id", "title")  # the first that there is tells the rows apart
LISTS = ("genres", "director", "cast")
MISSING = frozenset({"", "nan", "null", "none", "n/a"})  # what spreadsheets and data frames write for nothing
YEAR = re.compile(r"^([0-9]{1,4})(\.0)?$")


@dataclass(frozen=True, slots=True)
class Title:
    """One row. What is missing is (), '' or None; `line` is where it ends in the file."""

    id: str
    title: str
    year: int | None
    genres: tuple[str, ...]
    director: tuple[str, ...]
    cast: tuple[str, ...]
    plot: str
    line: int


def read(
    path: Path, progress: Callable[[int], None] = lambda rows: None, cleaning: Cleaning | None = None
) -> list[Title]:
    """The titles in the order of the file; `progress(rows)` is called now and then, and may raise.

    Columns: id (else wikidata_id, else title) and any of title, year, genres, director, cast (texts with '|'
    between, or lists) and plot; others are ignored. Cleaned, and told to `cleaning`: a row without an id, with too
    many cells or with a cell of the wrong type is left out; a row that only repeats an earlier one is dropped; of rows
    with one id that differ, the first stays; a year that is no number is missing.
    Errors: those of tables.rows; InvalidInput where half of the rows cannot be used; TooLarge past MAX_ROWS rows.
    """
    cleaning = cleaning or Cleaning("catalogue")
    titles: dict[str, Title] = {}
    key = ""
    for line, row in tables.rows(path, _missing, cleaning):
        key = key or next((name for name in KEYS if name in row), KEYS[0])
        try:
            title = _title(row, key, line, cleaning)
        except Unusable as why:
            cleaning.refuse(line, str(why))
            continue
        first = titles.setdefault(title.id, title)
        if first is not title:
            _twice(first, title, cleaning)
        if len(titles) > MAX_ROWS:
            raise TooLarge(f"the input catalogue has more than {MAX_ROWS:,} rows, the most that is read")
        if cleaning.rows % 5000 == 0:
            progress(cleaning.rows)
    if not cleaning.rows:
        raise InvalidInput("the input catalogue has no rows")
    cleaning.check()
    return list(titles.values())


def _missing(columns: Sequence[str]) -> str:
    return "" if any(key in columns for key in KEYS) else f"has none of the columns {', '.join(KEYS)}"


def _twice(first: Title, again: Title, cleaning: Cleaning) -> None:
    same = all(getattr(first, name) == getattr(again, name) for name in Title.__slots__ if name != "line")
    cleaning.drop(
        "repeats an earlier row" if same else "has the id of an earlier row but differs; the first stays", again.line
    )


def _title(row: Row, key: str, line: int, cleaning: Cleaning) -> Title:
    name = text(row, key)
    if not name:
        raise Unusable(f"has no {key}")
    plot = text(row, "plot")
    genres, director, cast = (_list(row, column) for column in LISTS)
    return Title(
        name,
        text(row, "title") or name,
        _year(text(row, "year"), line, cleaning),
        genres,
        director,
        cast,
        "" if plot.lower() in MISSING else plot,
        line,
    )


def _year(value: str, line: int, cleaning: Cleaning) -> int | None:
    year = YEAR.match(value)
    if value.lower() not in MISSING and not year:
        cleaning.fill("year is no number: left empty", line)
    return int(year[1]) if year else None


def _list(row: Row, column: str) -> tuple[str, ...]:
    value = row.get(column)
    if isinstance(value, list):
        if not all(isinstance(part, str) for part in value):
            raise Unusable(f": {column} is a list that holds something else than texts")
        parts = [one_line(part, column) for part in value]
    else:
        parts = [part.strip() for part in text(row, column).split("|")]
    return tuple(sys.intern(part) for part in dict.fromkeys(parts) if part.lower() not in MISSING)
