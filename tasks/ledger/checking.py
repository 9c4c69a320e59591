"""The check of a new connection: is this the server that the keeper has reconciled with?

redis-py reconnects inside a call and sends the same bytes again, to a server that may have restarted with an older
memory. So the check belongs to the connection, at each connect and reconnect, and its error is a RedisError: after any
other redis-py would leave the socket open and unchecked. It knows no verb.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from redis.connection import Connection
from redis.exceptions import RedisError

from tasks.ledger import keys

NOT_RECONCILED = "the keeper has not yet reconciled with this start of Redis"
"""The detail of NotReady while the epoch is not this server's; callers see it."""
ASKED = (("MULTI",), ("INFO", "server"), ("INFO", "replication"), ("MGET", keys.EPOCH, keys.EPOCH_REPLID), ("EXEC",))


class NotReconciled(RedisError):
    """The server is not the one of the epoch. It is never retried by redis-py."""

    def __init__(self) -> None:
        super().__init__(NOT_RECONCILED)


def checking(told: Callable[[str], None]) -> Callable[[Connection], None]:
    """Makes the function that redis-py calls at each connect: it logs in, compares the epoch, and tells it.

    Tells '' where a keeper of the release before has set run_id alone: each call has to compare the epoch then.
    """

    def check(connection: Connection) -> None:
        told("")
        connection.on_connect()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        *_, (server, replication, epoch) = [_asked(connection, command) for command in ASKED]
        info = {**_fields(server), **_fields(replication)}
        if not is_of(epoch, info):
            raise NotReconciled
        told(epoch[1] if epoch[1] == identity(info) else "")

    return check


def identity(info: Mapping[str, Any]) -> str:
    """The epoch of the server with that INFO, as keys.EPOCH_REPLID has it."""
    return f"{info['run_id']} {info['master_replid']}"


def is_of(epoch: list[str | None], info: Mapping[str, Any], by_this_release: bool = False) -> bool:
    """True where the values of keys.EPOCH and keys.EPOCH_REPLID are of the server with that INFO.

    A keeper of the release before sets run_id alone, so a master_replid that was set for another run_id is not
    compared, unless `by_this_release`.
    """
    run_id, replid = epoch
    before = not (replid or "").startswith(info["run_id"]) and not by_this_release
    return run_id == info["run_id"] and (replid == identity(info) or before)


def _asked(connection: Connection, command: tuple[str, ...]) -> Any:
    connection.send_command(*command, check_health=False)  # type: ignore[no-untyped-call]  # as above
    return connection.read_response()


def _fields(info: str) -> dict[str, str]:
    return dict(re.findall(r"^(run_id|master_replid):(\w+)", info, re.MULTILINE))
