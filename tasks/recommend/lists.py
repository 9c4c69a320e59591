"""Lists in cells: genres, directors and actors, parted as the column really parts them.

A cell may be a list of JSON or Python (`["War"]`, `[{"id": 18, "name": "Drama"}]`), or names with a mark between them.
Which mark, the whole column says: the one that most cells have, '|' before ';' before ',' before '/'. It knows texts,
not what they name.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.recommend.ids import MISSING

NO_GENRE = MISSING | {"(no genres listed)", "-", "--"}
MARKS = ("|", ";", ",", "/")
SHARE = 0.1  # of the cells with any mark: from which on a mark counts before one that more cells have
LITERAL_MAX = 100_000  # characters of a list
NAMES = ("name", "title", "label", "genre", "description")
"""Keys under which an object of a list has its name."""
SUFFIX = re.compile(r"(jr|sr|ii|iii|iv|esq|inc|ltd|llc|m\.?d|ph\.?d)\.?", re.IGNORECASE)


def parted(cells: Sequence[str | None], people: bool = False) -> dict[str, tuple[str, ...] | None]:
    """The names in each different cell; None where a list holds something else than names.

    `people`: the names are of people, whose own comma ('Coen, Joel') must not part them.
    """
    distinct = {cell for cell in cells if cell}
    lists = {cell: _literal(cell) for cell in distinct if cell.lstrip()[:1] in "[{"}
    plain = [cell for cell in distinct if lists.get(cell) is None]
    mark = _mark(plain, people)
    found: dict[str, tuple[str, ...] | None] = {}
    for cell in distinct:
        value = lists.get(cell)
        names = _names(value) if value is not None else _split(cell, mark)
        found[cell] = None if names is None else _clean(names)
    return found


def _clean(names: Iterable[str]) -> tuple[str, ...]:
    lines = (" ".join(name.split()) for name in names)
    return tuple(dict.fromkeys(name for name in lines if name.lower() not in NO_GENRE))


def _split(cell: str, mark: str) -> list[str]:
    parts = [part.strip() for part in cell.split(mark)] if mark else [cell]
    joined: list[str] = []
    for part in parts:
        if mark == "," and joined and SUFFIX.fullmatch(part):
            joined[-1] += f", {part}"
        else:
            joined.append(part)
    return joined


def _literal(cell: str) -> list | None:
    """The list that a cell writes out; None where it writes none."""
    if len(cell) > LITERAL_MAX:
        return None
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(cell.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    if isinstance(value, set | tuple):
        value = [*value]
    return value if isinstance(value, list) else [value] if isinstance(value, dict) else None


def _names(values: Sequence[Any]) -> list[str] | None:
    found = []
    for value in values:
        if isinstance(value, Mapping):
            value = next((value[key] for key in NAMES if key in value), value)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        found.append(str(value))
    return found


def _mark(cells: Sequence[str], people: bool) -> str:
    """'' where nothing parts names."""
    counts = Counter(mark for cell in cells for mark in MARKS if mark in cell)
    if not counts:
        return ""
    most = max(counts.values())
    for mark in MARKS:
        if counts[mark] >= max(1, SHARE * most) and _parts(cells, mark, people):
            return mark
    return ""


def _parts(cells: Sequence[str], mark: str, people: bool) -> bool:
    """Whether a mark stands between names, and not inside one."""
    if mark in "|;":
        return True
    marked = [_split(cell, mark) for cell in cells if mark in cell]
    parts = [part for split in marked for part in split if part]
    if people:
        return mark == "," and sum(" " in part for part in parts) > len(parts) / 2
    cells_with = Counter(part.casefold() for cell in cells for part in {*_split(cell, mark)})
    known = sum(cells_with[part.casefold()] > 1 for part in parts)
    # 'Action/Adventure' may be one genre: only where most parts are names elsewhere, too
    return known > 0 if mark == "," else known > len(parts) / 2
