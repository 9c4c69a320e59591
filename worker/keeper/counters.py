"""Adds ended jobs to the counters of one tenant's month, as fields of a hash: texts in, texts out.

It knows neither Redis nor the bucket.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tasks.usage import OTHER, VALUES_MAX, Amounts, End, Row

ROWS_MAX = 10_000
"""Fields of a month, above which a metadata value without a row of the day is counted as OTHER."""
Fields = dict[str, str]
"""Fields of a month: row -> counters, and metadata key -> JSON of the values that are counted by themselves."""


def touched(ends: Iterable[End], names: Sequence[str]) -> list[str]:
    """The fields that these ends may change."""
    found = dict.fromkeys(names)
    for end in ends:
        found[end.row.written()] = None
        for name in names:
            for value in (end.values[name], OTHER):
                found[_of(end.row, name, value).written()] = None
    return list(found)


def added(ends: Iterable[End], names: Sequence[str], known: Mapping[str, str | None], size: int) -> Fields:
    """The fields that the ends change, as they become. `known`: those of `touched`; `size`: fields of the month."""
    values = {name: _values(known.get(name)) for name in names}
    listed = {name: len(some) for name, some in values.items()}
    sums: dict[str, Amounts] = {}

    def sum_of(row: Row) -> Amounts:
        field = row.written()
        if field not in sums:
            sums[field] = _read(known.get(field))
        return sums[field]

    def place_of(row: Row, name: str, value: str | None) -> Row:
        """The row of a metadata value: its own, or that of OTHER."""
        if value is None or value == OTHER:
            return _of(row, name, value)
        own = _of(row, name, value)
        field = own.written()
        is_known = known.get(field) is not None or field in sums
        full = size + len(sums) >= ROWS_MAX and not is_known
        if full or value not in values[name] and len(values[name]) >= VALUES_MAX:
            return _of(row, name, OTHER)
        if value not in values[name]:
            values[name].append(value)
        return own

    for end in ends:
        sum_of(end.row).add(end.amounts)
        for name in names:
            sum_of(place_of(end.row, name, end.values[name])).add(end.amounts)
    fields = {field: amounts.written() for field, amounts in sums.items()}
    return fields | {name: json.dumps(some) for name, some in values.items() if len(some) > listed[name]}


def _of(row: Row, name: str, value: str | None) -> Row:
    return replace(row, name=name, value=value)


def _read(kept: str | None) -> Amounts:
    """The counters; from zero where they are damaged."""
    try:
        return Amounts.read(kept)
    except ValueError:
        return Amounts()


def _values(kept: str | None) -> list[str]:
    try:
        return list(map(str, json.loads(kept or "[]")))
    except (ValueError, TypeError):
        return []
