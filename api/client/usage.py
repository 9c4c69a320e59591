"""`backlot usage`: the sums of the jobs that have ended, by group."""

import click

from api.client.credentials import Connect
from api.client.terminal import table

COLUMNS = ("succeeded", "failed", "canceled", "expired", "attempts", "retries", "queued_s", "load_s", "run_s")
MORE = ("prompt_tokens", "completion_tokens", "sound_s", "pictures", "bytes_in", "bytes_out")


@click.command()
@click.option("--from", "first", metavar="YYYY-MM-DD", help="first day (UTC), default the first of this month")
@click.option("--to", "last", metavar="YYYY-MM-DD", help="last day (UTC), default today")
@click.option("--by", "group_by", default="", metavar="NAMES", help="day, key, kind, model, metadata.KEY, tenant")
@click.option("--tenant", help="another tenant, for operators")
@click.pass_obj
def usage(connect: Connect, first: str | None, last: str | None, group_by: str, tenant: str | None) -> None:
    """Show what the jobs that ended on these days have used. An operator's key reads all tenants."""
    told = connect().usage(first, last, group_by, tenant)
    rows = [{**one, **one["jobs"], **one["group"]} for one in told["data"]]
    table((*told["group_by"], *COLUMNS, *MORE), rows)
