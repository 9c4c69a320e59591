"""Reports the jobs that the ledger's scripts could not read: a script can neither log nor count.

It reads the stream of faults and changes nothing.
"""

from tasks.ids import now_ms
from tasks.ledger import keys
from tasks.ledger.client import Client
from worker.keeper.replies import text, text_or
from worker.keeper.skipped import PAGE_ENTRIES, Skipped

LOOK_BACK_MS = 3600 * 1000
"""Age of the oldest fault that a starting keeper reports."""


class SetAside:
    """The cursor of one keeper in the stream of faults. Each of two keepers reports every fault."""

    def __init__(self, client: Client) -> None:
        self.redis, self._cursor = client, f"{now_ms() - LOOK_BACK_MS}-0"

    def report(self, skipped: Skipped) -> None:
        """Report the faults since the last round. Errors: RedisError."""
        for sid, fault in self.redis.xrange(keys.FAULTS, min=f"({self._cursor}", count=PAGE_ENTRIES) or ():
            said = fault or {}
            skipped.add(f"{said.get('id')!s} at {said.get('verb')!s}", text_or(said.get("words"), "no words"))
            self._cursor = text(sid)
