"""Uploads on their way in, of which the keeper asks whether a job names them."""

from collections.abc import Iterable

from tasks.job import now_ms
from tasks.ledger import Ledger, keys


def forsake(ledger: Ledger, tenant: str, upload_ids: Iterable[str], delay_ms: int) -> None:
    """The keeper asks after the delay whether a job names them; those that have no place are let be. Errors:
    NotReady."""
    ask_ms = now_ms() + delay_ms
    ledger.write(*(("ZADD", keys.UPLOADS, "XX", ask_ms, f"{tenant}/{upload_id}") for upload_id in upload_ids))
