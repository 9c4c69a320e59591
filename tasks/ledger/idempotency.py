"""An Idempotency-Key as the ledger knows it: digests alone, of whose it is and of what was asked with it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

IDEMPOTENCY_MS = 24 * 3600 * 1000
UPLOADING_MS = 120_000


@dataclass(frozen=True)
class Idempotency:
    """An Idempotency-Key: `digest` names tenant, method, path and key; `fingerprint` the request's content."""

    digest: str
    fingerprint: str

    @classmethod
    def of(cls, scope: Iterable[str], content: Iterable[str]) -> "Idempotency":
        return cls(_digest(scope), _digest(content))

    def held_by(self, job_id: str) -> str:
        """What its key has while the inputs of the job come in."""
        return f"{job_id} {self.fingerprint} uploading"


def _digest(parts: Iterable[str]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(f"{len(part)}:{part}".encode())
    return whole.hexdigest()
