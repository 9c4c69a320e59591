"""The epoch: the server that the keeper has reconciled with, as run_id and master_replid, and the verbs that set and
compare it.

run_id alone is not enough: after a failover there and back a connection that lived reaches the same run_id with an
older memory, under another master_replid. A keeper of the release before sets run_id alone, so a master_replid that was
set for another run_id is not compared.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks import errors
from tasks.ledger import keys
from tasks.ledger.checking import NOT_RECONCILED, is_of
from tasks.ledger.client import Pipeline
from tasks.ledger.connection import Connection, connect
from tasks.ledger.faults import away

ANOTHER_KEEPER = "another keeper puts back what Redis has lost, or this is another Redis than that on which it began"
RESTORING_S = 30
"""The lease of a restore: a keeper that lives renews it; after one that died another may begin."""


@dataclass(frozen=True)
class Begun:
    """A restore under way: its keeper's token and the server on which it began (`replid` as keys.EPOCH_REPLID)."""

    token: str
    run_id: str
    replid: str


class Epoch(Connection):
    """Verbs about the epoch."""

    def begin_restore(self, token: str) -> Begun | None:
        """Begins a restore, or renews its lease; until `set_epoch` every other verb is not ready.

        None where the epoch is this server's already. Errors: NotReady where another keeper restores.
        """
        named = [keys.RESTORING, keys.EPOCH, keys.EPOCH_REPLID]
        match self.unchecked()._run("begin_restore", named, [token, RESTORING_S * 1000], list):
            case [1, run_id, replid]:
                return Begun(token, run_id, replid)
            case [2]:
                return None
        raise errors.NotReady(ANOTHER_KEEPER)

    def set_epoch(self, begun: Begun | None = None) -> None:
        """Sets the epoch to the server on which the restore began; without a restore, to this server, which lost
        nothing. Errors: NotReady where it is another server by now, or another keeper restores."""
        begun = begun or self.begin_restore("nothing to put back")
        named = [keys.RESTORING, keys.EPOCH, keys.EPOCH_REPLID]
        told = [begun.token, begun.run_id, begun.replid] if begun else []
        if begun and not self.unchecked()._run("set_epoch", named, told, int):
            raise errors.NotReady(ANOTHER_KEEPER)

    def snapshot(self, ask: Callable[[Pipeline], object]) -> list[Any]:
        """Answers to the commands that `ask` adds to a transaction, read under the epoch. A key that is missing is
        really gone then: on a server that was flushed this raises. Errors: NotReady."""
        with away(), self.redis.pipeline(transaction=True) as together:
            together.info("server").info("replication").mget(keys.EPOCH, keys.EPOCH_REPLID)
            ask(together)
            server, replication, epoch, *answers = together.execute()
        _compare(epoch, {**server, **replication})
        return answers

    def ready(self, by_this_release: bool = False) -> None:
        """Errors: NotReady naming what is missing: Redis, `noeviction`, or the epoch. `by_this_release`: an epoch set
        by a keeper of the release before does not count."""
        with away():
            client = self.unchecked().redis
            info, epoch = client.info(), client.mget(keys.EPOCH, keys.EPOCH_REPLID)
        if info["maxmemory_policy"] != "noeviction":
            raise errors.NotReady(
                f"Redis has maxmemory-policy {info['maxmemory_policy']}; Backlot needs noeviction, "
                "as any other may silently drop jobs"
            )
        _compare(epoch, info, by_this_release)

    def unchecked(self) -> Connection:
        """The ledger on connections that may reach a server whose epoch is another, or none."""
        return self if self._shared is not None else Connection(self.settings, connect(self.settings), self.clock)


def _compare(epoch: list[str | None], info: Mapping[str, Any], by_this_release: bool = False) -> None:
    """Errors: NotReady where the epoch is another server's."""
    if not is_of(epoch, info, by_this_release):
        raise errors.NotReady(NOT_RECONCILED)
