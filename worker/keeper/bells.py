"""Rings lost doorbells again: a queue that has had too few for a second has lost some.

It reads lines and queues alone. It may run beside the sweep, which rings for what it puts back itself.
"""

import re
import time

from tasks.broker import Broker
from tasks.ledger import keys
from tasks.ledger.client import Client
from tasks.ledger.pauses import holds
from worker.keeper.replies import texts
from worker.keeper.skipped import Skipped

LOST_S = 1
"""Seconds for which a queue must lack bells before they count as lost."""
QUEUE = re.compile(r"[a-z0-9-]+\.[a-z]+")


class Bells:
    """The bells of one keeper; a queue gets `most` at most. Two keepers may ring twice, which costs a claim each."""

    def __init__(self, client: Client, broker: Broker, most: int) -> None:
        self.redis, self.broker, self.most = client, broker, most
        self._missing: dict[str, tuple[float, int]] = {}  # queue -> since when bells lack, how many to ring next

    def ring_lost(self, skipped: Skipped) -> None:
        """Ring each queue that has lacked bells for LOST_S. A malformed line name is skipped. Errors: NotReady."""
        wanted: dict[str, int] = {}
        pauses, orphans = texts(self.redis.hkeys(keys.PAUSES)), texts(self.redis.hkeys(keys.ORPHANS))
        lines = sorted(texts(self.redis.smembers(keys.LINES)))
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
        """Ring twice as many bells each time, up to one for every worker, then start from one again.

        In a rolling deploy a bell may reach a worker that does not know the model. Single bells could reach that same
        worker for ever.
        """
        missing = want - self.redis.llen(queue)
        if missing <= 0:
            self._missing.pop(queue, None)
            return
        since, times = self._missing.setdefault(queue, (time.monotonic(), 1))
        if time.monotonic() - since >= LOST_S:
            workers = self.redis.zcard(keys.WORKERS)
            self.broker.ring(queue, times=max(missing, min(times, workers)))
            self._missing[queue] = (since, 2 * times if times < workers else 1)
