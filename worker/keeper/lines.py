"""Lines held against the registry: jobs follow a model that moved, wait a while for one that is gone, and come back
into line when their tenant may run again.

A line that a live worker serves is left alone, whatever this keeper's models.toml says: in a rolling deploy keepers,
workers and API processes of two releases run side by side.
"""

import logging
import re

from tasks.broker import Broker
from tasks.errors import UnknownModel
from tasks.ledger import Ledger, keys
from tasks.ledger.faults import away
from tasks.ledger.lines import A_FEW
from tasks.registry import Registry
from worker.keeper.skipped import Skipped

log = logging.getLogger(__name__)
LINE = re.compile(r"[a-z0-9-]+\.[a-z]+:.+")
CALLS = 20
"""Of one line or tenant in a round."""


class Lines:
    """One keeper's."""

    def __init__(self, ledger: Ledger, registry: Registry, broker: Broker) -> None:
        self.ledger, self.registry, self.broker = ledger, registry, broker

    def reconcile(self, skipped: Skipped) -> None:
        """Each line by itself; a name that is no line's is skipped. Errors: NotReady."""
        client, waiting = self.ledger.redis, {}
        with away():
            lines, orphans = sorted(client.smembers(keys.LINES)), client.hgetall(keys.ORPHANS)
        skipped.handle_each(lines, lambda line: waiting.update({line: self._length(line)}))
        if waiting:
            with away():  # releases before 0.2 did not note them
                client.hset(keys.POOLS, mapping={line.partition(".")[0]: 1 for line in waiting})
        strange = [line for line in waiting if waiting[line] and self._place(line) != line]
        served = self._served() if strange else set()
        homeless = [line for line in strange if line not in served and line.partition(":")[0] not in served]
        skipped.handle_each(homeless, self._bring_home)
        skipped.handle_each(
            (line for line in orphans if line not in homeless), lambda line: self.ledger.orphan(line, None)
        )

    def unpark(self, skipped: Skipped) -> None:
        """Parked jobs of tenants that may run again; each tenant by itself. Errors: NotReady."""
        with away():
            tenants = sorted(self.ledger.redis.smembers(keys.PARKED))
        skipped.handle_each(tenants, self._unpark)

    def _unpark(self, tenant: str) -> None:
        for _ in range(CALLS):
            if self.ledger.unpark(tenant) < A_FEW:
                break

    def _length(self, line: str) -> int:
        """Errors: ValueError where it is no line's name."""
        if not LINE.fullmatch(line):
            raise ValueError("no line's name")
        return self.ledger.redis.zcard(keys.line(line))

    def _bring_home(self, line: str) -> None:
        """A line that no registry and no worker knows: its jobs follow their model, or wait for one."""
        home = self._place(line)
        if home is None:
            kind, _, model = line.partition("@")[0].partition(".")[2].partition(":")
            wait_s = self.ledger.settings.unknown_model_s
            failed = self.ledger.orphan(
                line, UnknownModel(f"no worker of this deployment serves {kind}/{model}, nor has any for {wait_s:g} s")
            )
            if failed:
                log.warning("%d jobs of %s have failed: the model is unknown", failed, line)
            return
        moved = 0
        for _ in range(CALLS):
            moved += (now := self.ledger.move(line, home))
            if now < A_FEW:
                break
        log.info("%d jobs of %s have moved to %s", moved, line, home)
        self.broker.ring(home.partition(":")[0])

    def _place(self, line: str) -> str | None:
        """The line of the same model by this registry; None where it has none."""
        plain, newer, v = line.partition("@")
        model = self.registry.by_key.get(plain.partition(".")[2].replace(":", "/", 1))
        return model and f"{model.pool}.{model.kind}:{model.name}{newer}{v}"

    def _served(self) -> set[str]:
        """Lines that live workers serve; of a worker of a release that told none, its queues."""
        client, served = self.ledger.redis, set()
        with away():
            seconds, micros = client.time()
            alive = client.zrangebyscore(keys.WORKERS, seconds * 1000 + micros / 1000, "+inf")
            for worker in alive:
                lines, queues, draining = client.hmget(keys.worker(worker), "lines", "queues", "draining")
                if draining != "1":
                    served.update((queues if lines is None else lines or "").split(","))
        return served
