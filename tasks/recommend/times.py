"""Times of a column, in seconds since 1970, judged over all of it: their unit, and the order of day and month.

    1700000000  1700000000000         seconds, or ms, us or ns by their size (smaller numbers: any count, older first)
    20240131  20240131103000          a day, or one with its clock, where the whole column has such numbers
    2024-01-31T10:00:00+01:00         ISO 8601; without a zone UTC
    31.01.2024  1/31/24 10:00 PM      day and month as the column shows; where none is past 12, the warning says so
    Jan 31, 2024  01 31, 2024         as written
    0001-01-01  9999-12-31            none: what databases write for nothing

It knows cells, not what happened then.
"""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pyarrow
import pyarrow.compute as compute

from tasks.recommend.ids import MISSING
from tasks.warning import warning

NUMBER = r"^\s*[-+]?[0-9]+(\.[0-9]*)?\s*$"
UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""Numbers from which on a count is in so many parts of a second."""
EPOCH = 1e8  # from which on a number is a time since 1970, not a count of something
MISSES_MAX = 1000  # texts that fit no form
FIRST, LAST = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (1900, 2200))
NUMERIC = re.compile(
    r"(?P<one>[0-9]{1,2})(?P<mark>[./ -])(?P<two>[0-9]{1,2})[./, -]+(?P<year>[0-9]{4}|[0-9]{2})"
    r"(?:[ ,T]+(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.[0-9]+)?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?)?"
)
WRITTEN = (
    "%b %d, %Y",
    "%B %d, %Y",
    "%d %b %Y",
    "%d %B %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%b %d %Y",
    "%d %b %Y, %H:%M",
    "%d %b %Y %H:%M",
    "%d %b %Y %H:%M:%S",
    "%b %d, %Y %H:%M:%S",
    "%b %d, %Y %I:%M %p",
    "%a %b %d %H:%M:%S %z %Y",
    "%a %b %d %H:%M:%S %Y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y.%m.%d",
    "%Y-%m-%d %H:%M:%S %z",
    "%Y-%m-%d %H:%M:%S UTC",
)


@dataclass(frozen=True)
class Times:
    """`values` (n,) float64 seconds, NaN where there is none; `unreadable` (n,) bool: there is something, but no time;
    `absurd` (n,) bool: it is before 1900 or after 2200."""

    values: np.ndarray
    unreadable: np.ndarray
    absurd: np.ndarray
    warnings: list[dict[str, str]]


def read(chunks: Sequence[pyarrow.Array], column: str, table: str) -> Times:
    """Whatever a cell says, it is a time or counted."""
    chunks = [_typed(chunk) for chunk in chunks]
    parts, said = [], list[dict[str, str]]()
    numeric: list[np.ndarray] = []
    for chunk in chunks:
        kind = pyarrow.types
        if kind.is_timestamp(chunk.type):
            seconds = chunk.cast(pyarrow.int64()).cast(pyarrow.float64(), safe=False).fill_null(np.nan)
            parts.append((seconds.to_numpy(zero_copy_only=False) / 1e6, np.zeros(len(chunk), bool)))
            numeric.append(np.zeros(len(chunk), bool))
        elif kind.is_large_string(chunk.type):
            parts.append((np.empty(0), np.empty(0, bool)))
            numeric.append(np.empty(0, bool))
        else:
            values = chunk.cast(pyarrow.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
            parts.append((np.where(np.isinf(values), np.nan, values), np.isinf(values)))
            numeric.append(np.ones(len(chunk), bool))
    texts = [n for n, chunk in enumerate(chunks) if pyarrow.types.is_large_string(chunk.type)]
    written = _Written(column, table)
    for n in texts:
        written.look(chunks[n])
    for n in texts:
        parts[n], numeric[n] = written.read(chunks[n])
    if not parts:
        return Times(np.empty(0), np.empty(0, bool), np.empty(0, bool), [])
    values = np.concatenate([value for value, _ in parts])
    unreadable = np.concatenate([odd for _, odd in parts])
    counted = np.concatenate(numeric)
    values, mixed = _counted(values, counted)
    if mixed:
        text = f"the column {column!r} of the input {table} has times in {mixed}: each was read by its size"
        said.append(warning("times_guessed", text))
    absurd = ((values < FIRST) | (values >= LAST)) & (~counted | (np.abs(values) >= EPOCH))
    values = np.where(absurd, np.nan, values)
    ahead = int((values > datetime.now(UTC).timestamp() + 86_400).sum())
    if ahead:
        text = f"{ahead:,} times of the column {column!r} of the input {table} lie in the future: they count as newest"
        said.append(warning("times_guessed", text))
    return Times(values, unreadable, absurd, [*written.warnings, *said])


def _typed(chunk: pyarrow.Array) -> pyarrow.Array:
    """A chunk of texts that are numbers alone, or ISO 8601 alone, as Arrow reads them; any other as it is."""
    if pyarrow.types.is_large_string(chunk.type):
        for kind in (pyarrow.float64(), pyarrow.timestamp("us"), pyarrow.timestamp("us", "UTC")):
            with contextlib.suppress(pyarrow.ArrowInvalid):
                return chunk.cast(kind)
    return chunk


def _counted(values: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, str]:
    """Numbers as seconds; and the units, where there are several. Small ones stay: they tell older from newer."""
    numbers = values[counted & np.isfinite(values)]
    if not len(numbers):
        return values, ""
    behind = _written_out(numbers) if len(numbers) == len(values[np.isfinite(values)]) else -1
    if behind >= 0:
        return _of_days(values, behind), ""
    size = np.abs(values)
    units, seconds = [], values.copy()
    rest = counted & np.isfinite(values)
    for least, parts in UNITS:
        of = rest & (size >= least)
        seconds[of] = values[of] / parts
        units += [{1e9: "ns", 1e6: "us", 1e3: "ms"}[parts]] if of.any() else []
        rest &= ~of
    units += ["s"] if (rest & (size >= EPOCH)).any() else []
    return seconds, " and ".join(units) if len(units) > 1 else ""


def _written_out(numbers: np.ndarray) -> int:
    """The power of ten of what stands behind the day, where all numbers are as 20240131, or with hours and minutes, or
    with seconds too, behind it; -1 where they are not."""
    for behind in (0, 4, 6):
        whole = np.floor(numbers / 10**behind)
        months, days, clock = whole // 100 % 100, whole % 100, np.floor(numbers) % 10**behind // 10 ** (behind - 2)
        right = (whole >= 19000101) & (whole < 22000101) & (months >= 1) & (months <= 12) & (days >= 1) & (days <= 31)
        if (right & (numbers == np.floor(numbers)) & ((clock < 24) | (behind == 0))).all():
            return behind
    return -1


def _of_days(values: np.ndarray, behind: int) -> np.ndarray:
    """A day past its month's end, which nobody wrote on purpose, is a day of the next."""
    known = np.isfinite(values)
    number = np.where(known, values, 19700101 * 10.0**behind).astype(np.int64)
    day, clock = number // 10**behind, number % 10**behind * 10 ** (6 - behind)
    months = (day // 10_000 - 1970) * 12 + day // 100 % 100 - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]") + (day % 100 - 1)
    seconds = clock // 10_000 * 3600 + clock // 100 % 100 * 60 + clock % 100
    return np.where(known, days.astype("datetime64[s]").astype(np.int64) + seconds, np.nan)


class _Written:
    """Texts of one column: looked at first, all of them, then read."""

    def __init__(self, column: str, table: str) -> None:
        self._column, self._table = column, table
        self._seen: dict[str, float | None] = {}
        self._open: dict[str, re.Match[str]] = {}
        self._forms, self._misses = [*WRITTEN], 0
        self._settled: bool | None = None
        self.warnings: list[dict[str, str]] = []

    def look(self, chunk: pyarrow.Array) -> None:
        numbers = compute.match_substring_regex(chunk, NUMBER)
        for text in compute.unique(chunk.filter(compute.invert(numbers))).drop_null().to_pylist():
            if text not in self._seen and text not in self._open:
                self._look(text)

    def _look(self, text: str) -> None:
        bare = text.strip()
        if bare.lower() in MISSING:
            self._seen[text] = np.nan
            return
        try:
            self._seen[text] = _seconds(datetime.fromisoformat(bare))
            return
        except ValueError:
            pass
        numeric = NUMERIC.fullmatch(bare)
        if numeric:
            self._open[text] = numeric
        else:
            self._seen[text] = self._in_words(bare)

    def _in_words(self, text: str) -> float | None:
        """By one of the forms WRITTEN, the last that fitted first; not tried for ever where none ever fits."""
        for form in self._forms if self._misses < MISSES_MAX else ():
            try:
                found = _seconds(datetime.strptime(text, form))
            except ValueError:
                continue
            self._forms.remove(form)
            self._forms.insert(0, form)
            return found
        self._misses += 1
        return None

    def read(self, chunk: pyarrow.Array) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """(seconds, unreadable), numeric."""
        if self._settled is None:
            self._settle()
        numbers = compute.match_substring_regex(chunk, NUMBER)
        if compute.all(numbers).as_py() in (True, None):
            trimmed = compute.utf8_ltrim(compute.utf8_trim_whitespace(chunk), "+")
            values = trimmed.cast(pyarrow.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
            return (values, np.zeros(len(chunk), bool)), np.ones(len(chunk), bool)
        encoded = chunk.dictionary_encode()
        texts = encoded.dictionary.to_pylist()
        counted = [text not in self._seen for text in texts]
        means = [float(text) if number else self._seen[text] for text, number in zip(texts, counted, strict=True)]
        table = np.array([*(np.nan if value is None else value for value in means), np.nan], float)
        odd = np.array([*(value is None for value in means), False], bool)
        places = encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
        return (table[places], odd[places]), np.array([*counted, False], bool)[places]

    def _settle(self) -> None:
        """Day and month, for all cells that have them as numbers."""
        one = sum(int(found["one"]) > 12 for found in self._open.values())
        two = sum(int(found["two"]) > 12 for found in self._open.values())
        dotted = any(found["mark"] == "." for found in self._open.values())
        day_first = one > two if one or two else dotted
        self._settled = day_first
        for text, found in self._open.items():
            self._seen[text] = _numeric(found, day_first)
        if self._open and (bool(one) == bool(two)):
            shown = next(iter(self._open))
            order = "day/month" if day_first else "month/day"
            why = "days past 12 stand in both places" if one else "no day is past 12"
            said = f"times such as {shown!r} of the column {self._column!r} of the input {self._table} were read as "
            said += f"{order}, which they do not show ({why}): write them as 2024-01-31"
            self.warnings.append(warning("times_guessed", said))


def _numeric(found: re.Match[str], day_first: bool) -> float | None:
    one, two, year = int(found["one"]), int(found["two"]), int(found["year"])
    if max(one, two) > 12:
        day_first = one > 12
    day, month = (one, two) if day_first else (two, one)
    if len(found["year"]) == 2:
        year += 2000 if year < 69 else 1900
    hour = int(found["hour"] or 0)
    if found["half"]:
        hour = hour % 12 + 12 * (found["half"][0] in "pP")
    try:
        return _seconds(datetime(year, month, day, hour, int(found["minute"] or 0), int(found["second"] or 0)))
    except ValueError:
        return None


def _seconds(moment: datetime | date) -> float:
    moment = moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day)
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except OverflowError:
        return LAST
