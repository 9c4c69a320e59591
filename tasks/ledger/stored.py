"""What a tenant has in the bucket: the bytes of its outputs and uploads, as the scripts count them."""

from tasks.errors import StoredTooMuch
from tasks.ledger import Ledger, _away, keys


def check(ledger: Ledger, tenant: str) -> None:
    """Before something is stored for the tenant. Errors: StoredTooMuch."""
    most = ledger.settings.max_stored_bytes
    if not most:
        return
    with _away():
        stored = int(ledger.redis.hget(keys.STORED, tenant) or 0)
    if stored >= most:
        raise StoredTooMuch(stored, most)
