"""The ledger: the job records in Redis, and the scripts that alone change them. verbs.py joins its parts.

It knows nothing of Celery, S3 or HTTP; `keys.py` lists what it keeps.
"""

from tasks.ledger.connection import VERBS, connect
from tasks.ledger.idempotency import Idempotency
from tasks.ledger.shapes import AGAIN, Cause, Claimed, Held, Record, Submitted, Worker
from tasks.ledger.verbs import Ledger

__all__ = [
    "AGAIN",
    "VERBS",
    "Cause",
    "Claimed",
    "Held",
    "Idempotency",
    "Ledger",
    "Record",
    "Submitted",
    "Worker",
    "connect",
]
