"""The ledger: the job records in Redis and the scripts that alone change them; `Ledger` (verbs.py) has all verbs.

It knows nothing of Celery, S3 or HTTP. keys.py lists every key in Redis.
"""

from tasks.ledger.connection import connect
from tasks.ledger.idempotency import Idempotency
from tasks.ledger.shapes import ASK_AGAIN, Cause, Claimed, Commit, Granted, Held, Record, Submitted, Wish, Worker
from tasks.ledger.verbs import Ledger

__all__ = [
    "ASK_AGAIN",
    "Cause",
    "Claimed",
    "Commit",
    "Granted",
    "Held",
    "Idempotency",
    "Ledger",
    "Record",
    "Submitted",
    "Wish",
    "Worker",
    "connect",
]
