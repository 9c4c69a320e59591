"""Counts the usage of ended jobs in Redis, copies the counters to the bucket, and puts them back in a restore.

    count     each `ended` entry of the journal, once: counters and cursor move in one script
    copy      each month that has changed, with the cursor up to which it is counted: usage/<tenant>/<month>.json
    restore   the copies, and the ends behind their cursors, which the segments and the stream still have

A segment is kept whole until its ends are in the copies (compact.py). Stream ids ascend as long as Redis' clock does
not step back from one server to the next. A job's amounts are those of tasks/usage.py.
"""

import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from redis.exceptions import LockError

from tasks.bucket.storage import Storage
from tasks.errors import NotFound
from tasks.ids import now_ms
from tasks.ledger import Ledger, Record, keys
from tasks.ledger.usage import BEGINNING, Change, Month, month_of, name_of
from tasks.usage import End, end_of, first_kept, kept_until_ms
from worker.keeper import counters, segments
from worker.keeper.entries import SID, Sid, number
from worker.keeper.replies import text_or
from worker.keeper.skipped import Skipped

log = logging.getLogger(__name__)
EVERY_S = 10
"""Seconds between two copies."""
LOCK_S = 60
"""Seconds until another keeper copies in place of one that died."""
FOLDER = "usage/"
"""Prefix of all copies."""
COPIED = FOLDER + "copied.json"
"""The stream id up to which all ends are in the copies."""
COPY = re.compile(r"usage/([a-z0-9-]{1,40})/(\d{4}-\d{2})\.json")
ALL = "all"
"""The field of keys.USAGE_COPIED for all months together."""
FIELDS_A_COMMAND = 200
ENTRIES_TOGETHER = 1000
"""Entries whose ends a restore adds at once."""
READ_ENTRIES = 100
AHEAD_MS = 86_400_000
"""Time ahead of this clock that a stream id may have."""
DAMAGE = (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)
"""Errors of an end, or of a copy, that cannot be read."""
Entry = tuple[str, Record]
Write = Callable[..., object]
"""`Ledger.write`, with the token of a restore."""


class Usage:
    """The counters of one keeper. Errors of everything: NotReady."""

    def __init__(self, ledger: Ledger, storage: Storage, skipped: Skipped) -> None:
        self.ledger, self.redis, self.storage, self.skipped = ledger, ledger.redis, storage, skipped
        self.names = ledger.settings.usage_metadata

    # -- counting

    def count(self, entries: Sequence[Entry]) -> None:
        """Count the ends among these entries of the stream that are not counted yet."""
        if not entries:
            return
        ends = self._ends((number(sid), entry) for sid, entry in entries)
        asked = {month: counters.touched(some, self.names) for month, some in _by_month(end for _, end in ends).items()}
        start, known = self.ledger.usage_known(asked)
        counted, last = number(start), entries[-1][0]
        if number(last) <= counted:
            return
        changes: dict[Month, Change] = {}
        for month, some in _by_month(end for sid, end in ends if sid > counted).items():
            changes[month] = Change(kept_until_ms(month[1]), counters.added(some, self.names, *known[month]))
        self.ledger.count_usage(start, last, changes)  # False: another keeper has counted them

    def _ends(self, entries: Iterable[tuple[Sid, Record]]) -> list[tuple[Sid, End]]:
        """The ends among the entries, where they can be read."""
        found: list[tuple[Sid, End]] = []
        for sid, entry in entries:
            if entry.get("type") != "ended":
                continue
            try:
                found.append((sid, end_of(entry, self.names)))
            except DAMAGE as error:
                self.skipped.add(f"the usage of {entry.get('id', sid)}", error)
        return found

    # -- copies

    def copy(self) -> None:
        """Copy each month that has changed to the bucket, and delete those that are no longer kept.

        Errors: StorageUnavailable.
        """
        lock = self.redis.lock(f"{keys.USAGE_COPIED}:lock", timeout=LOCK_S)
        if not lock.acquire(blocking=False):
            return
        try:
            self._copy()
        finally:
            with contextlib.suppress(LockError):
                lock.release()

    def _copy(self) -> None:
        counted, changed, copied = self.ledger.snapshot(
            lambda together: together.get(keys.USAGE_COUNTED).hgetall(keys.USAGE).hgetall(keys.USAGE_COPIED)
        )
        oldest = f"{first_kept(datetime.now(UTC).date()):%Y-%m}"
        for name, at in changed.items():
            if month_of(name)[1] < oldest:
                self.storage.delete(_key(month_of(name)))
                self.redis.hdel(keys.USAGE, name)
                self.redis.hdel(keys.USAGE_COPIED, name)
            elif copied.get(name) != at:
                self._copy_one(name)
        if counted and copied.get(ALL) != counted:
            self.storage.put_bytes(COPIED, json.dumps({"upto": counted}).encode(), "application/json")
            self.redis.hset(keys.USAGE_COPIED, ALL, counted)

    def _copy_one(self, name: str) -> None:
        month = month_of(name)
        counted, at, fields = self.ledger.snapshot(
            lambda together: together.get(keys.USAGE_COUNTED).hget(keys.USAGE, name).hgetall(keys.usage(*month))
        )
        if at:  # else its tenant was erased meanwhile
            copy = json.dumps({"upto": counted, "fields": fields}).encode()
            self.storage.put_bytes(_key(month), copy, "application/json")
            self.redis.hset(keys.USAGE_COPIED, name, at)

    # -- a restore

    def restore(self, has_lost: bool, write: Write) -> int:
        """Put back what this Redis has lost, before any job is put back. Returns the number of ends that were counted
        anew. `has_lost`: segments have entries that it never had.

        All is made anew from the copies and from the ends behind them, so it may be done again. Errors:
        StorageUnavailable.
        """
        copied, counted = self._read_copied(), number(self.ledger.usage_counted())
        if copied <= counted and not has_lost:
            return 0
        oldest = f"{first_kept(datetime.now(UTC).date()):%Y-%m}"
        months = {month: one for month, one in self._read_copies() if month[1] >= oldest}
        last, count, behind = copied, 0, self._behind(copied)
        while entries := list(islice(behind, ENTRIES_TOGETHER)):
            last, ends = entries[-1][0], self._ends(entries)
            self._add(months, ends, copied)
            count += len(ends)
        self._put_back(months, max(last, counted), write)
        return count

    def _add(self, months: "dict[Month, _Kept]", ends: Iterable[tuple[Sid, End]], copied: Sid) -> None:
        """Add the ends that the copies do not have. A month without a copy had none up to `copied`."""
        behind = [end for sid, end in ends if sid > max(copied, months.get(_month(end), _Kept()).upto)]
        for month, some in _by_month(behind).items():
            fields = months.setdefault(month, _Kept()).fields
            fields |= counters.added(some, self.names, fields, len(fields))

    def _put_back(self, months: "dict[Month, _Kept]", last: Sid, write: Write) -> None:
        cursor = f"{last[0]}-{last[1]}"
        old = [keys.usage(*month) for month in self.ledger.usage_months()]
        write(("DEL", keys.USAGE, keys.USAGE_COPIED, *old))
        for month, kept in months.items():
            name, fields = keys.usage(*month), list(kept.fields.items())
            write(("DEL", name), ("HSET", keys.USAGE, name_of(month), cursor))
            for first in range(0, len(fields), FIELDS_A_COMMAND):
                words = [word for pair in fields[first : first + FIELDS_A_COMMAND] for word in pair]
                write(("HSET", name, *words), ("PEXPIREAT", name, kept_until_ms(month[1])))
        write(("SET", keys.USAGE_COUNTED, cursor))

    def _behind(self, copied: Sid) -> Iterator[tuple[Sid, Record]]:
        """The entries behind the copies, once each, in order: of the segments, then of the stream."""
        last = copied
        for sid, entry in self._of_bucket(copied):
            if sid > last:
                last = sid
                yield sid, entry
        while entries := self.redis.xrange(keys.JOURNAL, min=f"({last[0]}-{last[1]}", count=READ_ENTRIES):
            for text, entry in entries:
                last = number(text)
                yield last, entry

    def _of_bucket(self, copied: Sid) -> Iterator[tuple[Sid, Record]]:
        ahead_ms = now_ms() + AHEAD_MS
        for name in segments.names(self.storage):
            if segments.span(name)[1] > copied:
                with contextlib.suppress(NotFound):  # another keeper found nothing in it that is needed
                    for entry in segments.read(self.storage, name):
                        sid = number(entry["sid"])
                        if sid[0] > ahead_ms:  # the cursor would pass by all that is still to come
                            self.skipped.add(entry["sid"], "is a stream id of a day that is still to come")
                        else:
                            yield sid, entry

    def _read_copied(self) -> Sid:
        try:
            return _sid(json.loads(self.storage.get_bytes(COPIED))["upto"])
        except NotFound:
            return 0, 0
        except DAMAGE as error:
            self.skipped.add(COPIED, error)
            return 0, 0

    def _read_copies(self) -> "Iterator[tuple[Month, _Kept]]":
        for seen in self.storage.list(FOLDER):
            if named := COPY.fullmatch(seen.key):
                try:
                    copy = json.loads(self.storage.get_bytes(seen.key))
                    fields = {str(name): str(value) for name, value in copy["fields"].items()}
                    yield (named[1], named[2]), _Kept(_sid(copy["upto"]), fields)
                except DAMAGE as error:
                    self.skipped.add(seen.key, error)


@dataclass
class _Kept:
    """A month's counters up to a stream id."""

    upto: Sid = (0, 0)
    fields: counters.Fields = field(default_factory=dict)


def forget(ledger: Ledger, tenant: str) -> int:
    """Remove the tenant's months from the lists of months. Returns their number."""
    names = [name_of(month) for month in ledger.usage_months() if month[0] == tenant]
    if names:
        ledger.redis.hdel(keys.USAGE, *names)
        ledger.redis.hdel(keys.USAGE_COPIED, *names)
    return len(names)


def folder_of(tenant: str) -> str:
    """The prefix of the tenant's copies."""
    return f"{FOLDER}{tenant}/"


def copied_upto(ledger: Ledger) -> Sid:
    """The stream id up to which all ends are in the bucket's copies, as Redis knows it."""
    return number(text_or(ledger.redis.hget(keys.USAGE_COPIED, ALL), BEGINNING))


def _key(month: Month) -> str:
    return f"{folder_of(month[0])}{month[1]}.json"


def _month(end: End) -> Month:
    return end.tenant, end.month


def _by_month(ends: Iterable[End]) -> dict[Month, list[End]]:
    months: dict[Month, list[End]] = {}
    for end in ends:
        months.setdefault(_month(end), []).append(end)
    return months


def _sid(text: str) -> Sid:
    """Errors: ValueError."""
    if not SID.fullmatch(text):
        raise ValueError("no stream id")
    return number(text)
