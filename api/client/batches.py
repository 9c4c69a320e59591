"""`backlot batches`: submits many jobs in one request."""

import json
from typing import IO

import click

from api.client.credentials import Connect
from api.client.terminal import REFUSED, say

REFUSALS_SHOWN = 20
"""Refused lines of which the words go to standard error."""


@click.group()
def batches() -> None:
    """Submit many jobs in one request."""


@batches.command("submit")
@click.argument("file", type=click.File("rb"))
@click.option("--idempotency-key", help="the same file with the same key makes its jobs once")
@click.pass_obj
def submit_batch(connect: Connect, /, file: IO[bytes], idempotency_key: str | None) -> None:
    """Submit a file of JSON lines, each a job's request as the API takes it; `-` is standard input.

    Prints an outcome a line, in the order of the file: its number, and the job or the problem. A refused line stops no
    other.
    """
    refused = []
    outcomes = connect().submit_batch(file.read(), idempotency_key)
    for outcome in outcomes:
        click.echo(json.dumps(outcome))
        if "problem" in outcome:
            refused.append(outcome)
    for outcome in refused[:REFUSALS_SHOWN]:
        say(f"line {outcome['line']}: {outcome['problem']['code']}: {outcome['problem']['detail']}")
    say(f"{len(outcomes) - len(refused):,} accepted, {len(refused):,} refused")
    if refused:
        click.get_current_context().exit(REFUSED)
