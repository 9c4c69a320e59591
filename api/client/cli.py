"""`backlot`, the command line: a thin layer over the client, for people and shell scripts.

    backlot submit transcribe audio=@talk.mp3 -p language=en --wait

Where and who is in BACKLOT_URL and BACKLOT_API_KEY. terminal.py has what it prints and its exit
statuses, arguments.py how its words are read.
"""

import functools
import json
import os
from pathlib import Path
from typing import Any

import click

from api.client import Client, Job
from api.client.arguments import Input, Param, grouped, once
from api.client.explain import explain
from api.client.keys import keys
from api.client.pauses import pause, pauses, resume
from api.client.tenants import tenants
from api.client.terminal import NOT_SUCCEEDED, STATUSES, Group, Wrong, out, pausing, say, show, table, watching


@click.group(cls=Group, epilog=STATUSES)
@click.option("--url", envvar="BACKLOT_URL", help="the API; BACKLOT_URL")
@click.version_option(package_name="backlot", prog_name="backlot")
@click.pass_context
def main(ctx: click.Context, url: str | None) -> None:
    """Submit jobs to Backlot, look at them, fetch what they made. The key is read from BACKLOT_API_KEY alone, as
    every process list shows a command line."""
    ctx.obj = functools.cache(lambda: _client(url))


def _client(url: str | None) -> Client:
    if not os.environ.get("BACKLOT_API_KEY"):
        raise Wrong("BACKLOT_API_KEY is not set; for the stack of this machine: . .backlot/env")
    try:
        return Client(url, on_pause=pausing)
    except ValueError as error:
        raise Wrong(str(error)) from error


@main.command()
@click.argument("kind")
@click.argument("inputs", nargs=-1, type=Input())
@click.option("-p", "--param", "params", multiple=True, type=Param(), help="a parameter of the kind")
@click.option("--metadata", multiple=True, type=Param(), help="your own, given back as it came")
@click.option("--model", help="a model of the kind; its default where left out")
@click.option("--priority", type=int)
@click.option("--start-at", help="not before this time (RFC 3339)")
@click.option("--idempotency-key", help="the same submit with the same key makes one job")
@click.option("--wait", is_flag=True, help="until it is done")
@click.option("--output", "folder", type=click.Path(file_okay=False, path_type=Path), help="save outputs here (waits)")
@click.pass_obj
def submit(client, kind, inputs, params, metadata, wait, folder, **rest) -> None:
    """Submit a job: its kind, and its inputs.

    For example: backlot submit transcribe audio=@talk.mp3 --wait

    An input is a text or URL (name=text), a file (name=@file, name=@- for standard input) or JSON
    (name:='["Alien"]'); one that is given more than once is a list. A parameter's value that reads as JSON is JSON.
    """
    given = {"params": once(params, "-p"), "metadata": once(metadata, "--metadata"), **rest}
    job = client().submit(kind, grouped(inputs), **given)
    if not (wait or folder):
        return show(job)
    job = _wait(client(), job["id"])
    for path in client().download_all(job["id"], folder) if folder and job["outputs"] else ():
        say(str(path))
    _end(job)


@main.command()
@click.argument("job_id")
@click.pass_obj
def get(client, job_id: str) -> None:
    """Show a job."""
    show(client().get(job_id))


@main.command()
@click.argument("job_id")
@click.pass_obj
def wait(client, job_id: str) -> None:
    """Wait until a job is done."""
    _end(_wait(client(), job_id))


@main.command("list")
@click.option("--status")
@click.option("--kind")
@click.option("--model")
@click.option("--limit", default=20, show_default=True, help="jobs at most")
@click.option("--json", "as_json", is_flag=True, help="one job a line")
@click.pass_obj
def list_jobs(client, limit: int, as_json: bool, **filters) -> None:
    """List jobs, newest first."""
    pages = client().jobs(limit=min(limit, 100), **filters)
    jobs = [job for job, _ in zip(pages, range(limit), strict=False)]
    if as_json:
        for job in jobs:
            click.echo(json.dumps(job))
    else:
        table(("id", "kind", "model", "status", "created_at", "message"), jobs)


@main.command()
@click.argument("job_id")
@click.pass_obj
def cancel(client, job_id: str) -> None:
    """Ask a job to stop."""
    show(client().cancel(job_id))


@main.command()
@click.argument("job_id")
@click.pass_obj
def retry(client, job_id: str) -> None:
    """Do an ended job once more, as a new job."""
    show(client().retry(job_id))


@main.command()
@click.argument("job_id")
@click.pass_obj
def delete(client, job_id: str) -> None:
    """Erase an ended job and its outputs."""
    client().delete(job_id)


@main.group("dead-letters")
def dead_letters() -> None:
    """Look at, replay or erase dead letters.

    They are jobs that failed after their last attempt for a reason that may have passed."""


def _which(command):
    """The options that choose dead letters."""
    for option in (
        click.option("--kind"),
        click.option("--model"),
        click.option("--error-code", help="e.g. worker_lost"),
        click.option("--older-than-s", type=float, help="ended so many seconds ago, or more"),
    ):
        command = option(command)
    return command


def _chosen(job_ids: tuple[str, ...], everything: bool, filters: dict[str, Any]) -> None:
    """Ids, a filter or --all: what concerns many jobs is not done by leaving a word out."""
    if bool(job_ids) + (everything or any(value is not None for value in filters.values())) != 1:
        raise click.UsageError("give ids of jobs, or a filter, or --all")


@dead_letters.command("list")
@_which
@click.option("--limit", default=100, show_default=True, help="jobs at most")
@click.pass_obj
def list_dead_letters(client, limit: int, **filters) -> None:
    """List them, those that ended last first."""
    jobs = [job for job, _ in zip(client().dead_letters(**filters), range(limit), strict=False)]
    told = [{**job, "error": f"{job['error']['code']}: {job['error']['detail']}"} for job in jobs]
    table(("id", "kind", "model", "completed_at", "error"), told)


@dead_letters.command("show")
@click.argument("job_id")
@click.pass_obj
def show_dead_letter(client, job_id: str) -> None:
    """Show one, with each of its attempts."""
    show(client().get(job_id))


@dead_letters.command("replay")
@click.argument("job_ids", nargs=-1)
@_which
@click.option("--all", "everything", is_flag=True, help="all of them")
@click.pass_obj
def replay_dead_letters(client, job_ids: tuple[str, ...], everything: bool, **filters) -> None:
    """Do them once more, each as a new job; prints the old id and the new."""
    _chosen(job_ids, everything, filters)
    made = map(client().retry, job_ids) if job_ids else client().replay_dead_letters(**filters)
    for job in made:
        click.echo(f"{job['retry_of']}\t{job['id']}")


@dead_letters.command("purge")
@click.argument("job_ids", nargs=-1)
@_which
@click.option("--all", "everything", is_flag=True, help="all of them")
@click.pass_obj
def purge_dead_letters(client, job_ids: tuple[str, ...], everything: bool, **filters) -> None:
    """Erase them and what they left; prints their ids."""
    _chosen(job_ids, everything, filters)
    for job_id in job_ids:
        client().delete(job_id)
    for job_id in job_ids or client().purge_dead_letters(**filters):
        click.echo(job_id)


@main.command()
@click.pass_obj
def models(client) -> None:
    """List what can be asked for."""
    table(("kind", "name", "default", "pool", "description"), client().models())


@main.command()
@click.argument("job_id")
@click.argument("names", nargs=-1)
@click.option("-o", "--output", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.pass_obj
def download(client, job_id: str, names: tuple[str, ...], folder: Path) -> None:
    """Save outputs of a job: those named, or all. One that fails stops none of the others."""
    for path in client().download_all(job_id, folder, names):
        click.echo(path)


main.add_command(keys)
for command in (explain, tenants, pause, resume, pauses):
    main.add_command(command)


def _wait(client: Client, job_id: str) -> Job:
    with watching(job_id) as tell:
        return client.wait(job_id, on_change=lambda job: tell(_line(job)))


def _line(job: Job) -> str:
    progress = f" {100 * job['progress']:.0f} %" if job["progress"] is not None else ""
    place = f", place {job['queue_position']}" if job["queue_position"] else ""
    return f"{job['id']} {job['phase'] or job['status']}{progress}{place} {job['message'] or ''}"


def _end(job: Job) -> None:
    """Show a job that was waited for; the exit status says whether it succeeded."""
    show(job)
    if job["status"] != "succeeded":
        seen = out.is_terminal or not job["error"]  # the error's words stand in what was just shown
        say(f"{job['id']} {job['status']}" + ("" if seen else f": {job['error']['detail']} ({job['error']['code']})"))
        click.get_current_context().exit(NOT_SUCCEEDED)


if __name__ == "__main__":
    main()
