"""Runs schedules that are due; and what compaction and a restore do with their journal entries.

Two keepers may run the same schedule: its job has one id (tasks/service/schedules.py). It knows no cron expression.
"""

import time

from tasks.errors import NotReady, Overloaded, StorageUnavailable
from tasks.ledger import Ledger, Record, keys
from tasks.ledger.schedules import Scheduled
from tasks.service.jobs import Jobs
from tasks.service.schedules import Schedules
from worker.keeper.entries import number
from worker.keeper.retention import tenant_and_id
from worker.keeper.skipped import Skipped

DELETED_KEPT_MS = 7 * 24 * 3600 * 1000
"""Time for which the entry of a deleted schedule is kept: by then each segment has been compacted since."""


class Runs:
    """The runs of one keeper. Errors: NotReady, also where the bucket is away; RedisError."""

    def __init__(self, jobs: Jobs) -> None:
        self._schedules, self._redis = Schedules(jobs), jobs.ledger.redis

    def round(self, skipped: Skipped) -> None:
        """Run what is due, the longest due first."""
        skipped.handle_due(self._redis, keys.SCHEDULES, self._run)

    def _run(self, member: str) -> None:
        tenant, schedule_id = tenant_and_id(member)
        known = self._schedules.ledger.schedule(tenant, schedule_id)
        if known is None or known.next_ms is None:
            self._redis.zrem(keys.SCHEDULES, member)
            return
        try:
            self._schedules.run(tenant, schedule_id)
        except Overloaded:
            pass  # it stays due
        except StorageUnavailable as error:  # Skipped would put it off by a minute, and it would count as missed
            raise NotReady(error.detail) from error


def needed(entries: list[Record], ledger: Ledger) -> list[Record]:
    """The entries of schedules among these that a restore needs: of each that lives its last, and its deletion for
    DELETED_KEPT_MS. Errors: NotReady."""
    last = list({(entry["tenant"], entry["id"]): entry for entry in entries if entry["type"] == "schedule"}.values())
    kept_ms = time.time() * 1000 - DELETED_KEPT_MS
    changes = ledger.snapshot(
        lambda together: [together.hget(keys.schedule(entry["tenant"], entry["id"]), "change") for entry in last]
    )
    return [
        entry
        for entry, change in zip(last, changes, strict=True)
        if entry["change"] == change or not entry["content"] and number(entry["sid"])[0] > kept_ms
    ]


def put_back(ledger: Ledger, entry: Record, token: str) -> None:
    """Write a schedule again as the entry has it. Errors: ValueError where it cannot be read."""
    next_ms = int(float(entry["next_ms"])) if entry["next_ms"] else None
    created_ms = int(float(entry["created_ms"]))
    content = entry["content"]
    ledger.put_schedule(
        Scheduled(entry["id"], entry["tenant"], entry["change"], content, created_ms, next_ms), restoring=token
    )
