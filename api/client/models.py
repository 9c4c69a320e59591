"""`backlot models`: the models that a job can name."""

import click

from api.client.credentials import Connect
from api.client.terminal import table


@click.command()
@click.pass_obj
def models(connect: Connect) -> None:
    """List the models that a job can name."""
    table(("kind", "name", "default", "pool", "description"), connect().models())
