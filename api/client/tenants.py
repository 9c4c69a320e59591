"""`backlot tenants`: erases a tenant and shows the receipt. Needs BACKLOT_OPERATOR_KEY."""

import re
import time
from pathlib import Path

import click

from api import keyfile
from api.client.arguments import KEY_FILE
from api.client.credentials import operator
from api.client.terminal import say, show

POLL_S = 1.0
"""Seconds between two looks at the receipt."""
KEY_REVOKED_S = 1.0
"""Seconds in which an API process may still accept a revoked key: twice api.keyring's REREAD_S."""


@click.group()
def tenants() -> None:
    """Erase a tenant, and see the receipt."""


@tenants.command()
@click.argument("tenant")
@KEY_FILE
@click.option("--yes", is_flag=True, help="do not ask")
def erase(tenant: str, path: Path, yes: bool) -> None:
    """Revoke all keys of a TENANT, cancel its jobs, and erase all that it has: jobs, outputs, uploads, fitted models,
    its lines of the journal. Waits for the receipt, which is kept."""
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
    time.sleep(KEY_REVOKED_S if gone else 0)
    receipt = client.erase_tenant(tenant)
    while not receipt["done"]:
        time.sleep(POLL_S)
        receipt = client.erasure(tenant)
    show(receipt)


@tenants.command()
@click.argument("tenant")
def receipt(tenant: str) -> None:
    """Show the receipt of a TENANT's newest erasure, finished or not."""
    show(operator().erasure(tenant))
