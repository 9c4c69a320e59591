"""Deletes the libraries of Redis Functions that other releases loaded, once a day.

A process that still uses one loads it again within its next call, so nobody need know which releases live. Where the
server, or its user's rights, have no Functions, there is nothing to delete.
"""

import contextlib

from redis.exceptions import ResponseError

from tasks.ledger import lua
from tasks.ledger.client import Client

EVERY_S = 86_400
"""Seconds between two rounds."""


def delete_others(client: Client) -> None:
    """Delete every library of Backlot's but this release's. Errors: RedisError."""
    _, mine, _ = lua.library().run
    with contextlib.suppress(ResponseError):  # unknown, not permitted, or another keeper was faster
        for one in client.execute_command("FUNCTION", "LIST", "LIBRARYNAME", f"{lua.LIBRARIES}*"):
            if one["library_name"] != mine:
                client.execute_command("FUNCTION", "DELETE", one["library_name"])
