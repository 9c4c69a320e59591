"""`backlot pause`, `resume` and `pauses`: stop and restart the jobs of a pool, a model or a tenant. Needs
BACKLOT_OPERATOR_KEY."""

import click

from api.client.credentials import operator
from api.client.terminal import show

WHAT = click.argument("what", metavar="SCOPE/NAME")


@click.command()
@WHAT
@click.option("--reason", default="", help="told to callers whose jobs wait")
def pause(what: str, reason: str) -> None:
    """Start no more jobs of a pool, model or tenant.

    SCOPE/NAME is pool/NAME, model/KIND/NAME or tenant/NAME. Submits are accepted, and running jobs go on."""
    show(operator().pause(what, reason))


@click.command()
@WHAT
def resume(what: str) -> None:
    """End a pause: start the jobs that waited, and new ones."""
    show(operator().resume(what))


@click.command()
def pauses() -> None:
    """Show all pauses."""
    show(operator().pauses())
