"""`backlot explain`: how one job stands, and what it waits for. Needs BACKLOT_URL and BACKLOT_OPERATOR_KEY."""

import click

from api.client.tenants import operator
from api.client.terminal import show


@click.command()
@click.argument("job_id")
@click.option("--tenant", help="whose job it is, where only the bucket may know it")
@click.option("--json", "as_json", is_flag=True, help="as the API answers it, for a program")
def explain(job_id: str, tenant: str | None, as_json: bool) -> None:
    """Say how a job stands and what it waits for, a sentence a line."""
    told = operator().explain(job_id, tenant)
    if as_json:
        return show(told)
    for sentence in told["sentences"]:
        click.echo(sentence)
