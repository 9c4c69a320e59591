"""Makes a command's client from the environment: BACKLOT_API_KEY for a caller, BACKLOT_OPERATOR_KEY for an operator.

Keys are never options, because every process list shows a command line.
"""

import os
from collections.abc import Callable

import click

from api.client import Client
from api.client.terminal import Wrong, say_retry

Connect = Callable[[], Client]
"""A command's way to its client; made at its first call, so that `--help` needs no key."""


def caller(url: str | None) -> Client:
    """The caller's client. `url` None: BACKLOT_URL. Errors: Wrong without a key, or for a malformed key or URL."""
    return _client(url, "BACKLOT_API_KEY")


def operator() -> Client:
    """The operator's client, at the address of `--url`. Errors: Wrong without a key, or for a malformed key or URL."""
    return _client(click.get_current_context().find_root().params["url"], "BACKLOT_OPERATOR_KEY")


def _client(url: str | None, variable: str) -> Client:
    key = os.environ.get(variable)
    if not key:
        raise Wrong(f"{variable} is not set; for the stack of this machine: . .backlot/env")
    try:
        return Client(url, key, on_pause=say_retry)
    except ValueError as error:
        raise Wrong(str(error)) from error
