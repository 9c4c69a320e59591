"""Lost doorbells, rung again: a queue that has had fewer than it wants for a second has lost some.

It looks at lines and queues alone, and may run beside the sweep, which rings for what it puts back itself.
"""

import re
import time

import redis

from tasks.broker import Broker
from tasks.ledger import keys
from tasks.ledger.pauses import holds
from worker.keeper.skipped import Skipped

LOST_S = 1
QUEUE = re.compile(r"[a-z0-9-]+\.[a-z]+")


class Bells:
    """One keeper's; `most` bells lie in a queue. Two keepers may ring too often, which costs a look each."""

    def __init__(self, client: redis.Redis, broker: Broker, most: int) -> None:
        self.redis, self.broker, self.most = client, broker, most
        self._unrung: dict[str, tuple[float, int]] = {}

    def ring_lost(self, skipped: Skipped) -> None:
        """Errors: NotReady. A name that is no queue's is skipped."""
        wanted: dict[str, int] = {}
        pauses, orphans = self.redis.hkeys(keys.PAUSES), self.redis.hkeys(keys.ORPHANS)
        lines = sorted(self.redis.smembers(keys.LINES))
        skipped.handle_each(
            (line for line in lines if not holds(line, pauses) and line not in orphans),
            lambda line: self._count(line, wanted),
        )
        skipped.handle_each(wanted, lambda queue: self._ring(queue, wanted[queue]))

    def _count(self, line: str, wanted: dict[str, int]) -> None:
        queue = line.partition(":")[0]
        if not QUEUE.fullmatch(queue):
            raise ValueError("no line's name")
        wanted[queue] = min(self.most, wanted.get(queue, 0) + self.redis.zcard(keys.line(line)))

    def _ring(self, queue: str, want: int) -> None:
        """Or workers take them that do not know the model (a rolling deploy): rung one at a time, they may go to the
        same worker for ever. So each time twice as many are rung, until there is one for every worker, then from one
        again."""
        missing = want - self.redis.llen(queue)
        if missing <= 0:
            self._unrung.pop(queue, None)
            return
        since, again = self._unrung.setdefault(queue, (time.monotonic(), 1))
        if time.monotonic() - since >= LOST_S:
            workers = self.redis.zcard(keys.WORKERS)
            self.broker.ring(queue, times=max(missing, min(again, workers)))
            self._unrung[queue] = (since, 2 * again if again < workers else 1)
