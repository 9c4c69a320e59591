"""Recounts each tenant's records in Redis: a record that is gone counts no longer.

A release that did not count records has forgotten some without counting them down. It knows Redis alone.
"""

from tasks.ledger import Ledger, keys
from worker.keeper.replies import texts
from worker.keeper.skipped import Skipped

EVERY_S = 86_400
"""Seconds between two rounds."""
SCAN_COUNT = 200
"""Jobs of one look at Redis, about."""


def recount(ledger: Ledger, skipped: Skipped) -> None:
    """Recount every tenant by itself. Errors: NotReady, RedisError."""
    skipped.handle_each(texts(ledger.redis.hkeys(keys.HELD)), lambda tenant: _recount(ledger, tenant))


def _recount(ledger: Ledger, tenant: str) -> None:
    cursor: int | None = None
    while cursor != 0:
        cursor, some = ledger.redis.hscan(keys.held(tenant), cursor or 0, count=SCAN_COUNT)
        for job_id in _gone(ledger, texts(some)):
            ledger.count(tenant, job_id, 0, keys.HELD)


def _gone(ledger: Ledger, ids: list[str]) -> list[str]:
    """The jobs without a record."""
    exist = ledger.snapshot(lambda together: [together.exists(keys.job(job_id)) for job_id in ids])
    return [job_id for job_id, exists in zip(ids, exist, strict=True) if not exists]
