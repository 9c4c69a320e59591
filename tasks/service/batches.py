"""Gets, lists, cancels and erases a tenant's batches. submission.py makes them, members.py has their jobs."""

import re

from tasks.batch import counts_of, ends_of
from tasks.errors import Conflict, NotFound
from tasks.ledger import Record
from tasks.service.jobs import Jobs
from tasks.service.members import Members

CALLERS_S = 5
"""Seconds for which a caller's request cancels or erases jobs; the keeper, which begins at once, does the rest."""
BATCH_ID = re.compile(r"batch_[0-9a-z]{26}")


class Batches:
    """The operations of a tenant on its batches. Errors of every method: NotFound, also for another tenant's batch;
    NotReady."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs, self.ledger = jobs, jobs.ledger

    def get(self, tenant: str, batch_id: str) -> Record:
        """The batch as it is."""
        found = self.ledger.batch(tenant, batch_id) if BATCH_ID.fullmatch(batch_id) else None
        if found is None and BATCH_ID.fullmatch(batch_id):
            self.ledger.ready()  # a Redis that has lost its memory knows no batch
            found = self.ledger.batch(tenant, batch_id)
        if found is None or "erased_ms" in found:
            raise NotFound(f"there is no batch {batch_id[:64]}")
        return self.ledger.with_owed([found])[0]

    def members(self, tenant: str, batch_id: str) -> Members:
        """The jobs of the batch."""
        return Members(self.ledger, self.jobs.archive, self.get(tenant, batch_id))

    def page(self, tenant: str, limit: int, cursor: str | None) -> tuple[list[Record], str | None]:
        """Up to `limit` batches, newest first, and the cursor of the next page. Errors: ValueError for a cursor that is
        none, or whose batch was erased."""
        self.ledger.ready()
        found, following = self.ledger.batches(tenant, limit, cursor)
        return self.ledger.with_owed([one for one in found if "erased_ms" not in one]), following

    def cancel(self, tenant: str, batch_id: str) -> Record:
        """Cancels every job that waits, and asks running ones to stop. A batch that is being received is canceled when
        it is sealed. Errors: Conflict where all jobs have ended."""
        batch = self.get(tenant, batch_id)
        if _is_done(batch) and "canceled_ms" not in batch:
            raise Conflict(f"all jobs of batch {batch_id} have ended")
        noted = self.ledger.note_batch(tenant, batch_id, "canceled") or batch
        Members(self.ledger, self.jobs.archive, noted).cancel(CALLERS_S)
        return self.get(tenant, batch_id)

    def replay_webhook(self, tenant: str, batch_id: str) -> Record:
        """Sends the webhook of a batch that is done again. Errors: Conflict where there is none to send."""
        batch = self.get(tenant, batch_id)
        if "webhook" not in batch:
            raise Conflict(f"batch {batch_id} has no webhook")
        if not _is_done(batch):
            raise Conflict(f"jobs of batch {batch_id} have not ended; its webhook is sent when they have")
        self.ledger.owe_batch(batch, ends_of(batch)[1])
        self.ledger.replay_owed("webhook", tenant, batch_id)
        return self.get(tenant, batch_id)

    def delete(self, tenant: str, batch_id: str) -> None:
        """Erases a batch whose jobs have all ended, its jobs and their outputs. Errors: Conflict where one has not."""
        batch = self.get(tenant, batch_id)
        if not _is_done(batch):
            raise Conflict(f"jobs of batch {batch_id} have not ended; cancel it first")
        self.ledger.owe_batch(batch, ends_of(batch)[1])
        noted = self.ledger.note_batch(tenant, batch_id, "erased")
        if noted:
            Members(self.ledger, self.jobs.archive, noted).erase(CALLERS_S)


def _is_done(batch: Record) -> bool:
    return "sealed_ms" in batch and not counts_of(batch).living
