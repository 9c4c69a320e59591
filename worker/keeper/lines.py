"""Holds waiting lines against the registry: moves jobs after their model, fails jobs whose model stays unknown.

It also unparks jobs whose tenant may run again. A line that a live worker serves is left alone, whatever this keeper's
models.toml says: in a rolling deploy keepers, workers and API processes of two releases run side by side.
"""

import logging
import re

from tasks.broker import Broker
from tasks.errors import UnknownModel
from tasks.ledger import Ledger, keys
from tasks.ledger.faults import away
from tasks.ledger.shapes import JOBS_A_CALL
from tasks.registry import Registry
from worker.keeper.replies import text_or, texts
from worker.keeper.skipped import Skipped

log = logging.getLogger(__name__)
LINE = re.compile(r"[a-z0-9-]+\.[a-z]+:.+")
CALLS_A_ROUND = 20
"""Calls for one line or tenant in a round."""


class Lines:
    """The waiting lines as one keeper sees them."""

    def __init__(self, ledger: Ledger, registry: Registry, broker: Broker) -> None:
        self.ledger, self.registry, self.broker = ledger, registry, broker

    def reroute(self, skipped: Skipped) -> None:
        """Reroute each line without a model or a worker. A malformed line name is skipped. Errors: NotReady."""
        client = self.ledger.redis
        lengths: dict[str, int] = {}
        with away():
            lines, orphans = sorted(texts(client.smembers(keys.LINES))), texts(client.hkeys(keys.ORPHANS))
        skipped.handle_each(lines, lambda line: lengths.update({line: self._length(line)}))
        if lengths:
            with away():  # releases before 0.2 did not note them
                client.hset(keys.POOLS, mapping={line.partition(".")[0]: 1 for line in lengths})
        strange = [line for line in lengths if lengths[line] and self._home(line) != line]
        served = self._served() if strange else set()
        homeless = [line for line in strange if line not in served and line.partition(":")[0] not in served]
        skipped.handle_each(homeless, self._reroute)
        skipped.handle_each(
            (line for line in orphans if line not in homeless), lambda line: self.ledger.orphan(line, None)
        )

    def unpark(self, skipped: Skipped) -> None:
        """Unpark jobs of tenants that may run again, each tenant by itself. Errors: NotReady."""
        with away():
            tenants = sorted(texts(self.ledger.redis.smembers(keys.PARKED)))
        skipped.handle_each(tenants, self._unpark)

    def _unpark(self, tenant: str) -> None:
        for _ in range(CALLS_A_ROUND):
            if self.ledger.unpark(tenant) < JOBS_A_CALL:
                break

    def _length(self, line: str) -> int:
        """Errors: ValueError where it is no line's name."""
        if not LINE.fullmatch(line):
            raise ValueError("no line's name")
        return self.ledger.redis.zcard(keys.line(line))

    def _reroute(self, line: str) -> None:
        """Move the jobs of a line to the line of their model; without one, let them wait, then fail."""
        home = self._home(line)
        if home is None:
            self._orphan(line)
            return
        moved = 0
        for _ in range(CALLS_A_ROUND):
            moved += (now := self.ledger.move(line, home))
            if now < JOBS_A_CALL:
                break
        log.info("%d jobs of %s have moved to %s", moved, line, home)
        self.broker.ring(home.partition(":")[0])

    def _orphan(self, line: str) -> None:
        kind, _, model = line.partition("@")[0].partition(".")[2].partition(":")
        wait_s = self.ledger.settings.unknown_model_s
        failed = self.ledger.orphan(
            line, UnknownModel(f"no worker of this deployment serves {kind}/{model}, nor has any for {wait_s:g} s")
        )
        if failed:
            log.warning("%d jobs of %s have failed: the model is unknown", failed, line)

    def _home(self, line: str) -> str | None:
        """The line of the same model by this registry; None where the registry lacks the model."""
        plain, newer, v = line.partition("@")
        model = self.registry.by_key.get(plain.partition(".")[2].replace(":", "/", 1))
        return f"{model.pool}.{model.kind}:{model.name}{newer}{v}" if model else None

    def _served(self) -> set[str]:
        """Lines that live workers serve; the queues of a worker whose release tells no lines."""
        client = self.ledger.redis
        served: set[str] = set()
        with away():
            seconds, micros = client.time()
            alive = texts(client.zrangebyscore(keys.WORKERS, seconds * 1000 + micros / 1000, "+inf"))
            for worker in alive:
                lines, queues, draining = client.hmget(keys.worker(worker), "lines", "queues", "draining")
                if draining != "1":
                    served.update(text_or(queues if lines is None else lines, "").split(","))
        return served
