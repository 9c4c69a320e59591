"""Parquet: the columns that are read, and no others, in chunks.

It knows Arrow's types, not what the columns mean. What a file says of its size is checked before it is decoded, and
what its cells have is counted before they are written out: a hundred bytes of file can say 'this text of a megabyte,
a million times'.
"""

import json
from array import array
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from tasks.errors import InvalidInput, TooLarge, UnsupportedMedia
from tasks.recommend.cleaning import Cleaning
from tasks.recommend.columns import LISTS
from tasks.recommend.delimited import Choose, Chunk
from tasks.recommend.ids import ODD

MAX_DECODED = 2 * 1024**3  # bytes of the columns that are read, uncompressed
BATCH = 8192  # rows at a time
MAX_BATCH = 256 * 1024**2  # bytes of their cells
TEXTS = (pyarrow.string(), pyarrow.binary(), pyarrow.large_string(), pyarrow.large_binary())
FAULTS = (pyarrow.ArrowException, OSError, ValueError, OverflowError, TypeError, KeyError)


class ParquetFile:
    """Errors: UnsupportedMedia for one that is encrypted, InvalidInput for one that is none, TooLarge."""

    def __init__(self, path: Path, choose: Choose, cleaning: Cleaning) -> None:
        self._path, self._cleaning = path, cleaning
        cleaning.form, cleaning.unit = "Parquet", "row"
        try:
            self._metadata = parquet.read_metadata(path)
            self.header = [name.strip() for name in self._metadata.schema.to_arrow_schema().names]
            self._names = self._metadata.schema.to_arrow_schema().names
        except FAULTS as error:
            raise self._unreadable(error) from error
        self.choice = choose(self.header)

    def _unreadable(self, error: BaseException) -> InvalidInput | UnsupportedMedia:
        said = " ".join(str(error).split())[:300]
        if "ncrypt" in said:
            return encrypted(self._cleaning.table)
        return InvalidInput(f"the input {self._cleaning.table} is not readable as Parquet: {said}")

    def chunks(self) -> Iterator[Chunk]:
        try:
            yield from self._chunks()
        except FAULTS as error:
            raise self._unreadable(error) from error

    def _chunks(self) -> Iterator[Chunk]:
        roles = {role: self._names[place] for role, place in self.choice.places.items()}
        wanted = list(dict.fromkeys(roles.values()))
        places = [n for n in range(self._metadata.num_columns) if self._of(n) in wanted]
        self._check_stated(places)
        file = self._opened(places)
        number = total = 0
        for batch in file.iter_batches(BATCH, columns=wanted):
            size = sum(map(_bytes, batch.columns))
            total += size
            if size > MAX_BATCH or total > MAX_DECODED:
                raise TooLarge(
                    f"the cells of rows {number + 1} to {number + batch.num_rows} have {size:,} bytes, those of all "
                    f"rows so far {total:,}; of {BATCH:,} rows at most {MAX_BATCH:,} are read, of all {MAX_DECODED:,}"
                )
            numbers = array("q", range(number + 1, number + 1 + batch.num_rows))
            number += batch.num_rows
            self._cleaning.rows += batch.num_rows
            yield numbers, [_plain(batch.column(name), role) for role, name in roles.items()]

    def _of(self, place: int) -> str:
        """The name of the column that a leaf of the schema belongs to."""
        path = self._metadata.schema.column(place).path
        return next((name for name in self._names if path == name or path.startswith(name + ".")), "")

    def _check_stated(self, places: list[int]) -> None:
        """By its footer, when decoded; of lists, whose number the rows do not bound, 8 bytes an element at least."""
        groups = [self._metadata.row_group(group) for group in range(self._metadata.num_row_groups)]
        chunks = [(group.column(place), place) for group in groups for place in places]
        listed = [c.num_values for c, place in chunks if self._metadata.schema.column(place).max_repetition_level]
        size = max(sum(chunk.total_uncompressed_size for chunk, _ in chunks), 8 * sum(listed))
        if size > MAX_DECODED:
            raise TooLarge(
                f"the input {self._cleaning.table} has {size:,} bytes when decoded; at most {MAX_DECODED:,} are read"
            )

    def _opened(self, places: list[int]) -> parquet.ParquetFile:
        """Texts stay references into their dictionary until their size is known."""
        columns = [self._metadata.schema.column(place) for place in places]
        texts = [c.path for c in columns if c.physical_type == "BYTE_ARRAY" and c.logical_type.type != "DECIMAL"]
        return parquet.ParquetFile(
            self._path, metadata=self._metadata, read_dictionary=texts, coerce_int96_timestamp_unit="us"
        )


def encrypted(table: str) -> UnsupportedMedia:
    return UnsupportedMedia(f"the input {table} is encrypted Parquet: write it without encryption")


def _plain(column: pyarrow.Array, role: str) -> pyarrow.Array:
    """Texts, numbers, times or days; of lists, where they are wanted, their JSON; ODD in place of anything else."""
    kind = pyarrow.types
    if isinstance(column.type, pyarrow.BaseExtensionType):
        column = column.storage
    if kind.is_run_end_encoded(column.type):
        column = compute.run_end_decode(column)
    if kind.is_dictionary(column.type):
        column = column.dictionary_decode()
    if kind.is_null(column.type):
        return column.cast(pyarrow.large_string())
    if kind.is_timestamp(column.type):
        return column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
    if kind.is_date(column.type):
        return column.cast(pyarrow.timestamp("ms")).cast(pyarrow.timestamp("us"))
    if kind.is_integer(column.type) or kind.is_floating(column.type) or kind.is_decimal(column.type):
        return column.cast(pyarrow.float64()) if kind.is_float16(column.type) else column
    if kind.is_binary(column.type) or kind.is_large_binary(column.type) or kind.is_fixed_size_binary(column.type):
        return pyarrow.array([_decoded(value) for value in column.to_pylist()], pyarrow.large_string())
    if kind.is_string(column.type) or kind.is_large_string(column.type) or kind.is_string_view(column.type):
        return column.cast(pyarrow.large_string())
    if kind.is_nested(column.type) and role in LISTS:
        values = [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()]
        return pyarrow.array(values, pyarrow.large_string())
    odd = compute.if_else(column.is_null(), pyarrow.scalar(None, pyarrow.large_string()), ODD)
    return odd.cast(pyarrow.large_string())


def _decoded(value: bytes | None) -> str | None:
    try:
        return value if value is None else value.decode()
    except UnicodeDecodeError:
        return ODD


def _bytes(column: pyarrow.Array) -> int:
    """Of the cells, were each written out."""
    kind = pyarrow.types
    if kind.is_dictionary(column.type):
        length = compute.binary_length if column.type.value_type in TEXTS else lambda values: [8] * len(values)
        lengths = pyarrow.array(length(column.dictionary), pyarrow.int64())
        return compute.sum(lengths.take(column.indices)).as_py() or 0
    if kind.is_struct(column.type):
        return sum(map(_bytes, column.flatten()))
    if kind.is_map(column.type):
        return _bytes(column.keys) + _bytes(column.items)
    if kind.is_nested(column.type):
        return _bytes(column.flatten())
    return column.nbytes
