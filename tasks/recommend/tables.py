"""A caller's table by its columns, from CSV, JSON lines or Parquet, with the numbers of its rows.

It knows formats, not what the columns mean: the first bytes say which one a file has ('PAR1' Parquet, '{' JSON lines,
else CSV), not its name. Only the columns that are meant are kept, as Arrow's arrays.
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow

from tasks.errors import InvalidInput, TooLarge, UnsupportedMedia
from tasks.recommend import ids
from tasks.recommend.cleaning import Cleaning
from tasks.recommend.columns import Choice
from tasks.recommend.delimited import DELIMITERS, Choose, Delimited
from tasks.recommend.encodings import text_of
from tasks.recommend.json_lines import JsonLines
from tasks.recommend.parquet_file import ParquetFile, encrypted

NONE, STRANGE = -1, -2
"""Codes of cells that name no id, and of those that are neither a text nor a number."""


@dataclass(frozen=True)
class Ids:
    """A column of ids: of each row its place in `names`, or NONE, or STRANGE. `rounded`: ids of floats past 2^53."""

    codes: np.ndarray
    names: list[str]
    rounded: int


@dataclass(frozen=True)
class Table:
    """`lines` (n,): number of each row in its file; `columns`: by what they are, chunks of n cells together; `names`:
    as the caller's header has them."""

    lines: np.ndarray
    columns: Mapping[str, Sequence[pyarrow.Array]]
    names: Mapping[str, str]

    def values(self, column: str) -> list[Any]:
        """The cells: texts, numbers, datetimes, ids.ODD or None; all None where there is no such column."""
        if column not in self.columns:
            return [None] * len(self.lines)
        return [value for chunk in self.columns[column] for value in chunk.to_pylist()]

    def ids(self, column: str) -> Ids:
        """The column by the one rule for ids."""
        codes: list[np.ndarray] = []
        known: dict[str, int] = {}
        seen: dict[Any, int] = {}
        rounded = 0
        for chunk in self.columns[column]:
            encoded = chunk.dictionary_encode()
            values = encoded.dictionary.to_pylist()
            for value in values:
                if value not in seen:
                    seen[value] = _code(value, known)
                    rounded += isinstance(value, float) and abs(value) > ids.EXACT
            table = np.array([*(seen[value] for value in values), NONE], np.int64)
            codes.append(table[encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)])
        return Ids(np.concatenate(codes) if codes else np.empty(0, np.int64), [*known], rounded)


def _code(value: Any, known: dict[str, int]) -> int:
    try:
        name = ids.one(value)
    except ValueError:
        return STRANGE
    return known.setdefault(name, len(known)) if name else NONE


def read(path: Path, choose: Choose, cleaning: Cleaning, most: int, progress: Callable[[int], None]) -> Table:
    """The columns that `choose` picks; rows that cannot be read go to `cleaning`. `progress(rows)` may raise.

    Errors: UnsupportedMedia for what is no table; InvalidInput for one that lacks a column, has no rows, or is not
    readable; TooLarge for more than `most` rows, or a line or cells past their limits.
    """
    reader = _reader(path, choose, cleaning)
    _check(reader.header, reader.choice.missing, cleaning)
    cleaning.warnings += reader.choice.warnings
    places = reader.choice.places
    twice = {name for name, count in Counter(reader.header).items() if count > 1}
    for place in places.values():
        if reader.header[place] in twice:
            raise InvalidInput(f"the header names column {short(reader.header[place])} twice")
    lines: list[np.ndarray] = []
    columns: dict[str, list[pyarrow.Array]] = {role: [] for role in places}
    for numbers, cells in reader.chunks():
        if cleaning.rows > most:
            raise TooLarge(f"the input {cleaning.table} has more than {most:,} rows, the most that is read")
        progress(cleaning.rows)
        if len(numbers):
            lines.append(np.array(numbers, np.int64))
            for role, column in zip(places, cells, strict=True):
                columns[role].append(column)
    if not cleaning.rows:
        raise InvalidInput(f"the input {cleaning.table} has no rows")
    names = {role: reader.header[place] for role, place in places.items()}
    return Table(np.concatenate(lines) if lines else np.empty(0, np.int64), columns, names)


def header(path: Path | None) -> list[str]:
    """The names of a table's columns, as far as they can be read; [] where they cannot."""
    if path is None:
        return []
    try:
        quiet = Cleaning("table")
        with path.open("rb") as file:
            head = file.read(4)
        if head == b"PAR1":
            return ParquetFile(path, _no_choice, quiet).header
        first = text_of(path, quiet).first()
        if first.lstrip().startswith("{"):
            return [*json.loads(first)]
        if first.lower().lstrip("\"'").startswith("sep="):
            first = next((line for n, line in enumerate(text_of(path, quiet).lines()) if n and line.strip()), "")
        return max((next(csv.reader([first], delimiter=one), []) for one in DELIMITERS), key=len)
    except (InvalidInput, UnsupportedMedia, TooLarge, csv.Error, ValueError):
        return []


def _no_choice(names: Sequence[str]) -> Choice:
    return Choice({})


def _reader(path: Path, choose: Choose, cleaning: Cleaning) -> Delimited | JsonLines | ParquetFile:
    with path.open("rb") as file:
        head = file.read(4)
    if head == b"PAR1":
        return ParquetFile(path, choose, cleaning)
    if head == b"PARE":
        raise encrypted(cleaning.table)
    text = text_of(path, cleaning)
    first = text.first().lstrip()[:1]
    if first == "[":
        raise UnsupportedMedia(
            f"the input {cleaning.table} is a JSON array; CSV, Parquet and JSON lines are read: "
            "an object a line, no brackets around them"
        )
    cleaning.form = f"{'JSON lines' if first == '{' else 'CSV'}, {text.encoding}"
    return JsonLines(text, choose, cleaning) if first == "{" else Delimited(text, choose, cleaning)


def _check(names: Sequence[str], missing: str, cleaning: Cleaning) -> None:
    if not any(names):
        raise InvalidInput(f"the input {cleaning.table} is empty")
    if missing:
        shown = ", ".join(short(name) for name in names[:12]) + (", ..." if len(names) > 12 else "")
        hint = f" (in CSV, one of {', '.join(DELIMITERS.values())} parts them, and the first line names them)"
        raise InvalidInput(f"the input {cleaning.table} {missing}; its columns are {shown}{hint}")


class Unusable(Exception):
    """Tells what is wrong with a row, as it goes on after 'line 7 '."""


def one_line(value: object, column: str) -> str:
    """A cell as text of one line; '' where there is none. Errors: Unusable."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, str):
        if ids.ODD in value:
            why = "holds half a character (a lone surrogate)" if value == ids.HALF else "is neither a text nor a number"
            raise Unusable(f": {column} {why}")
        return " ".join(value.split())
    try:
        return ids.one(value)
    except ValueError as error:
        raise Unusable(f": {column} is neither a text nor a number") from error


def short(text: str) -> str:
    """A caller's text inside a sentence."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
