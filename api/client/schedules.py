"""`backlot schedules`: jobs that are made again and again."""

import json
from typing import IO, Any

import click

from api.client.credentials import Connect
from api.client.terminal import show, table


@click.group()
def schedules() -> None:
    """Have jobs made again and again."""


@schedules.command("add")
@click.argument("cron")
@click.argument("job", type=click.File())
@click.option("--time-zone", default="UTC", show_default=True, help="IANA name, such as Europe/Berlin")
@click.option("--name", default="", help="for people")
@click.option("--missed", type=click.Choice(["skip", "once"]), default="skip", show_default=True)
@click.pass_obj
def add(connect: Connect, /, cron: str, job: IO[str], **rest: Any) -> None:
    """Submit the request in the file JOB (JSON; `-` is standard input) whenever CRON says, such as '30 6 * * 1-5'."""
    try:
        asked = json.load(job)
    except ValueError as error:
        raise click.UsageError(f"the job is not JSON: {error}") from error
    show(connect().create_schedule(cron, asked, **rest))


@schedules.command("list")
@click.pass_obj
def list_schedules(connect: Connect) -> None:
    """List schedules, newest first."""
    rows = [{**one, "next": next(iter(one["next_runs"]), "")} for one in connect().schedules()]
    table(("id", "name", "cron", "time_zone", "paused", "next"), rows)


@schedules.command("get")
@click.argument("schedule_id")
@click.pass_obj
def get(connect: Connect, schedule_id: str) -> None:
    """Show a schedule, its next runs and its last one."""
    show(connect().schedule(schedule_id))


@schedules.command("pause")
@click.argument("schedule_id")
@click.pass_obj
def pause(connect: Connect, schedule_id: str) -> None:
    """Make no more jobs until it is resumed."""
    show(connect().change_schedule(schedule_id, paused=True))


@schedules.command("resume")
@click.argument("schedule_id")
@click.pass_obj
def resume(connect: Connect, schedule_id: str) -> None:
    """Make jobs again, from the next time on."""
    show(connect().change_schedule(schedule_id, paused=False))


@schedules.command("delete")
@click.argument("schedule_id")
@click.pass_obj
def delete(connect: Connect, schedule_id: str) -> None:
    """Delete a schedule; the jobs that it has made stay."""
    connect().delete_schedule(schedule_id)
