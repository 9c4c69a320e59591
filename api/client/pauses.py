"""`backlot pause`, `resume` and `pauses`: stop taking jobs of something, let the rest run. Needs BACKLOT_URL and
BACKLOT_OPERATOR_KEY."""

import click

from api.client.tenants import operator
from api.client.terminal import show

WHAT = click.argument("what", metavar="SCOPE/NAME")


@click.command()
@WHAT
@click.option("--reason", default="", help="told to callers whose jobs wait")
def pause(what: str, reason: str) -> None:
    """Start no more jobs of a pool, model or tenant.

    It is named pool/NAME, model/KIND/NAME or tenant/NAME. Submits are taken, and jobs that run go on."""
    show(operator().pause(what, reason))


@click.command()
@WHAT
def resume(what: str) -> None:
    """Start jobs of it again, and those that waited."""
    show(operator().resume(what))


@click.command()
def pauses() -> None:
    """Show what is paused."""
    show(operator().pauses())
