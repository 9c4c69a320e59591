"""An Idempotency-Key as the ledger keeps it: two digests, never the key or the request. It asks nothing of Redis."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

IDEMPOTENCY_MS = 24 * 3600 * 1000
"""The time for which a key stays bound to its job: 24 h."""
UPLOADING_MS = 120_000
"""The time for which a key is reserved while inputs are uploaded: 2 min."""


@dataclass(frozen=True)
class Idempotency:
    """An Idempotency-Key: `digest` names tenant, method, path and key; `fingerprint` the request's content."""

    digest: str
    fingerprint: str

    @classmethod
    def of(cls, scope: Iterable[str], content: Iterable[str]) -> "Idempotency":
        """`scope`: tenant, method, path and key; `content`: fields and hashes of files."""
        return cls(_digest(scope), _digest(content))

    def held_by(self, job_id: str) -> str:
        """The value of its Redis key while the inputs of the job are uploaded."""
        return f"{job_id} {self.fingerprint} uploading"


def _digest(parts: Iterable[str]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(f"{len(part)}:{part}".encode())
    return whole.hexdigest()
