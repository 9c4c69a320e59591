"""Reads the command line's words: name=text, name=@file, name:=JSON. Knows no command and no request."""

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

WORD = re.compile(r"(?P<name>[^=:]+)(?P<sign>:?=)(?P<text>.*)", re.DOTALL)


class Input(click.ParamType):
    """An input. A text stays the text that it is, whatever it looks like; JSON is written name:=JSON."""

    name = "name=text|name=@file|name:=json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
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


class Param(click.ParamType):
    """A parameter. What reads as JSON is JSON, any other value is text: seed=3, language=en; a text of digits is
    name:='"1984"'."""

    name = "name=value|name:=json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        name, is_json, text = _split(self, value, param, ctx)
        if is_json:
            return name, _json(self, name, text, param, ctx)
        try:
            return name, parse(text)
        except ValueError:
            return name, text


def parse(text: str) -> Any:
    """The JSON value. Errors: ValueError, also for what could not be sent: NaN, infinity, half a surrogate pair."""
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("too many levels") from error
    return value


def grouped(pairs: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """Inputs by name; a name given more than once is a list. Errors: click.UsageError for files among texts."""
    values: dict[str, list] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    for name, given in values.items():
        if len({isinstance(value, Path) for value in given}) > 1:
            raise click.UsageError(f"{name} is given as a file and as a text; a list is of one sort")
    return {name: given if len(given) > 1 else given[0] for name, given in values.items()}


def once(pairs: tuple[tuple[str, Any], ...], option: str) -> dict[str, Any] | None:
    """Parameters by name; None where there are none. Errors: click.UsageError for a name given twice."""
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise click.UsageError(f"{option} gives {', '.join(twice)} more than once")
    return dict(pairs) or None


def _split(kind: click.ParamType, value: str, param: Any, ctx: Any) -> tuple[str, bool, str]:
    """(name, whether JSON is meant, text)."""
    found = WORD.fullmatch(value)
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


def _json(kind: click.ParamType, name: str, text: str, param: Any, ctx: Any) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        kind.fail(f"{name}:= wants JSON, and {text!r:.80} is none: {error}", param, ctx)


def _standard_input(kind: click.ParamType, param: Any, ctx: click.Context) -> Path:
    """Standard input as a file, for as long as the command runs."""
    root = ctx.find_root()
    if "stdin" in root.meta:
        kind.fail("@- is standard input, which can be read once", param, ctx)
    root.meta["stdin"] = "read"
    folder = tempfile.TemporaryDirectory(prefix="backlot-")
    root.call_on_close(folder.cleanup)
    path = Path(folder.name, "stdin")
    with path.open("wb") as file:
        shutil.copyfileobj(click.get_binary_stream("stdin"), file)
    return path
