"""Pages of an index of jobs, newest first. A page looks at a bounded number of jobs, whatever is asked.

Status, kind and model are judged inside Redis (look.lua), LOOKED_A_PAGE jobs a page; metadata and error codes by the
records, RECORDS_A_PAGE a page. It knows no tenant and no scope: the caller names the index.
"""

import base64
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.ids import JOB_ID
from tasks.ledger import Ledger, Record, keys
from tasks.ledger.faults import away, readable
from tasks.reduced import left_out

LOOKED_A_PAGE = 2000
"""Jobs that one page looks at, at most."""
LOOKS_A_CALL = 250
"""Jobs that Redis looks at in one call: about a ms."""
PAUSE_S = 0.004
"""Pause between two such calls, so that one API process takes a fifth of Redis at most, whoever lists."""
RECORDS_A_PAGE = 500
"""Records that one page reads at most."""
RECORDS_A_READ = 100
AMONG_MAX = 1000
"""Jobs of a set at most, where it is looked through in place of the index."""
MS = re.compile(r"[0-9]{1,15}")
_looking = threading.Lock()
"""Held by the one page of this process that looks on and on."""


@dataclass(frozen=True)
class Cursor:
    """The last job that a page looked at: its score in the index, in ms, and its id."""

    at_ms: float
    job_id: str

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """Errors: ValueError."""
        created, _, job_id = base64.urlsafe_b64decode(text.encode()).decode().partition(" ")
        if not JOB_ID.fullmatch(job_id) or not MS.fullmatch(created):
            raise ValueError("names no job")
        return cls(int(created), job_id)

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{self.at_ms:.0f} {self.job_id}".encode()).decode()


@dataclass(frozen=True)
class Wanted:
    """A filter: jobs that match every field that is given.

    `since_ms` and `before_ms` bound the score: the first is included, the second is not. `metadata`: values by key; one
    that is no string is compared as JSON. `among`: the key of a set that has every job of the status.
    """

    status: str | None = None
    kind: str | None = None
    model: str | None = None
    error_code: str | None = None
    batch: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    since_ms: float | None = None
    before_ms: float | None = None
    among: str | None = None

    @property
    def of_records(self) -> bool:
        """True where a job must be read to be judged."""
        return bool(self.metadata or self.error_code or self.batch)

    @property
    def of_time(self) -> bool:
        """True where the index alone tells which jobs match."""
        return not (self.status or self.kind or self.model or self.of_records)


@dataclass(frozen=True)
class Count:
    """Jobs that match. `exact` False: only so many of the newest were looked at as a page looks at."""

    jobs: int
    exact: bool


@dataclass(frozen=True)
class Seen:
    """Jobs that may match, the last one that was looked at, and whether more may follow."""

    some: list[Cursor]
    last: Cursor | None
    more: bool


def page(
    ledger: Ledger, index: str, after: Cursor | None, limit: int, wanted: Wanted
) -> tuple[list[Record], Cursor | None]:
    """Up to `limit` records that match, and the next page's cursor.

    A record that cannot be read is in no page. The cursor is None at the end of the index. Errors: NotReady.
    """
    found: list[Record] = []
    read = 0
    for seen in _seen(ledger, index, after, RECORDS_A_READ if wanted.of_records else limit, wanted):
        for cursor, record in _records(ledger, seen.some):
            if record and _is_readable(cursor.job_id, record) and _fits(record, wanted):
                found.append(record)
            if len(found) == limit:
                return found, cursor
        after, read = seen.last or after, read + len(seen.some)
        if not seen.more:
            return found, None
        if read >= RECORDS_A_PAGE:
            break
    return found, after


def counted(ledger: Ledger, index: str, wanted: Wanted) -> Count:
    """The number of jobs that match, as far as a page looks. Errors: NotReady."""
    if wanted.of_time:
        with away():
            return Count(ledger.redis.zcount(index, _bound(wanted.since_ms, "-inf"), _below(wanted)), True)
    if wanted.of_records or wanted.among:
        found, following = page(ledger, index, None, RECORDS_A_PAGE, wanted)
        return Count(len(found), following is None)
    jobs, more = 0, False
    for seen in _seen(ledger, index, None, LOOKS_A_CALL, wanted):
        jobs, more = jobs + len(seen.some), seen.more
    return Count(jobs, not more)


def _seen(ledger: Ledger, index: str, after: Cursor | None, most: int, wanted: Wanted) -> Iterator[Seen]:
    """Looks, `most` jobs found at a time, until the index ends or LOOKED_A_PAGE were looked at."""
    members = _among(ledger, index, after, wanted)
    if members is not None:
        for start in range(0, max(1, len(members)), most):
            some = members[start : start + most]
            yield Seen(some, some[-1] if some else None, start + most < len(members))
        return
    looked, more = 0, True
    while more and looked < LOOKED_A_PAGE:
        if looked:
            with _looking:
                time.sleep(PAUSE_S)
                more, more_looked, last, some = _look(ledger, index, after, most, wanted)
        else:
            more, more_looked, last, some = _look(ledger, index, after, most, wanted)
        looked, after = looked + more_looked, last or after
        yield Seen(some, last, more)


def _look(
    ledger: Ledger, index: str, after: Cursor | None, most: int, wanted: Wanted
) -> tuple[bool, int, Cursor | None, list[Cursor]]:
    if after and (wanted.before_ms is None or after.at_ms < wanted.before_ms):
        newest, below = f"{after.at_ms:.0f}", after.job_id
    else:
        newest, below = _below(wanted), ""
    judged = (wanted.status or "", wanted.kind or "", wanted.model or "")
    more, looked, *rows = ledger.look(index, newest, below, _bound(wanted.since_ms, "-inf"), judged, LOOKS_A_CALL, most)
    cursors = [Cursor(float(ms), job_id) for ms, job_id in zip(rows[::2], rows[1::2], strict=True) if job_id]
    return bool(more), looked, cursors[0] if cursors else None, cursors[1:]


def _bound(ms: float | None, otherwise: str) -> str:
    return otherwise if ms is None else f"{ms:.0f}"


def _below(wanted: Wanted) -> str:
    return "+inf" if wanted.before_ms is None else f"({wanted.before_ms:.0f}"


def _among(ledger: Ledger, index: str, after: Cursor | None, wanted: Wanted) -> list[Cursor] | None:
    """The jobs of the set in the index's order, behind the cursor; None where there is none, or too many."""
    if wanted.among is None:
        return None
    with away():
        if ledger.redis.scard(wanted.among) > AMONG_MAX:
            return None
        ids = list(ledger.redis.smembers(wanted.among))
        with ledger.redis.pipeline(transaction=False) as asking:
            for job_id in ids:
                asking.zscore(index, job_id)
            scores = asking.execute()
    known = [(score, job_id) for score, job_id in zip(scores, ids, strict=True) if score is not None]
    return [
        Cursor(score, job_id)
        for score, job_id in sorted(known, reverse=True)
        if (after is None or (score, job_id) < (after.at_ms, after.job_id))
        and (wanted.since_ms is None or score >= wanted.since_ms)
        and (wanted.before_ms is None or score < wanted.before_ms)
    ]


def _records(ledger: Ledger, cursors: Sequence[Cursor]) -> list[tuple[Cursor, Record]]:
    """Each job's record; {} for one that was just erased or cannot be read."""
    with away(), ledger.redis.pipeline(transaction=False) as pipeline:
        for cursor in cursors:
            pipeline.hgetall(keys.job(cursor.job_id))
        records = readable(pipeline.execute(raise_on_error=False), "reading a record")
    return [(cursor, {} if record is None else record) for cursor, record in zip(cursors, records, strict=True)]


def _is_readable(job_id: str, record: Record) -> bool:
    """True where the record has an id and a status; reports one that has not to `left_out`."""
    try:
        if json.loads(record["fixed"])["id"] == job_id and record["status"]:
            return True
        raise ValueError("it is another job's")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        left_out.add(job_id, error)
        return False


def _fits(record: Record, wanted: Wanted) -> bool:
    if wanted.status and record["status"] != wanted.status:
        return False
    if wanted.batch and record.get("batch") != wanted.batch:
        return False
    if wanted.error_code and _error_code(record) != wanted.error_code:
        return False
    fixed = json.loads(record["fixed"]) if wanted.kind or wanted.model or wanted.metadata else {}
    if wanted.kind and fixed.get("kind") != wanted.kind or wanted.model and fixed.get("model") != wanted.model:
        return False
    metadata = fixed.get("metadata") or {}
    return all(name in metadata and _is_told(metadata[name], told) for name, told in wanted.metadata.items())


def _is_told(value: object, told: str) -> bool:
    """True where the text in a query means the value."""
    if isinstance(value, str):
        return value == told
    try:
        return json.dumps(value, sort_keys=True) == json.dumps(json.loads(told), sort_keys=True)
    except (ValueError, RecursionError):
        return False


def _error_code(record: Record) -> str | None:
    try:
        code = json.loads(record.get("error") or "{}").get("code")
    except (ValueError, AttributeError):
        return None
    return code if isinstance(code, str) else None
