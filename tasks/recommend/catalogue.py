"""The caller's table of titles, from CSV or JSON lines; knows columns and what is wrong with a row.

It does not know what is done with the titles. Which of the two formats a file is, its first character
says ('{' opens JSON lines), not its name. Errors name the line.
"""

import csv
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tasks.errors import InvalidInput, TooLarge, UnsupportedMedia

MAX_ROWS = 1_000_000
MAX_LINE = 1024 * 1024  # bytes
KEYS = ("id", "wikidata_id", "title")  # the first that there is tells the rows apart
LISTS = ("genres", "director", "cast")
MISSING = frozenset({"", "nan", "null", "none", "n/a"})  # what spreadsheets and data frames write for nothing
YEAR = re.compile(r"^([0-9]{1,4})(\.0)?$")
Row = Mapping[str, Any]


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


def read(path: Path, progress: Callable[[int], None] = lambda rows: None) -> list[Title]:
    """The titles in the order of the file; `progress(rows)` is called now and then, and may raise.

    CSV: commas, a header, UTF-8 with or without a byte order mark. JSON lines: an object a line. Columns: id
    (else wikidata_id, else title) and any of title, year, genres, director, cast (texts with '|' between, or
    lists) and plot; others are ignored. Raises UnsupportedMedia for what is no text, InvalidInput for a table
    or row that cannot be used, TooLarge past MAX_ROWS rows or MAX_LINE bytes a line.
    """
    titles: list[Title] = []
    lines: dict[str, int] = {}
    key = ""
    with path.open("rb") as file:
        for line, row in _rows(file):
            key = key or _key(row)
            title = _title(row, key, line)
            if title.id in lines:
                raise InvalidInput(f"line {line}: {key} {_short(title.id)} was already given in line {lines[title.id]}")
            lines[title.id] = line
            titles.append(title)
            if len(titles) > MAX_ROWS:
                raise TooLarge(f"the catalogue has more than {MAX_ROWS:,} rows, the most that is read")
            if len(titles) % 5000 == 0:
                progress(len(titles))
    if not titles:
        raise InvalidInput("the catalogue has no rows")
    return titles


def _rows(file: BinaryIO) -> Iterator[tuple[int, Row]]:
    """Line number and row, as CSV or JSON lines."""
    head = file.read(4096)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnsupportedMedia("the catalogue is UTF-16 text; save it as UTF-8")
    if b"\0" in head:
        raise UnsupportedMedia("the catalogue is a binary file; CSV and JSON lines are read")
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    file.seek(0)
    if first == b"[":
        raise UnsupportedMedia("the catalogue is a JSON array; CSV and JSON lines (an object a line) are read")
    return _json_rows(file) if first == b"{" else _csv_rows(file)


def _lines(file: BinaryIO) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise TooLarge(f"line {number} is longer than {MAX_LINE:,} bytes, the most that is read")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput(f"line {number} is not UTF-8 text: byte {error.start + 1} of it is "
                               f"0x{line[error.start]:02x}") from error


def _csv_rows(file: BinaryIO) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(_lines(file), strict=True)
    try:
        header = [name.strip().lower() for name in next((cells for cells in reader if any(cells)), [])]
        _check_header(header)
        for cells in reader:
            if len(cells) > len(header):
                raise InvalidInput(f"line {reader.line_num} has {len(cells)} cells, the header {len(header)}; "
                                   "a cell that holds a comma must stand in double quotes")
            if any(cell.strip() for cell in cells):
                yield reader.line_num, dict(zip(header, cells, strict=False))
    except csv.Error as error:
        if "field limit" in str(error):
            raise TooLarge(f"line {reader.line_num}: a cell is longer than {csv.field_size_limit():,} characters, the "
                           "most that is read (is a closing double quote missing?)") from error
        raise InvalidInput(f"line {reader.line_num} is not CSV: {error}") from error


def _check_header(header: list[str]) -> None:
    if not any(header):
        raise InvalidInput("the catalogue is empty")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InvalidInput(f"the header names column {_short(twice[0])} twice")
    _key(dict.fromkeys(header))


def _json_rows(file: BinaryIO) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InvalidInput(f"line {number} is not a JSON object")
        yield number, row


def _key(row: Row) -> str:
    """The column that tells rows apart."""
    found = next((key for key in KEYS if key in row), None)
    if found is None:
        names = ", ".join(_short(name) for name in list(row)[:8])
        raise InvalidInput(f"the catalogue has none of the columns {', '.join(KEYS)}; its columns are {names} "
                           "(in CSV, commas part them)")
    return found


def _title(row: Row, key: str, line: int) -> Title:
    name = _text(row, key, line)
    if not name:
        raise InvalidInput(f"line {line} has no {key}")
    year = YEAR.match(_text(row, "year", line))
    plot = _text(row, "plot", line)
    return Title(name, _text(row, "title", line) or name, int(year[1]) if year else None,
                 *(_list(row, column, line) for column in LISTS), "" if plot.lower() in MISSING else plot, line)


def _list(row: Row, column: str, line: int) -> tuple[str, ...]:
    value = row.get(column)
    if isinstance(value, list):
        if not all(isinstance(part, str) for part in value):
            raise InvalidInput(f"line {line}: {column} is a list that holds something else than texts")
        parts = [_clean(part, column, line) for part in value]
    else:
        parts = [part.strip() for part in _text(row, column, line).split("|")]
    return tuple(sys.intern(part) for part in dict.fromkeys(parts) if part.lower() not in MISSING)


def _text(row: Row, column: str, line: int) -> str:
    """A cell as text of one line; '' where there is none."""
    value = row.get(column)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidInput(f"line {line}: {column} is neither a text nor a number")
    return _clean(str(value), column, line)


def _clean(text: str, column: str, line: int) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(f"line {line}: {column} holds half a character (a lone surrogate)") from error
    return " ".join(text.split())


def _short(text: str) -> str:
    """A caller's text inside a sentence."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
