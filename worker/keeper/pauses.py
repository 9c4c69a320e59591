"""Keeps a copy of the pauses in the bucket, from which a restore puts them back: pauses outlive Redis.

A pause made in the second before Redis was lost is lost too. One resumed in that second is paused again, which
/v1/pools shows: the safer of the two.
"""

import json
from collections.abc import Callable

from tasks.bucket.storage import Storage
from tasks.errors import NotFound
from tasks.ledger import Ledger, keys

KEY = "pauses.json"


class Pauses:
    """The copy that one keeper writes."""

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self.ledger, self.storage = ledger, storage
        self._written: dict[str, str] | None = None

    def write_copy(self) -> None:
        """Write the copy where the pauses have changed. Errors: NotReady, StorageUnavailable."""
        (pauses,) = self.ledger.snapshot(lambda together: together.hgetall(keys.PAUSES))
        if pauses == self._written or not pauses and self._written is None and self.storage.head(KEY) is None:
            return
        self.storage.put_bytes(KEY, json.dumps(pauses).encode(), "application/json")
        self._written = pauses


def put_back(write: Callable[..., object], storage: Storage) -> None:
    """Pause again what the copy lists, by `write`, which carries the fence of the restore.

    Errors: NotReady; StorageUnavailable; ValueError, TypeError where the copy is damaged.
    """
    try:
        kept = json.loads(storage.get_bytes(KEY))
    except NotFound:
        return
    for name, why in dict(kept).items():
        write(("HSETNX", keys.PAUSES, str(name), str(why)))
