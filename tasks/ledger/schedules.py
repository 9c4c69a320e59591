"""The verb of schedules, and their reads. One part of `Ledger` (verbs.py).

A schedule's content is a text here; tasks/schedule.py knows what is in it.
"""

from dataclasses import dataclass

from tasks import errors
from tasks.ledger import keys
from tasks.ledger.callers import Callers
from tasks.ledger.faults import away

SCHEDULES_MAX = 100
"""Schedules that a tenant may have."""


@dataclass(frozen=True)
class Scheduled:
    """A schedule as Redis has it. `change`: id of its last change. `next_ms`: None where no run is to come."""

    id: str
    tenant: str
    change: str
    content: str
    created_ms: int
    next_ms: int | None = None


class Schedules(Callers):
    """Verbs that the API and the keeper call for a schedule."""

    def put_schedule(self, new: Scheduled, base: str = "", restoring: str = "") -> bool:
        """Writes a schedule; one without content is deleted. False where another change came between.

        `new.change` is the id of this change: asked again with it, nothing more happens. `base`: the change on which it
        builds, '' for a new schedule. `restoring`: the token of a keeper that restores. Errors: SchedulesTooMany,
        Overloaded.
        """
        match self._run(
            "put_schedule",
            [keys.schedule(new.tenant, new.id), keys.tenant_schedules(new.tenant), keys.SCHEDULES],
            [
                new.id,
                new.tenant,
                new.change,
                base,
                new.content,
                new.created_ms,
                "" if new.next_ms is None else new.next_ms,
                SCHEDULES_MAX,
                restoring,
            ],
            list,
        ):
            case [1]:
                return True
            case [2]:
                return False
            case [3, count]:
                raise errors.SchedulesTooMany(count, SCHEDULES_MAX)
            case refused:
                raise self._refusal(refused)

    def schedule(self, tenant: str, schedule_id: str) -> Scheduled | None:
        """The schedule as it is; None where the tenant has none of that id. Errors: NotReady."""
        found = self._read(tenant, [schedule_id])
        return found[0] if found else None

    def schedules(self, tenant: str) -> list[Scheduled]:
        """The tenant's schedules, the newest first. Errors: NotReady."""
        with away():
            ids = self.redis.zrange(keys.tenant_schedules(tenant), 0, -1)
        return self._read(tenant, ids[::-1])

    def _read(self, tenant: str, ids: list[str]) -> list[Scheduled]:
        with away(), self.redis.pipeline(transaction=False) as together:
            for schedule_id in ids:
                together.hmget(keys.schedule(tenant, schedule_id), "change", "content", "next_ms")
                together.zscore(keys.tenant_schedules(tenant), schedule_id)
            answers = together.execute()
        found = []
        for schedule_id, fields, created in zip(ids, answers[::2], answers[1::2], strict=True):
            change, content, next_ms = fields
            if content:
                due = int(next_ms) if next_ms else None
                found.append(Scheduled(schedule_id, tenant, change, content, int(created or 0), due))
        return found
