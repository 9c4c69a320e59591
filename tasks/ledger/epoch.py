"""The epoch: which server the keeper has reconciled with, by its run_id and its master_replid, and what asks it.

A failover there and back is the same run_id, with an older memory, on a connection that lived: master_replid tells. A
keeper of the release before says run_id alone, which counts beside a master_replid that was said of another run_id.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redis.client import Pipeline

from tasks import errors
from tasks.ledger import keys
from tasks.ledger.connection import NOT_RECONCILED, Connection
from tasks.ledger.faults import away
from tasks.ledger.idempotency import Idempotency

SOMEBODY_ELSE = "another keeper puts back what Redis has lost, or this is another Redis than that on which it began"
RESTORING_S = 30
"""A keeper that has died while it restored is followed by another after this; one that lives prolongs it."""
Commands = Sequence[Sequence[str | int]]


@dataclass(frozen=True)
class Begun:
    """A restore: the token of the keeper that alone may do it, and the server on which it began (keys.EPOCH_REPLID)."""

    token: str
    run_id: str
    replid: str


class Epoch(Connection):
    """The verbs about it."""

    def begin_restore(self, token: str) -> Begun | None:
        """Nobody may use this server until `set_epoch`; to be asked again, with the same token, well within
        RESTORING_S. None where there is nothing to put back. Errors: NotReady where another keeper is at it."""
        match self._run("begin_restore", [keys.RESTORING, keys.EPOCH, keys.EPOCH_REPLID], [token, RESTORING_S * 1000]):
            case [1, run_id, replid]:
                return Begun(token, run_id, replid)
            case [2]:
                return None
        raise errors.NotReady(SOMEBODY_ELSE)

    def set_epoch(self, begun: Begun | None = None) -> None:
        """Say that what this server had lost is put back; without a restore that was begun, that it had lost nothing.
        Errors: NotReady where it is another server by now, or another keeper's turn."""
        begun = begun or self.begin_restore("nothing to put back")
        if begun and not self._run(
            "set_epoch", [keys.RESTORING, keys.EPOCH, keys.EPOCH_REPLID], [begun.token, begun.run_id, begun.replid]
        ):
            raise errors.NotReady(SOMEBODY_ELSE)

    def give_back(self, tenant: str, idempotency: Idempotency, job_id: str) -> None:
        """The inputs could not be stored: the key is free for the caller's next try, unless the job was recorded."""
        self._run("give_back", [keys.idempotency(tenant, idempotency.digest)], [idempotency.held_by(job_id)])

    def at_once(self, ask: Callable[[Pipeline], object]) -> list:
        """Answers to what `ask` puts into a pipeline, all of one moment at which Redis had lost nothing: after a flush
        what is not there is not gone. Errors: NotReady."""
        with away(), self.redis.pipeline(transaction=True) as together:
            together.info("server").info("replication").mget(keys.EPOCH, keys.EPOCH_REPLID)
            ask(together)
            server, replication, epoch, *answers = together.execute()
        _compare(epoch, {**server, **replication})
        return answers

    def ready(self, by_this_release: bool = False) -> None:
        """Errors: NotReady with what is missing: Redis, `noeviction`, or the epoch. `by_this_release`: an epoch that a
        keeper of the release before has set does not do."""
        with away():
            info = self.redis.info()
            epoch = self.redis.mget(keys.EPOCH, keys.EPOCH_REPLID)
        if info["maxmemory_policy"] != "noeviction":
            raise errors.NotReady(
                f"Redis has maxmemory-policy {info['maxmemory_policy']}; Backlot needs noeviction, "
                "as any other may silently drop jobs"
            )
        _compare(epoch, info, by_this_release)


def _compare(epoch: list[str | None], info: dict, by_this_release: bool = False) -> None:
    run_id, replid = epoch
    fits = replid == f"{info['run_id']} {info['master_replid']}"
    before = not (replid or "").startswith(info["run_id"]) and not by_this_release
    if run_id != info["run_id"] or not (fits or before):
        raise errors.NotReady(NOT_RECONCILED)
