"""Jobs that the ledger's scripts could not read and set aside: logged and counted, for scripts can do neither."""

import redis

from tasks.job import now_ms
from tasks.ledger import keys
from worker.keeper.skipped import A_FEW, Skipped

LOOK_BACK_MS = 3600 * 1000
"""A keeper that starts tells of what happened within so long before."""


class SetAside:
    """One keeper's; each of two tells of all."""

    def __init__(self, client: redis.Redis) -> None:
        self.redis, self._at = client, f"{now_ms() - LOOK_BACK_MS}-0"

    def tell(self, skipped: Skipped) -> None:
        """Those that came since the last look. Errors: RedisError."""
        for sid, said in self.redis.xrange(keys.FAULTS, min=f"({self._at}", count=A_FEW):
            skipped.add(f"{said.get('id')} at {said.get('verb')}", said.get("words", "no words"))
            self._at = sid
