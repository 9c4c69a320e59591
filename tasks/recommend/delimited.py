"""CSV: its delimiter, its quotes, its header, and its rows in columns.

It knows text, not what the columns mean: `choose` says which are read. The delimiter is the one that a first line
`sep=` names, else the one of comma, semicolon, tab and '|' by which the header has most of the columns that are read.
A quote inside quotes is doubled, or has a backslash before it: whichever leaves more rows whole.
"""

import csv
import itertools
import re
from array import array
from collections.abc import Callable, Iterator, Sequence

import pyarrow

from tasks.errors import InvalidInput, TooLarge
from tasks.recommend.cleaning import Cleaning
from tasks.recommend.columns import Choice
from tasks.recommend.encodings import Text

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "'|'"}
BATCH = 32_768  # rows in a chunk
TORN_MAX = 1000  # rows whose quotes run on; more are no accident
SEP = re.compile(r"""^["']?sep=(\\t|.)["']?\s*$""", re.IGNORECASE)
Choose = Callable[[Sequence[str]], Choice]
Chunk = tuple[array, list[pyarrow.Array]]
"""Numbers of rows, and the cells of each column that is read, in the order of Choice.places."""


class Delimited:
    """A CSV file, its header read. Errors: InvalidInput where it is empty."""

    def __init__(self, text: Text, choose: Choose, cleaning: Cleaning) -> None:
        self._text, self._cleaning = text, cleaning
        first = text.first()
        named = SEP.match(first)
        self._skip = bool(named)
        if named:
            first = next((line for line in self._lines() if line.strip()), "")
        if not first.strip():
            raise InvalidInput(f"the input {cleaning.table} is empty")
        candidates = [named[1].replace("\\t", "\t")] if named else [*DELIMITERS]
        self._delimiter = max(candidates, key=lambda one: _fit(choose, _cells(first, one)))
        self._escape = self._escapes() if text.escaped else None
        self._start = 0
        self.header = [name.strip() for name in self._header()]
        self.choice = choose(self.header)
        cleaning.form += f", {DELIMITERS.get(self._delimiter, repr(self._delimiter))}"
        cleaning.form += ", backslashes before quotes" if self._escape else ""

    def chunks(self) -> Iterator[Chunk]:
        """Rows that are not whole go to `cleaning`. Errors: InvalidInput, TooLarge."""
        width, places = len(self.header), [*self.choice.places.values()]
        source = _Source(self._lines())
        found = _parsed(source, self._delimiter, self._escape, self._bad)
        next(cells for cells in found if not _blank(cells))  # the header
        rows: list[Sequence[str]] = []
        numbers = array("q")
        for cells in found:
            if not cells or (not cells[0] and _blank(cells)):
                continue
            if len(cells) != width or self._text.zeros:
                fitted = self._fitted(source.number, cells, width)
                if fitted is None:
                    continue
                cells = fitted
            self._cleaning.rows += 1
            rows.append(cells)
            numbers.append(source.number)
            if len(rows) == BATCH:
                yield numbers, _columns(rows, places)
                rows, numbers = [], array("q")
        yield numbers, _columns(rows, places)

    def _lines(self) -> Iterator[str]:
        """All lines; one that names the delimiter becomes blank."""
        lines = self._text.lines()
        if not self._skip:
            return lines
        blank = itertools.takewhile(lambda line: not line.strip(), lines)  # takes the line that names it, too
        return itertools.chain(["\n" for _ in blank], ["\n"], lines)

    def _header(self) -> list[str]:
        for cells in _parsed(_Source(self._lines()), self._delimiter, self._escape, self._bad_header):
            if not _blank(cells):
                return cells
        raise InvalidInput(f"the input {self._cleaning.table} is empty")

    def _fitted(self, number: int, cells: list[str], width: int) -> list[str] | None:
        """Cells as many as the header has; None where what is too many says something, or one has a NUL."""
        if any("\0" in cell for cell in cells):
            self._refuse(number, "holds a NUL character")
            return None
        if len(cells) < width:
            self._cleaning.fill("has fewer cells than the header: the others are missing", number)
            return cells + [""] * (width - len(cells))
        if not any(cell.strip() for cell in cells[width:]):
            return cells[:width]
        said = "a cell that holds the delimiter must stand in double quotes"
        self._refuse(number, f"has {len(cells)} cells, the header {width}; {said}")
        return None

    def _refuse(self, number: int, why: str) -> None:
        self._cleaning.rows += 1
        self._cleaning.refuse(number, why)

    def _bad(self, number: int, why: str) -> None:
        self._refuse(number, f"is not CSV: {why}")

    @staticmethod
    def _bad_header(number: int, why: str) -> None:
        raise InvalidInput(f"line {number} is not CSV: {why}")

    def _escapes(self) -> str | None:
        """The backslash, where with it more rows are as long as the header."""
        whole = {escape: self._whole(escape) for escape in (None, "\\")}
        return "\\" if whole["\\"] > whole[None] else None

    def _whole(self, escape: str | None) -> int:
        torn: list[int] = []
        found = _parsed(_Source(self._lines()), self._delimiter, escape, lambda number, why: torn.append(number))
        width = len(next((cells for cells in found if not _blank(cells)), []))
        return sum(len(cells) == width for cells in found) - len(torn)


def _blank(cells: Sequence[str]) -> bool:
    return not any(cell.strip() for cell in cells)


def _columns(rows: list[Sequence[str]], places: Sequence[int]) -> list[pyarrow.Array]:
    columns = [*zip(*rows, strict=True)] if rows else []
    return [pyarrow.array(columns[place] if rows else [], pyarrow.large_string()) for place in places]


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _fit(choose: Choose, header: list[str]) -> tuple[bool, int, int]:
    choice = choose(header)
    return not choice.missing and bool(header), len(choice.places), len(header)


class _Source:
    """Lines for csv.reader, which can be put back. `row`: those of the row under way; `number`: of the last one."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self._again = lines, list[str]()
        self.row, self.number = list[str](), 0

    def feed(self) -> Iterator[str]:
        again, row = self._again, self.row
        while line := again.pop() if again else next(self._lines, ""):
            self.number += 1
            row.append(line)
            yield line

    def give_back(self) -> int:
        """All but the first line of the row; the number of that one."""
        self._again += reversed(self.row[1:])
        self.number -= len(self.row) - 1
        return self.number


def _parsed(
    source: _Source, delimiter: str, escape: str | None, bad: Callable[[int, str], None]
) -> Iterator[list[str]]:
    """The cells of each row. Of one that is no CSV the first line alone is lost, to `bad`."""
    torn, row = 0, source.row
    while True:
        try:  # a reader that met the end goes on with nothing that is put back
            for cells in csv.reader(source.feed(), strict=True, delimiter=delimiter, escapechar=escape):
                yield cells
                row.clear()
            return
        except csv.Error as error:
            torn += len(row) > 1
            _check_limit(error, source, torn)
            bad(source.give_back(), str(error))
            row.clear()


def _check_limit(error: csv.Error, source: _Source, torn: int) -> None:
    if len(source.row) == 1 and "field limit" in str(error):
        raise TooLarge(
            f"line {source.number}: a cell is longer than {csv.field_size_limit():,} characters, "
            "the most that is read (is a closing double quote missing?)"
        ) from error
    if torn > TORN_MAX:
        raise InvalidInput(
            f"line {source.number} is not CSV: {error}; so are {TORN_MAX:,} rows before it: a double quote inside "
            "double quotes must be written twice"
        ) from error
