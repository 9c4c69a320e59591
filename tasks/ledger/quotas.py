"""What a tenant may do, asked before its files are stored for nothing; submit.lua, which asks again, is the judge."""

from typing import get_args

from tasks.errors import RateLimited, StoredTooMuch, WaitingTooMany
from tasks.ledger import Ledger, _away, keys
from tasks.registry import PoolName

MINUTE_MS = 60_000


def check_stored(ledger: Ledger, tenant: str) -> None:
    """Before something is stored for the tenant. Errors: StoredTooMuch."""
    most = ledger.settings.max_stored_bytes
    if not most:
        return
    with _away():
        stored = int(ledger.redis.hget(keys.STORED, tenant) or 0)
    if stored >= most:
        raise StoredTooMuch(stored, most)


def check(ledger: Ledger, tenant: str) -> None:
    """Before the files of a job are. Errors: those of `submit` that are about quotas."""
    check_stored(ledger, tenant)
    a_minute, most = ledger.settings.submits_per_minute, ledger.settings.max_waiting_jobs
    if not (a_minute or most):
        return
    with _away():
        asking = ledger.redis.pipeline(transaction=False).time().get(keys.rate(tenant))
        for pool in get_args(PoolName):
            asking.hget(keys.fair(pool), f"jobs:{tenant}")
        (s, us), paid, *waits = asking.execute()
    now, waiting = ledger.clock() or s * 1000 + us // 1000, sum(int(jobs or 0) for jobs in waits)
    if most and waiting >= most:
        raise WaitingTooMany(waiting, most)
    over_ms = max(now, float(paid or 0)) + MINUTE_MS / a_minute - now - MINUTE_MS if a_minute else 0
    if over_ms > 1e-3:
        raise RateLimited(a_minute, over_ms / 1000)
