"""Makes a command's client from the environment: BACKLOT_API_KEY for a caller, BACKLOT_OPERATOR_KEY for an operator.

Keys are never options, because every process list shows a command line.
"""

import os
from collections.abc import Callable

from api.client import Client
from api.client.terminal import Wrong, say_retry

Connect = Callable[[], Client]
"""A command's way to its client; made at its first call, so that `--help` needs no key."""


def caller(url: str | None) -> Client:
    """The caller's client. `url` None: BACKLOT_URL. Errors: Wrong without a key, or for a malformed one."""
    if not os.environ.get("BACKLOT_API_KEY"):
        raise Wrong("BACKLOT_API_KEY is not set; for the stack of this machine: . .backlot/env")
    try:
        return Client(url, on_pause=say_retry)
    except ValueError as error:
        raise Wrong(str(error)) from error


def operator() -> Client:
    """The operator's client, at BACKLOT_URL. Errors: Wrong without a key; ValueError for a malformed one."""
    key = os.environ.get("BACKLOT_OPERATOR_KEY")
    if not key:
        raise Wrong("BACKLOT_OPERATOR_KEY is not set; for the stack of this machine: . .backlot/env")
    return Client(key=key)
