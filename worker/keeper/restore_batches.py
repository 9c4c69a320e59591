"""Restores batches: their records, and the counts of their jobs by status, from the journal and from the jobs' records.

The jobs themselves are put back before (restore.py). Every step may be done twice.
"""

from collections.abc import Callable
from functools import partial

from tasks.ledger import Ledger, Record, keys
from worker.keeper.batches import recount
from worker.keeper.members import Batch, Ends, batch_of
from worker.keeper.skipped import Skipped

FIELDS = (
    "id",
    "tenant",
    "lines",
    "last",
    "created_ms",
    "key",
    "fingerprint",
    "refused",
    "keep_ms",
    "sealed_ms",
    "canceled_ms",
    "erased_ms",
    "webhook",
    "told_ms",
)
"""Fields of a batch's record that are restored from its journal entries; its counts are counted anew."""


class SeenBatches:
    """Batches as the journal has them: the last entry of each, and the lines whose jobs have ended."""

    def __init__(self) -> None:
        self._last: dict[Batch, Record] = {}
        self._ends: dict[Batch, Ends] = {}

    def see(self, entry: Record) -> None:
        """Enters one entry. Errors: those of Ends.see."""
        if entry["type"] == "forgotten":
            self._last.pop((entry["tenant"], entry["id"]), None)
            self._ends.pop((entry["tenant"], entry["id"]), None)
        batch = batch_of(entry)
        if batch is None:
            return
        if entry["type"] == "batch":
            self._last[batch] = entry
        else:
            self._ends.setdefault(batch, Ends()).see(entry)

    def put_back(self, ledger: Ledger, write: Callable[..., object], skipped: Skipped) -> None:
        """Puts each batch back. `write` runs commands under the token of the restore. Errors: NotReady."""
        for batch in {**self._last, **self._ends}:
            skipped.handle("/".join(batch), partial(self._put_back, batch, ledger, write))

    def _put_back(self, batch: Batch, ledger: Ledger, write: Callable[..., object]) -> None:
        name, entry = keys.batch(*batch), self._last.get(batch, {})
        words = [word for field in FIELDS if field in entry for word in (field, entry[field])]
        if words:
            at = round(float(entry["created_ms"]))
            write(
                ("HSET", name, *words),
                ("ZADD", keys.tenant_batches(batch[0]), at, batch[1]),
                ("ZADD", keys.BATCHES, at, "/".join(batch)),
            )
        known = ledger.batch(*batch)
        if known is None:
            return  # it is past its retention, and jobs of it are not
        ends = self._ends.get(batch, Ends())
        recount(ledger, known, ends.statuses, write, counts=True)
        if ends.ended_ms > float(known.get("ended_ms", 0)):
            write(("HSET", name, "ended_ms", round(ends.ended_ms)))
        if "sealed_ms" not in known:
            write(("HSET", keys.receiving(batch[0]), batch[1], known["lines"]))
