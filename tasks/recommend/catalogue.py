"""The caller's table of titles: which columns it has, and what becomes of rows that are not as they should be.

Formats, names of columns, ids and lists are told by tables.py, columns.py, ids.py and lists.py; what is done with the
titles is not known here.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.recommend import columns, ids, lists, tables
from tasks.recommend.cleaning import Cleaning
from tasks.recommend.columns import LISTS
from tasks.recommend.tables import Table, Unusable, one_line
from tasks.warning import warning

MAX_ROWS = 1_000_000
YEAR = re.compile(
    r"([0-9]{1,4})(?:\.0+)?|[^0-9]*((?:1[89]|2[01])[0-9]{2})(?:-[0-9].*)?|.*[ ./-]((?:1[89]|2[01])[0-9]{2})"
)
"""A year, or a date that begins or ends with one."""
SCANT = 2  # titles with genres, from which on none shared is worth a warning


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
    path: Path,
    progress: Callable[[int], None] = lambda rows: None,
    cleaning: Cleaning | None = None,
    given: Mapping[str, str] | None = None,
    other: Sequence[str] = (),
) -> list[Title]:
    """The titles in the order of the file; `progress(rows)` is called now and then, and may raise.

    `given`: params.columns; `other`: the header of the interactions. Cleaned, and told to `cleaning`: a row without an
    id, with too many cells or with a cell of the wrong type is left out; a row that only repeats an earlier one is
    dropped; of rows with one id that differ, the first stays; a year that is no number is missing.
    Errors: those of tables.read; InvalidInput where half of the rows cannot be used; TooLarge past MAX_ROWS rows.
    """
    cleaning = cleaning or Cleaning("catalogue")
    table = tables.read(
        path, lambda header: columns.choose("catalogue", header, given or {}, other), cleaning, MAX_ROWS, progress
    )
    titles: dict[str, Title] = {}
    for title in _titles(table, cleaning):
        first = titles.setdefault(title.id, title)
        if first is not title:
            _twice(first, title, cleaning)
    cleaning.check()
    found = list(titles.values())
    _check_genres(found, table, cleaning)
    return found


def _titles(table: Table, cleaning: Cleaning) -> Sequence[Title]:
    """Titles of the rows that can be used."""
    key = table.ids("id")
    warn_rounded(key.rounded, "id", table, cleaning)
    years: dict[Any, int | None | bool] = {}
    parted = {name: _parted(table, name) for name in LISTS}
    cells = [table.values(name) for name in ("title", "year", *LISTS, "plot")]
    found = []
    for code, line, title, year, *named, plot in zip(key.codes.tolist(), table.lines.tolist(), *cells, strict=True):
        try:
            name = _key(code, key.names, table.names["id"])
            if year not in years:
                years[year] = _year(year)
            if years[year] is False:
                cleaning.fill("year is no number: left empty", line)
            plot = one_line(plot, "plot")
            genres, director, cast = (
                _list(parted[column], cell, column) for column, cell in zip(LISTS, named, strict=True)
            )
            plot = "" if plot.lower() in ids.MISSING else plot
            title = one_line(title, "title") or name
            found.append(Title(name, title, years[year] or None, genres, director, cast, plot, line))
        except Unusable as why:
            cleaning.refuse(line, str(why))
    return found


def _key(code: int, names: Sequence[str], column: str) -> str:
    if code == tables.NONE:
        raise Unusable(f"has no {column}")
    if code == tables.STRANGE:
        raise Unusable(f": {column} is neither a text nor a number")
    return names[code]


def warn_rounded(number: int, role: str, table: Table, cleaning: Cleaning) -> None:
    """Of ids that are floats past 2^53."""
    if number:
        said = (
            f"{number:,} ids of the column {table.names[role]!r} of the input {cleaning.table} are floats past 2^53, "
        )
        cleaning.warnings.append(warning("ids_rounded", said + "which may have been rounded: write them as texts"))


def _twice(first: Title, again: Title, cleaning: Cleaning) -> None:
    same = all(getattr(first, name) == getattr(again, name) for name in Title.__slots__ if name != "line")
    cleaning.drop(
        "repeats an earlier row" if same else "has the id of an earlier row but differs; the first stays", again.line
    )


def _year(value: Any) -> int | None | bool:
    """None where there is none, False where there is something else: of a date its year."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, datetime):
        return value.year
    text = " ".join(str(value).split())
    year = YEAR.fullmatch(text)
    if year:
        return int(year[1] or year[2] or year[3])
    return None if text.lower() in ids.MISSING else False


def _parted(table: Table, column: str) -> dict[str, tuple[str, ...] | None]:
    cells = [cell if isinstance(cell, str) else None for cell in table.values(column)]
    return {
        cell: names and tuple(map(sys.intern, names))
        for cell, names in lists.parted(cells, people=column != "genres").items()
    }


def _list(parted: Mapping[str, tuple[str, ...] | None], cell: Any, column: str) -> tuple[str, ...]:
    if isinstance(cell, str) and cell and ids.ODD not in cell:
        names = parted[cell]
        if names is None:
            raise Unusable(f": {column} is a list that holds something else than texts")
        return names
    name = one_line(cell, column)
    return (name,) if name else ()


def _check_genres(titles: Sequence[Title], table: Table, cleaning: Cleaning) -> None:
    """Warns where genres are there, and compare nothing."""
    with_genres = [title for title in titles if title.genres]
    if len(with_genres) < SCANT:
        return
    counts = Counter(genre.casefold() for title in with_genres for genre in title.genres)
    if max(counts.values()) < SCANT:
        said = f"no two titles share a genre: the column {table.names['genres']!r} has cells such as "
        said += f"{tables.short(', '.join(with_genres[0].genres))}; part genres by '|'"
        cleaning.warnings.append(warning("genres_unshared", said))
