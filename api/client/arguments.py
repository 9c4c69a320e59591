"""Reads the command line's arguments: name=text, name=@file, name:=JSON. Knows no command and no request."""

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

KEY_FILE = click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="BACKLOT_KEYS_FILE",
    default=Path(".backlot/keys.json"),
    show_default=True,
    help="the key file; BACKLOT_KEYS_FILE",
)
ARGUMENT = re.compile(r"(?P<name>[^=:]+)(?P<sign>:?=)(?P<text>.*)", re.DOTALL)


Named = tuple[str, Any]
"""A name and its value."""


class Input(click.ParamType[Named]):
    """An input. A text is never read as JSON; JSON is written name:=JSON."""

    name = "name=text|name=@file|name:=json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Named:
        name, is_json, text = _split(self, value, param, ctx)
        if is_json:
            return name, _json(self, name, text, param, ctx)
        if text == "@-":
            return name, _standard_input(self, param, ctx)
        if not text.startswith("@"):
            return name, text
        path = Path(text[1:])
        if not path.is_file():
            text_instead = f"{name}:={json.dumps(text, ensure_ascii=False)}"
            self.fail(f"there is no file {path}; for the text itself write {text_instead!r}", param, ctx)
        return name, path


class Param(click.ParamType[Named]):
    """A parameter. A value that reads as JSON is JSON, any other is text: seed=3, language=en; a text of digits is
    written name:='"1984"'."""

    name = "name=value|name:=json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Named:
        name, is_json, text = _split(self, value, param, ctx)
        if is_json:
            return name, _json(self, name, text, param, ctx)
        try:
            return name, parse(text)
        except ValueError:
            return name, text


def parse(text: str) -> Any:
    """The JSON value. Errors: ValueError, also for values that cannot be sent: NaN, infinity, a lone surrogate."""
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("too many levels") from error
    return value


def grouped(pairs: tuple[Named, ...]) -> dict[str, Any]:
    """Inputs by name; a repeated name is a list. Errors: click.UsageError for files among texts."""
    values: dict[str, list[Any]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    for name, given in values.items():
        if len({isinstance(value, Path) for value in given}) > 1:
            raise click.UsageError(f"{name} is given as a file and as a text; a list is of one sort")
    return {name: given if len(given) > 1 else given[0] for name, given in values.items()}


def once(pairs: tuple[Named, ...], option: str) -> dict[str, Any] | None:
    """Parameters by name; None where there are none. Errors: click.UsageError for a name given twice."""
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise click.UsageError(f"{option} gives {', '.join(twice)} more than once")
    return dict(pairs) or None


def _split(
    kind: click.ParamType[Named], value: str, param: click.Parameter | None, ctx: click.Context | None
) -> tuple[str, bool, str]:
    """(name, is the text JSON, text)."""
    found = ARGUMENT.fullmatch(value)
    if not found:
        kind.fail(f"{value!r} is not {kind.name.replace('|', ', ')}", param, ctx)
    try:
        value.encode()
    except UnicodeEncodeError:
        kind.fail(
            f"{found['name']!r} has bytes that are not text in this locale's encoding; "
            f"send them as a file: {found['name']}=@file",
            param,
            ctx,
        )
    return found["name"], found["sign"] == ":=", found["text"]


def _json(
    kind: click.ParamType[Named], name: str, text: str, param: click.Parameter | None, ctx: click.Context | None
) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        kind.fail(f"{name}:= wants JSON, and {text!r:.80} is none: {error}", param, ctx)


def _standard_input(kind: click.ParamType[Named], param: click.Parameter | None, ctx: click.Context | None) -> Path:
    """Standard input as a temporary file, which a retry can send again. It is deleted when the command ends."""
    root = (ctx or click.get_current_context()).find_root()
    if "stdin" in root.meta:
        kind.fail("@- is standard input, which can be read once", param, ctx)
    root.meta["stdin"] = "read"
    folder = tempfile.TemporaryDirectory(prefix="backlot-")
    root.call_on_close(folder.cleanup)
    path = Path(folder.name, "stdin")
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path
