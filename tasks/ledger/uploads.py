"""Inputs on their way in: uploads that no job names yet, and Idempotency-Keys held while inputs are stored."""

from collections.abc import Iterable

import redis

from tasks.job import now_ms
from tasks.ledger import Idempotency, _away, keys


def note(client: redis.Redis, tenant: str, upload_id: str, ask_at: float) -> None:
    """From `ask_at` (s since 1970) the keeper asks whether a job names the upload, and deletes it if none does."""
    with _away():
        client.zadd(keys.UPLOADS, {f"{tenant}/{upload_id}": round(ask_at * 1000)})


def forsake(client: redis.Redis, tenant: str, upload_ids: Iterable[str], delay_ms: int) -> None:
    """The keeper asks after the delay whether a job names them; those that have no place are let be."""
    with _away():
        client.zadd(keys.UPLOADS, {f"{tenant}/{upload_id}": now_ms() + delay_ms for upload_id in upload_ids}, xx=True)


def give_back(client: redis.Redis, tenant: str, idempotency: Idempotency, job_id: str) -> None:
    """The inputs could not be stored: the key is free for the caller's next try, unless the job was recorded."""
    key = keys.idempotency(tenant, idempotency.digest)
    with _away():
        if client.get(key) == f"{job_id} {idempotency.fingerprint} uploading":
            client.delete(key)
