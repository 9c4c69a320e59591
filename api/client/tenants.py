"""`backlot tenants`: what an operator does with a tenant as a whole. Needs BACKLOT_URL and BACKLOT_OPERATOR_KEY."""

import os
import re
import time
from pathlib import Path
from typing import Any

import click

from api import keyfile
from api.client import Client
from api.client.terminal import Wrong, say, show

ASK_AGAIN_S = 1.0
HEARD_S = 1.0
"""For so long after a key was taken back may an API process answer it yet."""


@click.group()
def tenants() -> None:
    """Erase a tenant, and see the receipt."""


@tenants.command()
@click.argument("tenant")
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="BACKLOT_KEYS_FILE",
    default=Path(".backlot/keys.json"),
    show_default=True,
    help="the key file; BACKLOT_KEYS_FILE",
)
@click.option("--yes", is_flag=True, help="do not ask")
def erase(tenant: str, path: Path, yes: bool) -> None:
    """Take back all keys of a TENANT, cancel its jobs, and erase all that it has: jobs, outputs, uploads, fitted
    models, its lines of the journal. Waits for the receipt, which stays."""
    client = operator()
    if not re.match(keyfile.TENANT, tenant):
        raise click.UsageError(f"{tenant!r} is no tenant: a-z, 0-9 and -, at most 40 of them")
    if not yes:
        click.confirm(f"Erase all of {tenant}, for good?", abort=True)
    try:
        gone = keyfile.remove_tenant(path, tenant)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    say(f"took back {len(gone)} key{'' if len(gone) == 1 else 's'} of {path}; erasing")
    time.sleep(HEARD_S if gone else 0)
    receipt = client.erase_tenant(tenant)
    while not receipt["done"]:
        time.sleep(ASK_AGAIN_S)
        receipt = client.erasure(tenant)
    show(receipt)


@tenants.command()
@click.argument("tenant")
def receipt(tenant: str) -> None:
    """Show the receipt of a TENANT's newest erasure, or how far it is."""
    show(operator().erasure(tenant))


def operator() -> Any:
    """A client with the operator's key."""
    key = os.environ.get("BACKLOT_OPERATOR_KEY")
    if not key:
        raise Wrong("BACKLOT_OPERATOR_KEY is not set; for the stack of this machine: . .backlot/env")
    return Client(key=key)
