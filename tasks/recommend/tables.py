"""The rows of a caller's table, from CSV, JSON lines or Parquet, with their numbers.

It knows files, encodings and delimiters, not what the columns mean: a reader says which columns it cannot do
without. Which format a file has, its first bytes say ('PAR1' Parquet, '{' JSON lines, else CSV), not its name.

CSV: the delimiter is the first of comma, semicolon, tab and '|' by which the header has the needed columns; text is
UTF-8, or UTF-16 with a byte order mark, or what charset-normalizer takes it for, which the report says.
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.compute as compute
import pyarrow.parquet as parquet
from charset_normalizer import from_bytes

from tasks.errors import InvalidInput, TooLarge, UnsupportedMedia
from tasks.recommend.cleaning import Cleaning

MAX_LINE = 1024 * 1024  # bytes
MAX_DECODED = 2 * 1024**3  # bytes of a Parquet file's columns, uncompressed
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "'|'"}
SAMPLE = 64 * 1024  # bytes of lines that are not ASCII, to guess an encoding from
WESTERN = "cp1252"
LEGACY = [WESTERN, "cp1250", "cp1251", "cp1253", "cp1254", "cp932", "gb18030", "euc_kr", "big5", "koi8_r"]
BATCH = 8192  # rows of Parquet at a time
MAX_BATCH = 256 * 1024**2  # bytes of their cells
TEXTS = (pyarrow.string(), pyarrow.binary(), pyarrow.large_string(), pyarrow.large_binary())
Row = Mapping[str, Any]
Needed = Callable[[Sequence[str]], str]
"""Given the columns, in lower case: '' if they suffice, or else a sentence on what is missing."""


def rows(path: Path, needed: Needed, cleaning: Cleaning) -> Iterator[tuple[int, Row]]:
    """Number and cells by column (lower case) of each row that can be read; those that cannot go to `cleaning`.

    Errors: UnsupportedMedia for what is no table; InvalidInput for one whose header does not do or whose quotes do not
    close; TooLarge for a line of more than MAX_LINE bytes.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(b"PAR1"):
        found: Iterator[tuple[int, Row | None]] = _parquet_rows(path, needed, cleaning)
    else:
        encoding = _encoding(path, head, cleaning.table)
        with path.open("rb") as file:
            first = next((line for line in _lines(file, encoding) if line.strip()), "").lstrip()[:1]
        if first == "[":
            raise UnsupportedMedia(
                f"the input {cleaning.table} is a JSON array; CSV, Parquet and JSON lines are read: "
                "an object a line, no brackets around them"
            )
        cleaning.form = f"{'JSON lines' if first == '{' else 'CSV'}, {encoding}"
        found = (
            _json_rows(path, encoding, needed, cleaning)
            if first == "{"
            else _csv_rows(path, encoding, needed, cleaning)
        )
    for number, row in found:
        cleaning.rows += 1
        if row is not None:
            yield number, row


class Unusable(Exception):
    """What is wrong with a row, as it goes on after 'line 7 '."""


def text(row: Row, column: str) -> str:
    """A cell as text of one line; '' where there is none or it is not a number. Errors: Unusable."""
    value = row.get(column)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise Unusable(f": {column} is neither a text nor a number")
    return one_line(str(value), column)


def one_line(value: str, column: str) -> str:
    """Errors: Unusable, for what is no text that could be written."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Unusable(f": {column} holds half a character (a lone surrogate)") from error
    return " ".join(value.split())


def short(text: str) -> str:
    """A caller's text inside a sentence."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _encoding(path: Path, head: bytes, table: str) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in head:
        raise UnsupportedMedia(f"the input {table} is a binary file; CSV, JSON lines and Parquet are read")
    sample = bytearray()  # from the first line on that is not UTF-8
    with path.open("rb") as file:
        while len(sample) < SAMPLE and (line := file.readline(MAX_LINE + 1)):
            if not line.isascii() and (sample or not _is_utf8(line)):
                sample += line
    return _guess(bytes(sample)) if sample else "utf-8"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _guess(sample: bytes) -> str:
    """Windows-1252, which Western spreadsheets write, unless another fits better."""
    matches = from_bytes(sample, cp_isolation=LEGACY)
    best = matches.best()
    western = [match for match in matches if WESTERN in match.could_be_from_charset]
    if best is None or any((w.chaos, -w.coherence) <= (best.chaos, -best.coherence) for w in western):
        return WESTERN
    return best.encoding


def _lines(file: BinaryIO, encoding: str) -> Iterator[str]:
    """Lines as text. What an encoding does not know becomes U+FFFD."""
    if encoding == "utf-16":
        yield from file.read().decode("utf-16", errors="replace").splitlines(keepends=True)
        return
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise TooLarge(f"line {number} is longer than {MAX_LINE:,} bytes, the most that is read")
        yield line.decode("utf-8-sig" if number == 1 and encoding == "utf-8" else encoding, errors="replace")


def _csv_rows(path: Path, encoding: str, needed: Needed, cleaning: Cleaning) -> Iterator[tuple[int, Row | None]]:
    with path.open("rb") as file:
        first = next((line for line in _lines(file, encoding) if line.strip()), "")
    delimiter = next((d for d in DELIMITERS if not needed(_header([first], d))), ",")
    cleaning.form += f", {DELIMITERS[delimiter]}"
    with path.open("rb") as file:
        reader = csv.reader(_lines(file, encoding), strict=True, delimiter=delimiter)
        try:
            header = [name.strip().lower() for name in next((cells for cells in reader if any(cells)), [])]
            _check_header(header, needed, cleaning.table)
            for cells in reader:
                if len(cells) > len(header):
                    cleaning.refuse(
                        reader.line_num,
                        f"has {len(cells)} cells, the header {len(header)}; "
                        "a cell that holds the delimiter must stand in double quotes",
                    )
                    yield reader.line_num, None
                elif any(cell.strip() for cell in cells):
                    yield reader.line_num, dict(zip(header, cells, strict=False))
        except csv.Error as error:
            if "field limit" in str(error):
                raise TooLarge(
                    f"line {reader.line_num}: a cell is longer than {csv.field_size_limit():,} characters, "
                    "the most that is read (is a closing double quote missing?)"
                ) from error
            raise InvalidInput(f"line {reader.line_num} is not CSV: {error}") from error


def _header(lines: Sequence[str], delimiter: str) -> list[str]:
    try:
        return [name.strip().lower() for name in next(csv.reader(lines, delimiter=delimiter), [])]
    except csv.Error:
        return []


def _check_header(header: list[str], needed: Needed, table: str) -> None:
    if not any(header):
        raise InvalidInput(f"the input {table} is empty")
    twice = sorted(name for name, count in Counter(header).items() if name and count > 1)
    if twice:
        raise InvalidInput(f"the header names column {short(twice[0])} twice")
    _check_columns(header, needed, table, f" (in CSV, one of {', '.join(DELIMITERS.values())} parts them)")


def _check_columns(columns: Sequence[str], needed: Needed, table: str, hint: str = "") -> None:
    missing = needed(columns)
    if missing:
        shown = ", ".join(short(name) for name in columns[:8])
        raise InvalidInput(f"the input {table} {missing}; its columns are {shown}{hint}")


def _json_rows(path: Path, encoding: str, needed: Needed, cleaning: Cleaning) -> Iterator[tuple[int, Row | None]]:
    checked = False
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file, encoding), 1):
            if not line.strip():
                continue
            row = _object(line, number, cleaning)
            if row is not None and not checked:
                _check_columns(list(row), needed, cleaning.table)
                checked = True
            yield number, row


def _object(line: str, number: int, cleaning: Cleaning) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        cleaning.refuse(number, f"is not JSON: {error}")
        return None
    if not isinstance(row, dict):
        cleaning.refuse(number, "is not a JSON object")
        return None
    return {name.strip().lower(): value for name, value in row.items()}


def _parquet_rows(path: Path, needed: Needed, cleaning: Cleaning) -> Iterator[tuple[int, Row]]:
    cleaning.form, cleaning.unit = "Parquet", "row"
    try:
        file = _opened(path)
        size = sum(_stated_bytes(file.metadata.row_group(g), file.schema) for g in range(file.metadata.num_row_groups))
        if size > MAX_DECODED:
            raise TooLarge(
                f"the input {cleaning.table} has {size:,} bytes when decoded; at most {MAX_DECODED:,} are read"
            )
        _check_header([name.lower() for name in file.schema_arrow.names], needed, cleaning.table)
        number = 0
        for batch in file.iter_batches(BATCH):
            size = sum(map(_bytes, batch.columns))
            if size > MAX_BATCH:
                raise TooLarge(
                    f"the cells of rows {number + 1} to {number + batch.num_rows} have {size:,} bytes; of "
                    f"{BATCH:,} rows at most {MAX_BATCH:,} are read"
                )
            names = [name.strip().lower() for name in batch.schema.names]
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                number += 1
                yield number, dict(zip(names, values, strict=True))
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise InvalidInput(f"the input {cleaning.table} is not readable as Parquet: {error}"[:500]) from error


def _opened(path: Path) -> parquet.ParquetFile:
    """Texts stay references into their dictionary until their size is known: a hundred bytes of file can say 'this
    text of a megabyte, a million times'."""
    metadata = parquet.read_metadata(path)
    columns = [metadata.schema.column(n) for n in range(metadata.num_columns)]
    texts = [c.path for c in columns if c.physical_type == "BYTE_ARRAY" and c.logical_type.type != "DECIMAL"]
    return parquet.ParquetFile(path, metadata=metadata, read_dictionary=texts)


def _stated_bytes(group: parquet.RowGroupMetaData, schema: parquet.ParquetSchema) -> int:
    """By its header, when decoded; of lists, whose number the rows do not bound, 8 bytes an element at least."""
    listed = (group.column(n).num_values for n in range(group.num_columns) if schema.column(n).max_repetition_level)
    return max(group.total_byte_size, 8 * sum(listed))


def _bytes(column: pyarrow.Array) -> int:
    """Of the cells, were each written out."""
    kind = pyarrow.types
    if kind.is_dictionary(column.type):
        length = compute.binary_length if column.type.value_type in TEXTS else lambda values: [8] * len(values)
        lengths = pyarrow.array(length(column.dictionary), pyarrow.int64())
        return compute.sum(lengths.take(column.indices)).as_py() or 0
    if kind.is_struct(column.type):
        return sum(map(_bytes, column.flatten()))
    if kind.is_nested(column.type):
        return _bytes(column.flatten())
    return column.nbytes
