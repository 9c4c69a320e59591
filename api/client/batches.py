"""`backlot batches`: submits many jobs in one request, and follows them together."""

import json
from typing import IO, Any

import click

from api.client.credentials import Connect
from api.client.terminal import REFUSED, say, show, table


@click.group()
def batches() -> None:
    """Submit many jobs in one request, and follow them together."""


@batches.command("submit")
@click.argument("file", type=click.File("rb"))
@click.option("--idempotency-key", help="the same file with the same key makes its jobs once")
@click.option("--on-error", type=click.Choice(["skip", "reject"]), default="skip", show_default=True)
@click.option("--defaults", help="JSON object with fields that lines may leave out")
@click.option("--webhook", help="https URL that is told by POST when all jobs have ended")
@click.pass_obj
def submit_batch(
    connect: Connect,
    /,
    file: IO[bytes],
    idempotency_key: str | None,
    on_error: str,
    defaults: str | None,
    webhook: str | None,
) -> None:
    """Submit a file of JSON lines, each a job's request as the API takes it; `-` is standard input.

    Prints the batch. A refused line stops no other, unless --on-error is reject.
    """
    batch = connect().submit_batch(file.read(), idempotency_key, on_error, _object(defaults), webhook)
    show(batch)
    for refused in batch["errors"]:
        say(f"line {refused['line']}: {refused['code']}: {refused['detail']}")
    say(f"{batch['lines'] - batch['refused']:,} accepted, {batch['refused']:,} refused")
    if batch["refused"]:
        click.get_current_context().exit(REFUSED)


@batches.command("list")
@click.option("--limit", default=20, show_default=True, help="batches at most")
@click.pass_obj
def list_batches(connect: Connect, /, limit: int) -> None:
    """List batches, newest first."""
    found = [batch for batch, _ in zip(connect().batches(limit=min(limit, 100)), range(limit), strict=False)]
    table(("id", "status", "lines", "refused", "created_at"), found)


@batches.command("get")
@click.argument("batch_id")
@click.pass_obj
def get_batch(connect: Connect, batch_id: str) -> None:
    """Show a batch: how many of its jobs are in each status."""
    show(connect().batch(batch_id))


@batches.command("results")
@click.argument("batch_id")
@click.option("--after", default=0, help="only lines behind this one")
@click.pass_obj
def batch_results(connect: Connect, batch_id: str, after: int) -> None:
    """Print a line of JSON for each line of a batch: its job as it is now, or its error."""
    for line in connect().batch_results(batch_id, after):
        click.echo(json.dumps(line))


@batches.command("cancel")
@click.argument("batch_id")
@click.pass_obj
def cancel_batch(connect: Connect, batch_id: str) -> None:
    """Cancel all jobs of a batch that have not ended."""
    show(connect().cancel_batch(batch_id))


@batches.command("delete")
@click.argument("batch_id")
@click.pass_obj
def delete_batch(connect: Connect, batch_id: str) -> None:
    """Erase a batch that is done, its jobs and their outputs."""
    connect().delete_batch(batch_id)


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        found = None if text is None else json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"--defaults is not JSON: {error}") from error
    if found is not None and not isinstance(found, dict):
        raise click.BadParameter('--defaults is a JSON object, such as {"kind": "generate"}')
    return found
