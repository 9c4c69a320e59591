"""Deletes what only other releases use, once a day: their libraries of Redis Functions, and keys that none writes now.

A process that still uses one loads it again within its next call, so nobody need know which releases live. Where the
server, or its user's rights, have no Functions, there is nothing to delete.
"""

import contextlib
from collections.abc import Iterable

from redis.exceptions import ResponseError

from tasks.ledger import Ledger, keys, lua
from tasks.ledger.client import Client

EVERY_S = 86_400
"""Seconds between two rounds."""


def delete_old(ledger: Ledger, pools: Iterable[str]) -> None:
    """Delete other releases' libraries, and the index of waiting jobs that the release before kept for each pool.

    Errors: NotReady, RedisError.
    """
    delete_others(ledger.redis)
    ledger.write(("UNLINK", *map(keys.waiting, pools)))


def delete_others(client: Client) -> None:
    """Delete every library of Backlot's but this release's. Errors: RedisError."""
    _, mine, _ = lua.library().run
    with contextlib.suppress(ResponseError):  # unknown, not permitted, or another keeper was faster
        for one in client.execute_command("FUNCTION", "LIST", "LIBRARYNAME", f"{lua.LIBRARIES}*"):
            if one["library_name"] != mine:
                client.execute_command("FUNCTION", "DELETE", one["library_name"])
