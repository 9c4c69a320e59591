"""`backlot keys`: the API keys of a key file. The API, asked with an operator's key, knows when each was last used."""

import re
from pathlib import Path
from typing import Any

import click

from api import keyfile
from api.client.arguments import KEY_FILE
from api.client.credentials import operator
from api.client.terminal import say, table
from tasks.registry import KINDS

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
COLUMNS = ("id", "tenant", "scope", "access", "kinds", "name", "created_at", "expires_at")


class Duration(click.ParamType[float]):
    """Seconds, from 90s, 15m, 12h or 30d."""

    name = "30d|12h|15m|90s"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"(\d{1,6})([smhd])", str(value))
        if not match:
            self.fail(f"{value!r} is no duration such as 30d, 12h, 15m or 90s", param, ctx)
        return int(match[1]) * UNITS_S[match[2]]


@click.group()
@KEY_FILE
@click.pass_context
def keys(ctx: click.Context, path: Path) -> None:
    """Add, list, rotate and remove API keys.

    These commands change the key file itself."""
    ctx.obj = path


@keys.command("add")
@click.argument("tenant")
@click.option("--scope", type=click.Choice(["tenant", "operator"]), default="tenant", show_default=True)
@click.option("--name", default="", help="a name for people")
@click.option("--read-only", "access", flag_value="read", default="full", help="the key may read and do nothing else")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="a kind it may submit; default: all")
@click.option("--expires", "lives_s", type=Duration(), help="the key expires after this time")
@click.pass_obj
def add_key(path: Path, /, tenant: str, **limits: Any) -> None:
    """Make a key for a tenant (a-z, 0-9 and -, at most 40) and print it, once: the file keeps its hash only."""
    try:
        click.echo(keyfile.add(path, tenant, **limits))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    say(f"added to {path.absolute()}; the API that reads this file takes it within a second")


@keys.command("list")
@click.option("--last-use", is_flag=True, help="add the last use, which the API tells the BACKLOT_OPERATOR_KEY")
@click.pass_obj
def list_keys(path: Path, last_use: bool) -> None:
    """List the keys by the beginning of their hashes."""
    try:
        rows = [{"id": key.id, **key.model_dump(mode="json")} for key in keyfile.read(path)]
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    columns: tuple[str, ...] = COLUMNS
    if last_use:
        used = {key["id"]: key["last_used_at"] for key in operator().api_keys()}
        rows = [{**row, "last_used_at": used.get(row["id"])} for row in rows]
        columns = (*COLUMNS, "last_used_at")
    table(columns, [{**row, "kinds": ",".join(row["kinds"] or ["all"])} for row in rows])


@keys.command("rotate")
@click.argument("which")
@click.option(
    "--overlap",
    "overlap_s",
    type=Duration(),
    default="1d",
    show_default=True,
    help="the old key stays valid for this time",
)
@click.pass_obj
def rotate_key(path: Path, which: str, overlap_s: float) -> None:
    """Replace a key (its name, or the beginning of its hash) by a new one, and print that, once. The new key takes
    over name and rights; the old one expires after the overlap."""
    try:
        old, new = keyfile.rotate(path, which, overlap_s)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(new)
    say(f"the old key {old.id} is good until {old.expires_at:%Y-%m-%dT%H:%M:%SZ}")


@keys.command("remove")
@click.argument("which")
@click.pass_obj
def remove_key(path: Path, which: str) -> None:
    """Revoke a key: its name, or the beginning of its hash. The API refuses it within a second."""
    try:
        gone = keyfile.remove(path, which)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"removed {gone.id} {gone.tenant} {gone.name}")
