"""`backlot`, the command line: a thin layer over the client, for people and shell scripts.

    backlot submit transcribe audio=@talk.mp3 -p language=en --wait

Where and who is in BACKLOT_URL and BACKLOT_API_KEY. Answers go to standard output, progress and errors to
standard error; the exit status is 0 if all went well (with --wait: if the job succeeded), else 1.
"""

import functools
import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api import keyfile
from api.client import ApiError, Client, Job

out = Console()
err = Console(stderr=True)


class Pair(click.ParamType):
    """name=value. A value that is JSON is taken as JSON, any other as text."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        name, equals, text = value.partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not name=value", param, ctx)
        try:
            return name, json.loads(text)
        except ValueError:
            return name, text


class Input(Pair):
    """name=text, name=URL, or name=@file."""

    name = "name=value|name=@file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        name, _, text = value.partition("=")
        if text.startswith("@"):
            path = Path(text[1:])
            if not path.is_file():
                self.fail(f"there is no file {path}", param, ctx)
            return name, path
        name, parsed = super().convert(value, param, ctx)
        return name, parsed if isinstance(parsed, list | dict) else text


class Refusals(click.Group):
    """Turns refusals into one line and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ApiError as error:
            err.print(f"[red]{error.code}[/]: {escape(error.detail)}", highlight=False)
            for one in error.problem.get("errors", ()):
                err.print(f"  {one['pointer']}: {one['detail']}", highlight=False, markup=False)
            ctx.exit(1)


@click.group(cls=Refusals)
@click.option("--url", envvar="BACKLOT_URL", help="the API; BACKLOT_URL")
@click.pass_context
def main(ctx: click.Context, url: str | None) -> None:
    """Submit jobs to Backlot, look at them, fetch what they made. The key is read from BACKLOT_API_KEY alone, as
    every process list shows a command line."""
    ctx.obj = functools.cache(lambda: Client(url))


@main.command()
@click.argument("kind")
@click.argument("inputs", nargs=-1, type=Input())
@click.option("-p", "--param", "params", multiple=True, type=Pair(), help="a parameter of the kind")
@click.option("--metadata", multiple=True, type=Pair(), help="your own, given back as it came")
@click.option("--model", help="a model of the kind; its default where left out")
@click.option("--priority", type=int)
@click.option("--start-at", help="not before this time (RFC 3339)")
@click.option("--idempotency-key", help="the same submit with the same key makes one job")
@click.option("--wait", is_flag=True, help="until it is done")
@click.option("--output", "folder", type=click.Path(file_okay=False, path_type=Path), help="save outputs here (waits)")
@click.pass_obj
def submit(client, kind, inputs, params, metadata, wait, folder, **rest) -> None:
    """Submit a job, e.g. `backlot submit transcribe audio=@talk.mp3 --wait`."""
    job = client().submit(kind, _inputs(inputs), params=dict(params) or None, metadata=dict(metadata) or None, **rest)
    if not (wait or folder):
        return _show(job)
    job = _wait(client(), job["id"])
    for output in job["outputs"] if folder else ():
        folder.mkdir(parents=True, exist_ok=True)
        err.print(str(client().download(job["id"], output["name"], folder)), highlight=False)
    _end(job)


@main.command()
@click.argument("job_id")
@click.pass_obj
def get(client, job_id: str) -> None:
    """Show a job."""
    _show(client().get(job_id))


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
        _table(("id", "kind", "model", "status", "created_at", "message"), jobs)


@main.command()
@click.argument("job_id")
@click.pass_obj
def cancel(client, job_id: str) -> None:
    """Ask a job to stop."""
    _show(client().cancel(job_id))


@main.command()
@click.argument("job_id")
@click.pass_obj
def retry(client, job_id: str) -> None:
    """Do an ended job once more, as a new job."""
    _show(client().retry(job_id))


@main.command()
@click.argument("job_id")
@click.pass_obj
def delete(client, job_id: str) -> None:
    """Erase an ended job and its outputs."""
    client().delete(job_id)


@main.group("dead-letters")
def dead_letters() -> None:
    """Jobs that failed after their last attempt for a reason that may have passed."""


def _which(command):
    """The options that choose dead letters."""
    for option in (click.option("--kind"), click.option("--model"),
                   click.option("--error-code", help="e.g. worker_lost"),
                   click.option("--older-than-s", type=float, help="ended so many seconds ago, or more")):
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
    _table(("id", "kind", "model", "completed_at", "error"), told)


@dead_letters.command("show")
@click.argument("job_id")
@click.pass_obj
def show_dead_letter(client, job_id: str) -> None:
    """Show one, with each of its attempts."""
    _show(client().get(job_id))


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
    _table(("kind", "name", "default", "pool", "description"), client().models())


@main.command()
@click.argument("job_id")
@click.argument("names", nargs=-1)
@click.option("-o", "--output", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.pass_obj
def download(client, job_id: str, names: tuple[str, ...], folder: Path) -> None:
    """Save outputs of a job: those named, or all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or [output["name"] for output in client().get(job_id)["outputs"]]:
        click.echo(client().download(job_id, name, folder))


@main.group()
@click.option("--file", "path", type=click.Path(dir_okay=False, path_type=Path), envvar="BACKLOT_KEYS_FILE",
              default=Path(".backlot/keys.json"), show_default=True, help="the key file; BACKLOT_KEYS_FILE")
@click.pass_context
def keys(ctx: click.Context, path: Path) -> None:
    """Add, list and remove API keys, in the key file itself."""
    ctx.obj = path


@keys.command("add")
@click.option("--tenant", required=True, help="whose jobs: a-z, 0-9 and -, at most 40")
@click.option("--scope", type=click.Choice(["tenant", "operator"]), default="tenant", show_default=True)
@click.option("--name", default="", help="to know it by")
@click.pass_obj
def add_key(path: Path, tenant: str, scope: str, name: str) -> None:
    """Make a key and print it, once: the file keeps its hash only."""
    try:
        click.echo(keyfile.add(path, tenant, scope, name))
    except ValueError as error:
        raise click.ClickException(str(error)) from error


@keys.command("list")
@click.pass_obj
def list_keys(path: Path) -> None:
    """List the keys by their hashes."""
    try:
        known = keyfile.read(path)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    _table(("sha256", "tenant", "scope", "name"), [{**key.model_dump(), "sha256": key.sha256[:12]} for key in known])


@keys.command("remove")
@click.argument("which")
@click.pass_obj
def remove_key(path: Path, which: str) -> None:
    """Take a key back: its name, or the beginning of its hash. It is refused a second later."""
    try:
        gone = keyfile.remove(path, which)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"removed {gone.sha256[:12]} {gone.tenant} {gone.name}")


def _inputs(pairs: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """A name given more than once is a list."""
    grouped: dict[str, list] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in grouped.items()}


def _wait(client: Client, job_id: str) -> Job:
    with err.status(job_id) as status:
        return client.wait(job_id, on_change=lambda job: status.update(escape(_line(job))))


def _line(job: Job) -> str:
    progress = f" {100 * job['progress']:.0f} %" if job["progress"] is not None else ""
    place = f", place {job['queue_position']}" if job["queue_position"] else ""
    return f"{job['id']} {job['phase'] or job['status']}{progress}{place} {job['message'] or ''}"


def _show(job: Job) -> None:
    out.print_json(json.dumps(job)) if out.is_terminal else click.echo(json.dumps(job))


def _end(job: Job) -> None:
    """Show a job that was waited for; the exit status says whether it succeeded."""
    _show(job)
    if job["status"] != "succeeded":
        detail = f": {job['error']['detail']}" if job["error"] else ""
        err.print(f"{job['id']} {job['status']}{detail}", highlight=False, markup=False)
        click.get_current_context().exit(1)


def _table(names: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """A table for a person; for a pipe, fields between tabs."""
    cells = [["" if row[name] is None else str(row[name]) for name in names] for row in rows]
    if not out.is_terminal:
        for row in cells:
            click.echo("\t".join(row))
        return
    table = Table(box=None)
    for name in names:
        table.add_column(name, no_wrap=name in ("id", "kind"))
    for row in cells:
        table.add_row(*map(escape, row))
    out.print(table)


if __name__ == "__main__":
    main()
