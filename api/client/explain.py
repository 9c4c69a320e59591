"""`backlot explain`: the state of one job and the causes of its wait. Needs BACKLOT_OPERATOR_KEY."""

import click

from api.client.credentials import operator
from api.client.terminal import show


@click.command()
@click.argument("job_id")
@click.option("--tenant", help="the job's tenant, where only the bucket knows the job")
@click.option("--json", "as_json", is_flag=True, help="as the API answers it, for a program")
def explain(job_id: str, tenant: str | None, as_json: bool) -> None:
    """Explain the state of a job and the causes of its wait, one sentence a line."""
    told = operator().explain(job_id, tenant)
    if as_json:
        return show(told)
    for sentence in told["sentences"]:
        click.echo(sentence)
