"""`backlot`, the command line: joins the commands, which lie in one file a noun.

    backlot submit transcribe audio=@talk.mp3 -p language=en --wait

The API is that of --url, else BACKLOT_URL; the key comes from BACKLOT_API_KEY. Output and exit statuses are
terminal.py's; the reading of arguments is arguments.py's.
"""

import functools

import click

from api.client import batches, dead_letters, explain, jobs, keys, models, pauses, schedules, tenants, usage
from api.client.credentials import caller
from api.client.terminal import STATUSES, Group


@click.group(cls=Group, epilog=STATUSES)
@click.option("--url", envvar="BACKLOT_URL", help="the API; BACKLOT_URL")
@click.version_option(package_name="backlot", prog_name="backlot")
@click.pass_context
def main(ctx: click.Context, url: str | None) -> None:
    """Submit jobs to Backlot, look at them, download their outputs. The key is read from BACKLOT_API_KEY alone,
    because every process list shows a command line."""
    ctx.obj = functools.cache(lambda: caller(url))


for command in (
    jobs.submit,
    batches.batches,
    schedules.schedules,
    jobs.get,
    jobs.wait,
    jobs.events,
    jobs.logs,
    jobs.list_jobs,
    jobs.amend,
    jobs.cancel,
    jobs.retry,
    jobs.delete,
    jobs.download,
    explain.explain,
    dead_letters.dead_letters,
    models.models,
    usage.usage,
    keys.keys,
    pauses.pause,
    pauses.resume,
    pauses.pauses,
    tenants.tenants,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
