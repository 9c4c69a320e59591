"""Pages of an index of jobs, newest first. A page examines a bounded number of records, whatever is asked.

It knows no tenant and no scope: the caller names the index.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.errors import NotReady
from tasks.ids import JOB_ID
from tasks.ledger import Record, keys
from tasks.ledger.client import Client, Word
from tasks.ledger.faults import away, ours
from tasks.reduced import left_out

RECORDS_A_PAGE = 500
"""Records that one page examines at most."""
RECORDS_A_READ = 100
MS = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class Cursor:
    """The last job that a page examined: its score in the index, in ms, and its id."""

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


def page(
    client: Client, index: str, after: Cursor | None, limit: int, wanted: Mapping[str, str]
) -> tuple[list[Record], Cursor | None]:
    """Up to `limit` records that have all of `wanted` (status, kind, model, error_code), and the next page's cursor.

    A record that cannot be read is in no page. The cursor is None at the end of the index. Errors: NotReady.
    """
    found: list[Record] = []
    examined = 0
    while examined < RECORDS_A_PAGE:
        rows = _rows(client, index, after)
        for cursor, record in rows:
            after = cursor
            if record and _is_readable(cursor.job_id, record) and _fits(record, wanted):
                found.append(record)
            if len(found) == limit:
                return found, after
        examined += RECORDS_A_READ
        if len(rows) < RECORDS_A_READ:
            return found, None
    return found, after


def _rows(client: Client, index: str, after: Cursor | None) -> list[tuple[Cursor, Record]]:
    """The next RECORDS_A_READ jobs and their records; {} for one that was just erased or cannot be read.

    Redis orders jobs of one ms by id, here descending; `skip` passes those of the cursor's ms that were examined.
    """
    start: Word = "+inf"
    skip = 0
    with away():
        if after:
            start = after.at_ms
            skip = sum(job_id >= after.job_id for job_id in client.zrangebyscore(index, start, start))
        ids = client.zrevrangebyscore(index, start, "-inf", start=skip, num=RECORDS_A_READ, withscores=True)
        with client.pipeline(transaction=False) as pipeline:
            for job_id, _ in ids:
                pipeline.hgetall(keys.job(job_id))
            records = pipeline.execute(raise_on_error=False)
        for record in records:
            if isinstance(record, Exception) and isinstance(fault := ours(record, "reading a record"), NotReady):
                raise fault
    return [
        (Cursor(score, job_id), {} if isinstance(record, Exception) else record)
        for (job_id, score), record in zip(ids, records, strict=True)
    ]


def _is_readable(job_id: str, record: Record) -> bool:
    """True where the record has an id and a status; reports one that has not to `left_out`."""
    try:
        if json.loads(record["fixed"])["id"] == job_id and record["status"]:
            return True
        raise ValueError("it is another job's")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        left_out.add(job_id, error)
        return False


def _fits(record: Record, wanted: Mapping[str, str]) -> bool:
    if "status" in wanted and record["status"] != wanted["status"]:
        return False
    if "error_code" in wanted and _error_code(record) != wanted["error_code"]:
        return False
    fixed = json.loads(record["fixed"]) if "kind" in wanted or "model" in wanted else {}
    return all(fixed.get(name) == wanted[name] for name in ("kind", "model") if name in wanted)


def _error_code(record: Record) -> str | None:
    try:
        code = json.loads(record.get("error") or "{}").get("code")
    except (ValueError, AttributeError):
        return None
    return code if isinstance(code, str) else None
