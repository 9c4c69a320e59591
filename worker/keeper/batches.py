"""Looks after batches: cancels those never sealed, finishes cancels and erasures, deletes those past their retention.

What a caller's process began and did not finish is done here. It knows Redis alone; a batch's jobs have their own
retention.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from tasks.batch import counts_of, ends_of
from tasks.bucket.storage import Storage
from tasks.ids import member_id, now_ms
from tasks.job import Status
from tasks.ledger import Ledger, Record, keys
from tasks.ledger.bulk import MADE, NOT_MADE, RECEIVED_WITHIN_S, REFUSED
from tasks.service.archive import Archive
from tasks.service.members import Members
from worker.keeper.retention import tenant_and_id
from worker.keeper.skipped import Skipped

LOOK_S = 30
"""Seconds until a batch is looked at again whose jobs have not all ended, or whose webhook is not told."""
LOOK_WITH_WEBHOOK_S = 2
"""The same of a batch with a webhook whose jobs have not all ended: its receiver waits for the end."""
LINES_A_READ = 500


class Batches:
    """The batches of one keeper's Redis. Two keepers may do the same. Errors: NotReady, RedisError."""

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self.ledger, self.redis = ledger, ledger.redis
        self._archive = Archive(ledger, storage)

    def look(self, skipped: Skipped) -> None:
        """Do what each due batch needs."""
        skipped.handle_due(self.redis, keys.BATCHES, self._look)

    def _look(self, member: str) -> None:
        tenant, batch_id = tenant_and_id(member)
        batch = self.ledger.batch(tenant, batch_id)
        if batch is None:
            self.redis.zrem(keys.BATCHES, member)
            return
        again_ms = self._handle(batch)
        if again_ms is not None:
            self.redis.zadd(keys.BATCHES, {member: again_ms}, xx=True)

    def _handle(self, batch: Record) -> float | None:
        """The ms at which the batch is looked at again; None where it has gone."""
        now, members = now_ms(), Members(self.ledger, self._archive, batch)
        if "erased_ms" in batch:  # its caller has owed its webhook
            members.erase()
            return now + LOOK_S * 1000  # while it has jobs that are sources of others
        if "sealed_ms" not in batch:
            if now < (over := float(batch["created_ms"]) + RECEIVED_WITHIN_S * 1000):
                return over
            self._give_up(batch)
            return now + LOOK_S * 1000
        if counts_of(batch).living:
            if "canceled_ms" in batch and members.are_waiting():
                members.cancel()
            return now + 1000 * (LOOK_WITH_WEBHOOK_S if "webhook" in batch else LOOK_S)
        is_told, (_, over) = self._is_told(batch), ends_of(batch)
        if now < over:
            return over if is_told else min(over, now + LOOK_S * 1000)
        self.ledger.remove_batch(batch["tenant"], batch["id"])
        return None

    def _is_told(self, batch: Record) -> bool:
        """True where a batch that is done owes no webhook. It owes one where that has not been done, and notes that it
        is told, which a restore must know."""
        if "webhook" not in batch or "told_ms" in batch:
            return True
        tenant, batch_id = batch["tenant"], batch["id"]
        self.ledger.owe_batch(batch, ends_of(batch)[1])
        if self.ledger.owed_state("webhook", tenant, batch_id).get("status") == "pending":
            return False
        self.ledger.note_batch(tenant, batch_id, "told")
        return True

    def _give_up(self, batch: Record) -> None:
        """Cancel a batch whose caller never came back."""
        tenant, batch_id = batch["tenant"], batch["id"]
        self.ledger.note_batch(tenant, batch_id, "canceled")
        Members(self.ledger, self._archive, batch).cancel()
        recount(self.ledger, batch, {}, self.ledger.write)
        self.ledger.note_batch(tenant, batch_id, "sealed", self.ledger.settings.retention_s)


def recount(
    ledger: Ledger, batch: Record, ended: Mapping[int, str], write: Callable[..., object], counts: bool = False
) -> None:
    """Mark the lines that made jobs, by the jobs' records and by `ended`, the final statuses of jobs by their lines.

    With `counts` it also sets the batch's counts, which no script may change meanwhile. A line whose job was erased
    keeps its mark.
    """
    tenant, batch_id, last = batch["tenant"], batch["id"], int(batch["last"])
    known, marks = ledger.lines_of(tenant, batch_id), [NOT_MADE]
    found: Counter[str] = Counter()
    for first in range(1, last + 1, LINES_A_READ):
        lines = range(first, min(first + LINES_A_READ, last + 1))
        for line, status in zip(lines, ledger.statuses([member_id(batch_id, line) for line in lines]), strict=True):
            status = status or ended.get(line)
            marks.append(MADE if status else _kept(known[line : line + 1]))
            found[status or ""] += 1
    commands: list[Sequence[str | int]] = [("SET", keys.batch_lines(tenant, batch_id), "".join(marks))]
    if counts:
        commands.append(
            ("HSET", keys.batch(tenant, batch_id), *(word for one in Status for word in (one.value, found[one.value])))
        )
    write(*commands)


def _kept(mark: str) -> str:
    return mark if mark in (MADE, REFUSED) else NOT_MADE
