"""Reads, cancels and erases the jobs of a batch, in bounded steps. Each may be done again from the start.

Callers and the keeper call it: what a caller's process did not finish, the keeper does. It knows no line's request.
"""

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tasks.batch import counts_of
from tasks.bucket.layout import job_prefix
from tasks.errors import BacklotError, NotReady
from tasks.ids import member_id, now_ms
from tasks.job import Job
from tasks.ledger import Ledger, Record, keys
from tasks.ledger.bulk import ENDS_A_TRIP, MADE, REFUSED
from tasks.reduced import to_forget, view
from tasks.service.archive import Archive
from tasks.service.lines import Failed, Made

JOBS_A_PAGE = 100
"""Jobs of a batch that are read at once."""
READERS = 16
"""Objects of the bucket that are read at once, for jobs that Redis has shrunk or forgotten."""
NOT_KEPT = {
    "code": "refused",
    "detail": "the line was refused; of very many refusals the last are not kept",
    "retryable": False,
}


@dataclass(frozen=True)
class Result:
    """A line: its job as it is now, or the error for which it has none."""

    line: int
    job: Job | None
    error: dict[str, Any] | None = None


class Members:
    """The jobs of one batch. Errors of everything: NotReady."""

    def __init__(self, ledger: Ledger, archive: Archive, batch: Record) -> None:
        self.ledger, self.archive = ledger, archive
        self.tenant, self.batch_id, self.batch = batch["tenant"], batch["id"], batch

    def cancel(self, for_s: float = math.inf) -> None:
        """Cancels each job that has not ended, for `for_s` seconds; the keeper does the rest."""
        until = time.monotonic() + for_s
        for some in self._pages(ENDS_A_TRIP):
            self.ledger.cancel_many(self.tenant, some)
            if time.monotonic() > until:
                return

    def are_waiting(self) -> bool:
        """True where a job has not started, and so can be canceled at once."""
        counts = counts_of(self.batch)
        return counts.scheduled + counts.queued > 0

    def erase(self, for_s: float = math.inf) -> None:
        """Erases each job, then the batch, for `for_s` seconds; the keeper does the rest, later also of the jobs that
        are sources of others that have not ended."""
        needed, until = 0, time.monotonic() + for_s
        for some in self._pages(ENDS_A_TRIP):
            if time.monotonic() > until:
                return
            records = dict(zip(some, self.ledger.records(some), strict=True))
            needed += self.ledger.forget_many(
                [to_forget(record, job_id) for job_id, record in records.items() if record]
            )
            gone = [job_id for job_id, record in records.items() if not record]
            if gone:  # what the bucket alone knows
                self.ledger.write(*(("ZADD", keys.TRASH, now_ms(), job_prefix(self.tenant, one)) for one in gone))
                self.ledger.write(
                    *(
                        ("XADD", keys.JOURNAL, "*", "type", "forgotten", "id", one, "tenant", self.tenant)
                        for one in gone
                    )
                )
        if not needed:
            self.ledger.remove_batch(self.tenant, self.batch_id)

    def results(self, after: int = 0) -> Iterator[list[Result]]:
        """The lines behind the line `after`, in their order, a page at a time."""
        marks = self.ledger.lines_of(self.tenant, self.batch_id)
        refusals = self.ledger.refusals(self.tenant, self.batch_id) if REFUSED in marks else {}
        lines = [line for line in range(after + 1, len(marks)) if marks[line] in (MADE, REFUSED)]
        for first in range(0, len(lines), JOBS_A_PAGE):
            some = lines[first : first + JOBS_A_PAGE]
            found = self._results([line for line in some if marks[line] == MADE])
            yield [found.get(line) or Result(line, None, refusals.get(line, NOT_KEPT)) for line in some]

    def outcomes(self) -> Iterator[list[Made | Failed]]:
        """The outcome of each line's submit, with the status of its job now, a page at a time."""
        for page in self.results():
            yield [_outcome(one) for one in page]

    def _results(self, lines: list[int]) -> dict[int, Result]:
        records = dict(zip(lines, self.ledger.records([self._id(line) for line in lines]), strict=True))
        found = {line: _shown(line, record) for line, record in records.items() if record and "shrunk" not in record}
        if kept := [line for line in lines if line not in found]:
            with ThreadPoolExecutor(READERS, "results") as pool:
                found |= zip(kept, pool.map(self._archived, kept), strict=True)
        return found

    def _archived(self, line: int) -> Result:
        """The result of a job that Redis has shrunk or forgotten."""
        try:
            return Result(line, self.archive.get(self.tenant, self._id(line)))
        except NotReady:
            raise
        except BacklotError as error:
            return Result(line, None, error.as_dict())

    def _pages(self, most: int) -> Iterator[list[str]]:
        """The ids of the jobs, so many at a time."""
        if "sealed_ms" in self.batch:
            marks = self.ledger.lines_of(self.tenant, self.batch_id)
            ids = [self._id(line) for line, mark in enumerate(marks) if mark == MADE]
        else:  # the last lines may not be noted
            ids = [self._id(line) for line in range(1, int(self.batch["last"]) + 1)]
        for first in range(0, len(ids), most):
            yield ids[first : first + most]

    def _id(self, line: int) -> str:
        return member_id(self.batch_id, line)


def _shown(line: int, record: Record) -> Result:
    try:
        return Result(line, view(record))
    except (ValueError, KeyError):
        return Result(line, None, {"code": "internal", "detail": "the job cannot be shown", "retryable": False})


def _outcome(one: Result) -> Made | Failed:
    return Made(one.line, one.job.id, one.job.status) if one.job else Failed(one.line, one.error or NOT_KEPT)
