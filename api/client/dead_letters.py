"""`backlot dead-letters`: list, show, replay and purge the jobs whose last attempt failed with a retryable error."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from api.client.credentials import Connect
from api.client.terminal import show, table

Command = TypeVar("Command", bound=Callable[..., Any])
Filter = str | float | None


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at, replay or erase dead letters.

    A dead letter is a job that failed after its last attempt for a reason that may have passed."""


def _with_filters(command: Command) -> Command:
    """The command with the options that select dead letters."""
    for option in (
        click.option("--kind"),
        click.option("--model"),
        click.option("--error-code", help="e.g. worker_lost"),
        click.option("--older-than-s", type=float, help="ended so many seconds ago, or more"),
    ):
        command = option(command)
    return command


def _check_selection(job_ids: tuple[str, ...], everything: bool, filters: dict[str, Filter]) -> None:
    """Errors: click.UsageError unless ids, filters or --all are given, so that a forgotten word never means all."""
    if bool(job_ids) + (everything or any(value is not None for value in filters.values())) != 1:
        raise click.UsageError("give ids of jobs, or a filter, or --all")


@dead_letters.command("list")
@_with_filters
@click.option("--limit", default=100, show_default=True, help="jobs at most")
@click.pass_obj
def list_dead_letters(connect: Connect, /, limit: int, **filters: Filter) -> None:
    """List dead letters, the latest end first."""
    jobs = [job for job, _ in zip(connect().dead_letters(**filters), range(limit), strict=False)]
    rows = [{**job, "error": f"{job['error']['code']}: {job['error']['detail']}"} for job in jobs]
    table(("id", "kind", "model", "completed_at", "error"), rows)


@dead_letters.command("show")
@click.argument("job_id")
@click.pass_obj
def show_dead_letter(connect: Connect, job_id: str) -> None:
    """Show one dead letter, with each of its attempts."""
    show(connect().get(job_id))


@dead_letters.command("replay")
@click.argument("job_ids", nargs=-1)
@_with_filters
@click.option("--all", "everything", is_flag=True, help="all of them")
@click.pass_obj
def replay_dead_letters(connect: Connect, /, job_ids: tuple[str, ...], everything: bool, **filters: Filter) -> None:
    """Submit their requests again, each as a new job. Prints the old id and the new."""
    _check_selection(job_ids, everything, filters)
    client = connect()
    made = map(client.retry, job_ids) if job_ids else client.replay_dead_letters(**filters)
    for job in made:
        click.echo(f"{job['retry_of']}\t{job['id']}")


@dead_letters.command("purge")
@click.argument("job_ids", nargs=-1)
@_with_filters
@click.option("--all", "everything", is_flag=True, help="all of them")
@click.pass_obj
def purge_dead_letters(connect: Connect, /, job_ids: tuple[str, ...], everything: bool, **filters: Filter) -> None:
    """Erase dead letters and their files. Prints their ids."""
    _check_selection(job_ids, everything, filters)
    client = connect()
    for job_id in job_ids:
        client.delete(job_id)
    for job_id in job_ids or client.purge_dead_letters(**filters):
        click.echo(job_id)
