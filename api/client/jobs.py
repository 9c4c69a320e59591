"""`backlot submit`, `get`, `wait`, `events`, `logs`, `list`, `amend`, `cancel`, `retry`, `delete`, `download`."""

import json
import math
from pathlib import Path
from typing import Any

import click

from api.client import Client, Job
from api.client.arguments import Input, Param, grouped, once
from api.client.credentials import Connect
from api.client.terminal import NOT_SUCCEEDED, out, say, show, table, watching

LIST_MAX = 100
"""Jobs of one page, the API's own limit."""


@click.command()
@click.argument("kind")
@click.argument("inputs", nargs=-1, type=Input())
@click.option("-p", "--param", "params", multiple=True, type=Param(), help="a parameter of the kind")
@click.option("--metadata", multiple=True, type=Param(), help="your own data, returned unchanged with the job")
@click.option("--model", help="a model of the kind; its default where left out")
@click.option("--priority", type=int, help="-10 to 10; higher starts sooner")
@click.option("--start-at", help="not before this time (RFC 3339)")
@click.option("--webhook", help="https URL that is told of the end by POST")
@click.option("--deliver", help="s3://bucket/prefix/ of your own that the outputs are copied to")
@click.option(
    "--cache", is_flag=True, default=None, help="answered by a job of yours that did the same, where there is one"
)
@click.option("--idempotency-key", help="the same submit with the same key makes one job")
@click.option("--wait", is_flag=True, help="wait until the job is done")
@click.option("--output", "folder", type=click.Path(file_okay=False, path_type=Path), help="save outputs here (waits)")
@click.pass_obj
def submit(
    connect: Connect,
    /,
    kind: str,
    inputs: tuple[tuple[str, Any], ...],
    params: tuple[tuple[str, Any], ...],
    metadata: tuple[tuple[str, Any], ...],
    webhook: str | None,
    deliver: str | None,
    wait: bool,
    folder: Path | None,
    **rest: Any,
) -> None:
    """Submit a job: its kind, and its inputs.

    For example: backlot submit transcribe audio=@talk.mp3 --wait

    An input is a text or URL (name=text), a file (name=@file, name=@- for standard input) or JSON
    (name:='["Alien"]'); one that is given more than once is a list. A parameter's value that reads as JSON is JSON.
    """
    client = connect()
    given = {"params": once(params, "-p"), "metadata": once(metadata, "--metadata"), **rest}
    given |= {"webhook": webhook and {"url": webhook}, "output": deliver and {"url": deliver}}
    job = client.submit(kind, grouped(inputs), **given)
    if not (wait or folder):
        return show(job)
    job = _wait(client, job["id"])
    for path in client.download_all(job["id"], folder) if folder and job["outputs"] else ():
        say(str(path))
    _show_end(job)


@click.command()
@click.argument("job_id")
@click.pass_obj
def get(connect: Connect, job_id: str) -> None:
    """Show a job."""
    show(connect().get(job_id))


@click.command()
@click.argument("job_id")
@click.pass_obj
def wait(connect: Connect, job_id: str) -> None:
    """Wait until a job is done."""
    _show_end(_wait(connect(), job_id))


@click.command()
@click.argument("job_id")
@click.pass_obj
def events(connect: Connect, job_id: str) -> None:
    """Print a job's events until it is done: JSON, one a line."""
    for name, data in connect().events(job_id):
        click.echo(json.dumps({"event": name, "data": data}))
        if name == "done" and data["status"] != "succeeded":
            click.get_current_context().exit(NOT_SUCCEEDED)


@click.command()
@click.argument("job_id")
@click.option("--attempt", type=int, help="number of the attempt; the last by default")
@click.option("--follow", is_flag=True, help="go on until the job is done")
@click.pass_obj
def logs(connect: Connect, job_id: str, attempt: int | None, follow: bool) -> None:
    """Print a job's log: what its model wrote."""
    if follow and attempt is not None:
        raise click.UsageError("--follow prints all attempts; leave --attempt out")
    client = connect()
    for piece in client.follow_logs(job_id) if follow else (client.logs(job_id, attempt),):
        click.echo(piece, nl=False)


@click.command("list")
@click.option("--status", help="such as queued, running, failed")
@click.option("--kind")
@click.option("--model")
@click.option("--limit", default=20, show_default=True, help="jobs at most")
@click.option("--json", "as_json", is_flag=True, help="one job a line")
@click.pass_obj
def list_jobs(connect: Connect, /, limit: int, as_json: bool, **filters: str | None) -> None:
    """List jobs, newest first."""
    pages = connect().jobs(limit=min(limit, LIST_MAX), **filters)
    jobs = [job for job, _ in zip(pages, range(limit), strict=False)]
    if as_json:
        for job in jobs:
            click.echo(json.dumps(job))
    else:
        table(("id", "kind", "model", "status", "created_at", "message"), jobs)


@click.command()
@click.argument("job_id")
@click.argument("changes", nargs=-1, type=Param())
@click.option("--metadata", multiple=True, type=Param(), help="your own data; null takes a name away")
@click.pass_obj
def amend(
    connect: Connect, job_id: str, changes: tuple[tuple[str, Any], ...], metadata: tuple[tuple[str, Any], ...]
) -> None:
    """Change a job that waits: its priority, start_at, clocks, or metadata.

    For example: backlot amend job_... priority=5 queue_ttl_s=3600 start_at=null"""
    patch = once(changes, "a change") or {}
    if metadata:
        patch["metadata"] = once(metadata, "--metadata")
    show(connect().amend(job_id, **patch))


@click.command()
@click.argument("job_id")
@click.pass_obj
def cancel(connect: Connect, job_id: str) -> None:
    """Ask a job to stop."""
    show(connect().cancel(job_id))


@click.command()
@click.argument("job_id")
@click.option("-p", "--param", "params", multiple=True, type=Param(), help="another value of a parameter; null: none")
@click.option("--model", help="another model of the kind")
@click.option("--priority", type=int, help="-10 to 10; higher starts sooner")
@click.pass_obj
def retry(
    connect: Connect, job_id: str, params: tuple[tuple[str, Any], ...], model: str | None, priority: int | None
) -> None:
    """Submit the request of an ended job again, as a new job, or with changes."""
    changes = {"params": once(params, "-p"), "model": model, "priority": priority}
    show(connect().retry(job_id, **{name: value for name, value in changes.items() if value is not None}))


@click.command()
@click.argument("job_id")
@click.pass_obj
def delete(connect: Connect, job_id: str) -> None:
    """Erase an ended job and its outputs."""
    connect().delete(job_id)


@click.command()
@click.argument("job_id")
@click.argument("names", nargs=-1)
@click.option("-o", "--output", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.pass_obj
def download(connect: Connect, job_id: str, names: tuple[str, ...], folder: Path) -> None:
    """Save outputs of a job: those named, or all. A failure stops none of the others."""
    for path in connect().download_all(job_id, folder, names):
        click.echo(path)


def _wait(client: Client, job_id: str) -> Job:
    with watching(job_id) as update:
        return client.wait(job_id, on_change=lambda job: update(_progress_line(job)))


def _progress_line(job: Job) -> str:
    progress = f" {100 * job['progress']:.0f} %" if job["progress"] is not None else ""
    place = f", place {job['queue_position']}" if job["queue_position"] else ""
    return f"{job['id']} {job['phase'] or job['status']}{progress}{place}{_eta(job)} {job['message'] or ''}"


def _eta(job: Job) -> str:
    """The estimate in words; '' where an older server or nothing tells one."""
    eta = job.get("eta_s")
    return f", {eta['until']} in {eta['low']:.0f} to {math.ceil(eta['high'])} s" if eta else ""


def _show_end(job: Job) -> None:
    """Shows a job that was waited for. The exit status says whether it succeeded."""
    show(job)
    if job["status"] != "succeeded":
        was_shown = out.is_terminal or not job["error"]  # on a terminal the job above has the error in colours
        why = "" if was_shown else f": {job['error']['detail']} ({job['error']['code']})"
        say(f"{job['id']} {job['status']}{why}")
        click.get_current_context().exit(NOT_SUCCEEDED)
