"""Estimates for jobs and batches: finds what stands before a job, and asks tasks/eta.py with the slots of its pool.

A queued job costs one trip, with a ZCOUNT for each line of its workers (LINES_ASKED at most), beside what its pool
costs all who ask (pool_slots.py). It estimates jobs that are read one by one, not those of lists.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence

from tasks.batch import counts_of
from tasks.durations import plain
from tasks.eta import Eta, Slot, latest, until_end, until_start
from tasks.ids import member_id
from tasks.job import Job, Status
from tasks.ledger import Ledger, Record, keys
from tasks.ledger.bulk import MADE
from tasks.ledger.client import Pipeline
from tasks.ledger.pauses import holds
from tasks.reduced import view
from tasks.service.pool_slots import UNREADABLE, Pool, PoolSlots, slot_of

log = logging.getLogger(__name__)
LINES_ASKED = 100
"""Lines in which jobs before a job are counted, at most."""
LAST_LINES = 25
"""Lines of a batch by whose jobs its end is estimated: the last ones."""


class Etas:
    """Estimates of a ledger's jobs. Errors of every method: NotReady."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._pools = ledger, PoolSlots(ledger)

    def view(self, record: Record, waits_for_more: bool = False) -> Job:
        """The job with its estimate; none where it waits for more than a slot. Errors: those of `reduced.view`."""
        position = self._ledger.position(record)
        job = view(record, position)
        if waits_for_more or job.done:
            return job
        return job.model_copy(update={"eta_s": self.of_job(record, position)})

    def of_job(self, record: Record, position: int | None) -> Eta | None:
        """Until the start of a job that stands in its line at `position`, or until the end of a running one."""
        try:
            if record.get("status") == Status.RUNNING:
                return self._until_end(record)
            return None if position is None else self._until_start(record)
        except UNREADABLE as error:
            log.debug("a job is shown without an estimate: %s: %s", type(error).__name__, error)
            return None

    def of_batch(self, batch: Record) -> Eta | None:
        """Until the end of a sealed batch's last job, by the jobs of its last lines. None where one of these waits for
        something else than its turn, or all have ended."""
        counts = counts_of(batch)
        if "sealed_ms" not in batch or counts.scheduled or not counts.queued + counts.running:
            return None
        marks = self._ledger.lines_of(batch["tenant"], batch["id"])
        last = [line for line in range(len(marks) - 1, 0, -1) if marks[line] == MADE][:LAST_LINES]
        records = self._ledger.records([member_id(batch["id"], line) for line in last])
        living = [record for record in records if record.get("status") in (Status.QUEUED, Status.RUNNING)]
        if any(self._ledger.why_they_wait(living)) or any("retry_ms" in record for record in living):
            return None
        try:
            return self._until_all_end(living)
        except UNREADABLE as error:
            log.debug("a batch is shown without an estimate: %s: %s", type(error).__name__, error)
            return None

    def _until_all_end(self, members: Sequence[Record]) -> Eta | None:
        """The last member that waits in a line stands for all of them."""
        waiting: dict[str, Record] = {}
        for record in members:
            if record["status"] == Status.QUEUED:
                other = waiting.setdefault(record["line"], record)
                waiting[record["line"]] = max(record, other, key=_score)
        ends = [self._until_end(record) for record in members if record["status"] == Status.RUNNING]
        ends += [self._until_start(record, own=plain(line)) for line, record in waiting.items()]
        return None if None in ends else latest([eta for eta in ends if eta])

    def _until_end(self, record: Record) -> Eta | None:
        pool = self._pool(record)
        process = record.get("slot", "").rpartition(":")[0]
        return until_end(slot_of(record, process, pool.measured, pool.clock_ms), pool.measured)

    def _until_start(self, record: Record, own: str = "") -> Eta | None:
        """With `own`, its line, until its end."""
        pool, line = self._pool(record), record["line"]
        serving = [server for server in pool.servers if line in server.lines]
        slots = [
            Slot(slot.process, slot.line, slot.for_s + pool.age_s, slot.loading) if slot.line else slot
            for server in serving
            for slot in server.slots
        ]
        if not slots:
            return None
        return until_start(self._before(pool, line, _score(record)), slots, pool.measured, own)

    def _before(self, pool: Pool, line: str, score: float) -> dict[str, float]:
        """Jobs before this score, by line; of another line that other workers serve too, the share of these slots."""
        all_slots: defaultdict[str, int] = defaultdict(int)
        ours: defaultdict[str, int] = defaultdict(int)
        for server in pool.servers:
            for served in server.lines:
                all_slots[served] += len(server.slots)
                ours[served] += len(server.slots) if line in server.lines else 0
        lines = sorted((served for served in ours if ours[served]), key=lambda served: (served != line, served))
        lines = lines[:LINES_ASKED]

        def count(asking: Pipeline) -> None:
            asking.hkeys(keys.PAUSES)
            for one in lines:
                asking.zcount(keys.line(one), "-inf", f"({score!r}")

        pauses, *counts = self._pools.ask(count)
        before: defaultdict[str, float] = defaultdict(float)
        for one, jobs in zip(lines, counts, strict=True):
            if jobs and not holds(one, pauses or ()):
                before[plain(one)] += jobs * ours[one] / all_slots[one]
        return before

    def _pool(self, record: Record) -> Pool:
        return self._pools.of(record["line"].partition(".")[0])


def _score(record: Record) -> float:
    """The job's place in its line, as enter_line (_common.lua) writes it."""
    return float(record["tag"]) - 10 * float(record["priority"])
