"""Counters of usage in Redis: the verb that moves them, and their reads. One part of `Ledger` (verbs.py).

It knows no row's meaning (tasks/usage.py) and nothing of the bucket.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tasks.ledger import keys
from tasks.ledger.client import Pipeline, Word
from tasks.ledger.connection import Connection
from tasks.ledger.faults import away

BEGINNING = "0-0"
"""The cursor before the first entry."""
CURSOR = re.compile(r"\d+-\d+", re.ASCII)
Month = tuple[str, str]
"""A tenant, and a month as YYYY-MM."""

Known = tuple[dict[str, str | None], int]
"""Fields of a month, None for those that it lacks, and the number of all that it has."""


@dataclass(frozen=True)
class Change:
    """A month's counters as they are to be. `goes_ms`: the time at which they go."""

    goes_ms: int
    fields: Mapping[str, str]


class Usage(Connection):
    """The verb of the keeper that counts, and reads."""

    def count_usage(self, start: str, upto: str, changes: Mapping[Month, Change]) -> bool:
        """Writes the counters that the ends behind the cursor `start` change, and moves it to `upto`; False where the
        cursor is another."""
        words: list[Word] = []
        for month, change in changes.items():
            words += [name_of(month), change.goes_ms, len(change.fields)]
            words += [word for field in change.fields.items() for word in field]
        return bool(self._run("count_usage", [keys.USAGE_COUNTED, keys.USAGE], [start, upto, *words], int))

    def usage_known(self, asked: Mapping[Month, Sequence[str]]) -> tuple[str, dict[Month, Known]]:
        """The cursor, and of each month the fields that are asked for, with the number of all that it has.

        They belong together only if `count_usage` then finds the cursor as it is told here.
        """
        with away(), self.redis.pipeline(transaction=False) as together:
            together.get(keys.USAGE_COUNTED)
            for month, names in asked.items():
                together.hlen(keys.usage(*month)).hmget(keys.usage(*month), names)
            start, *answers = together.execute()
        known = zip(asked.items(), answers[::2], answers[1::2], strict=True)
        return _cursor(start), {
            month: (dict(zip(names, kept, strict=True)), size) for (month, names), size, kept in known
        }

    def usage_counted(self) -> str:
        """The cursor: the stream id of the last journal entry whose end is counted."""
        with away():
            return _cursor(self.redis.get(keys.USAGE_COUNTED))

    def usage_months(self) -> list[Month]:
        """The months that have counters, of all tenants."""
        with away():
            return [month_of(name) for name in self.redis.hkeys(keys.USAGE)]

    def usage_fields(self, months: Iterable[Month]) -> list[dict[str, str]]:
        """All fields of each month."""
        with away(), self.redis.pipeline(transaction=False) as together:
            for month in months:
                _fields(together, month)
            return together.execute()


def _cursor(kept: str | None) -> str:
    """The cursor; the beginning where there is none that can be read, as the script takes it."""
    return kept if kept and CURSOR.fullmatch(kept) else BEGINNING


def name_of(month: Month) -> str:
    """The month's name in the lists of months."""
    return ":".join(month)


def month_of(name: str) -> Month:
    tenant, _, month = name.rpartition(":")
    return tenant, month


def _fields(together: Pipeline, month: Month) -> None:
    together.hgetall(keys.usage(*month))
