"""JSON lines: an object a line, its rows in columns. It knows values, not what the columns mean."""

import json
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow

from tasks.errors import InvalidInput
from tasks.recommend.cleaning import Cleaning
from tasks.recommend.columns import LISTS
from tasks.recommend.delimited import BATCH, Choose, Chunk
from tasks.recommend.encodings import Text
from tasks.recommend.ids import EXACT, HALF, ODD

NAMES_MAX = 10_000  # different names of all objects together
_THOUSANDS = re.compile(r"-?[0-9]{1,3}\.[0-9]{3}")


class JsonLines:
    """A file of objects; `header` has the names of all of them, in the order of their first use."""

    def __init__(self, text: Text, choose: Choose, cleaning: Cleaning) -> None:
        self._text, self._cleaning = text, cleaning
        names: dict[str, None] = {}
        for line in text.lines():
            row = _object(line) if len(names) < NAMES_MAX else None
            if isinstance(row, dict) and not row.keys() <= names.keys():
                names |= dict.fromkeys(row)
        self._names = [*names]
        self.header = [name.strip() for name in names]
        self.choice = choose(self.header)
        if not names:
            self._explain()

    def _explain(self) -> None:
        """Errors: InvalidInput, with the first line that is no object."""
        for number, line in enumerate(self._text.lines(), 1):
            row = _object(line) if line.strip() else {}
            if not isinstance(row, dict):
                raise InvalidInput(f"line {number} {_fault(row)}")
        raise InvalidInput(f"the input {self._cleaning.table} has objects without names")

    def chunks(self) -> Iterator[Chunk]:
        """Lines that are no object go to `cleaning`."""
        names = {role: self._names[place] for role, place in self.choice.places.items()}
        rows: list[dict] = []
        numbers = array("q")
        for number, line in enumerate(self._text.lines(), 1):
            if not line.strip():
                continue
            self._cleaning.rows += 1
            row = _object(line)
            if not isinstance(row, dict):
                self._cleaning.refuse(number, _fault(row))
                continue
            rows.append(row)
            numbers.append(number)
            if len(rows) == BATCH:
                yield numbers, [_cells(rows, name, role) for role, name in names.items()]
                rows, numbers = [], array("q")
        yield numbers, [_cells(rows, name, role) for role, name in names.items()]


def _object(line: str) -> Any:
    """What a line says; an error where it is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return error


def _fault(row: Any) -> str:
    return f"is not JSON: {row}" if isinstance(row, Exception) else "is not a JSON object"


def _cells(rows: Sequence[dict], name: str, role: str) -> pyarrow.Array:
    """Texts, or numbers where there is nothing else."""
    values = [row.get(name) for row in rows]
    types = set(map(type, values))
    if types <= {int, float, type(None)} and types & {int, float}:
        whole = [value for value in values if type(value) is int] if types >= {int, float} else []
        if all(abs(value) < EXACT for value in whole):
            try:
                return pyarrow.array(values, pyarrow.float64() if float in types else pyarrow.int64())
            except (OverflowError, pyarrow.ArrowInvalid):  # a whole number past 64 bits
                pass
    if not types <= {str, type(None)}:
        values = [_text(value, role) for value in values]
    try:
        return pyarrow.array(values, pyarrow.large_string())
    except UnicodeEncodeError:
        return pyarrow.array([_whole(value) for value in values], pyarrow.large_string())


def _text(value: Any, role: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return ODD
    if isinstance(value, float):
        # 12.125 is no '12.125' that may be twelve thousand
        said = repr(value)
        return None if math.isnan(value) else said + "0" if _THOUSANDS.fullmatch(said) else said
    if isinstance(value, int):
        return str(value) if value.bit_length() < 10_000 else ODD
    return json.dumps(value) if role in LISTS else ODD


def _whole(value: str | None) -> str | None:
    """HALF in place of a text that cannot be written."""
    try:
        return value and value.encode().decode()
    except UnicodeEncodeError:
        return HALF
