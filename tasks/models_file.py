"""A models.toml as it was written: its tables, and where each key stands, so that an error leads to file, line and key.

It knows TOML and nothing of what the keys mean.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
TABLE = re.compile(r"\s*\[\[?\s*[\"']?([\w.-]+)[\"']?\s*\]\]?")
KEY = re.compile(r"\s*[\"']?([\w-]+)[\"']?\s*[=.]")


class Misconfigured(ValueError):
    """The configuration is invalid: one line a mistake, with file, line and key, or the variable."""


@dataclass(frozen=True)
class ModelsFile:
    """`entries` has, for each [[model]], the line of its header under "" and those of its keys; `others` the lines of
    other tables and keys."""

    path: Path
    tables: dict[str, Any]
    entries: tuple[dict[str, int], ...]
    others: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> "ModelsFile":
        """Reads and parses the file. Errors: Misconfigured."""
        try:
            text = path.read_text(encoding="utf-8-sig")
            return cls(path, tomllib.loads(text), *_lines(text))
        except OSError as error:
            raise Misconfigured(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise Misconfigured(f"{path}: it is not UTF-8: byte {error.start}") from error
        except tomllib.TOMLDecodeError as error:
            place = PLACE.search(str(error))
            at = f":{place[1]}:{place[2]}" if place and place[1] else ""
            raise Misconfigured(f"{path}{at}: {PLACE.sub('', str(error))}") from error

    def fault(self, number: int, key: str, what: str) -> str:
        """The error line for a key of entry `number`, from 0."""
        line, model = "", ""
        if number < len(self.entries):
            line = f":{self.entries[number].get(key, self.entries[number][''])}"
        entries = self.tables.get("model")
        if isinstance(entries, list) and number < len(entries) and isinstance(entries[number], dict):
            model = f" {entries[number].get('kind', '?')}/{entries[number].get('name', '?')}:"
        return f"{self.path}{line}:{model}{f' {key}:' if key else ''} {what}"

    def faults(self, error: ValidationError, known: Iterable[str]) -> Misconfigured:
        """Converts all errors of a pydantic validation; `known` are the keys that an entry may have."""
        found = []
        for one in error.errors(include_url=False):
            table, *rest = (str(part) for part in one["loc"])
            if table != "model" or not rest:
                line = f":{self.others[table]}" if table in self.others else ""
                found.append(f"{self.path}{line}: {table}: {_what(one, ['model'])}")
            else:
                found.append(self.fault(int(rest[0]), rest[1] if rest[1:] else "", _what(one, known)))
        return Misconfigured("\n".join(found))


def like(name: str, known: Iterable[str]) -> str:
    """The hint '; did you mean X?', or an empty string where no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close else ""


def _what(one: Any, known: Iterable[str]) -> str:
    if one["type"] == "extra_forbidden":
        return f"there is no such key{like(str(one['loc'][-1]), known)}"
    if one["type"] == "missing":
        return "it is missing"
    return f"{one['msg'].removeprefix('Value error, ')} (it is {one['input']!r:.80})"


def _lines(text: str) -> tuple[tuple[dict[str, int], ...], dict[str, int]]:
    """Line numbers of the keys, from 1; multi-line strings are skipped."""
    entries: list[dict[str, int]] = []
    others: dict[str, int] = {}
    here, within = others, ""
    for number, line in enumerate(text.split("\n"), 1):
        opened = within
        for quotes in re.findall(r'"""|\'\'\'', line):
            within = "" if within == quotes else within or quotes
        if opened:
            continue
        if table := TABLE.match(line):
            if table[1] == "model":
                entries.append({"": number})
                here = entries[-1]
            else:
                others.setdefault(table[1], number)
                here = {}
        elif key := KEY.match(line):
            here.setdefault(key[1], number)
    return tuple(entries), others
