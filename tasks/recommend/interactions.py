"""Who chose what: the caller's table of interactions, cleaned, as arrays.

It knows columns and rules of cleaning; of files it knows as much as tables.py tells, of models nothing.
"""

import math
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import InvalidInput, TooLarge
from tasks.recommend import tables
from tasks.recommend.catalogue import MISSING, Title
from tasks.recommend.chosen import Chosen
from tasks.recommend.cleaning import Cleaning
from tasks.recommend.tables import Row, Unusable, short, text

MAX_ROWS = 5_000_000
COLUMNS = {  # the names by which a column is known, the first that there is
    "user": ("user", "user_id", "userid"),
    "item": ("item", "item_id", "itemid", "movie_id", "movieid"),
    "rating": ("rating",),
    "time": ("time", "timestamp"),
}
UNKNOWN = "item is not in the catalogue"


class _Columns:
    """What is read, row by row. A rating or time that is missing is NaN."""

    def __init__(self) -> None:
        self.users: dict[str, int] = {}
        self.user, self.item, self.line = array("q"), array("q"), array("q")
        self.rating, self.time = array("d"), array("d")


def read(
    path: Path,
    titles: Sequence[Title],
    progress: Callable[[int], None] = lambda rows: None,
    cleaning: Cleaning | None = None,
) -> Chosen:
    """Interactions with the titles of a catalogue, named by id, or by title where one row alone has it.

    Columns: user and item, and any of rating and time (seconds since 1970, or ISO 8601); others are ignored. Cleaned,
    and told to `cleaning`: a row without user or item is left out, as is one of an item that the catalogue does not
    have; a rating that is missing or no number becomes the mean of that user's others, else of all; a time that is
    missing or not understood counts as the oldest; a row that repeats another is dropped, and of a user's several
    ratings of one item the newest stays (by time, then by place in the file).
    Errors: those of tables.rows; InvalidInput where half of the rows cannot be used, or no item is known; TooLarge past
    MAX_ROWS rows.
    """
    cleaning = cleaning or Cleaning("interactions")
    items, found, unknown, names = _items(titles), _Columns(), dict[str, int](), dict[str, str]()
    for line, row in tables.rows(path, _missing, cleaning):
        names = names or {column: next((n for n in known if n in row), known[0]) for column, known in COLUMNS.items()}
        try:
            _add(row, names, line, items, found, unknown, cleaning)
        except Unusable as why:
            cleaning.refuse(line, str(why))
        if cleaning.rows > MAX_ROWS:
            raise TooLarge(f"the input interactions has more than {MAX_ROWS:,} rows, the most that is read")
        if cleaning.rows % 20_000 == 0:
            progress(cleaning.rows)
    if not cleaning.rows:
        raise InvalidInput("the input interactions has no rows")
    cleaning.check()
    if not found.user:
        shown = ", ".join(short(name) for name in list(unknown)[:5])
        raise InvalidInput(f"no item of the input interactions is in the catalogue; they name {shown}")
    if unknown:
        cleaning.notes["items that are not in the catalogue"] = {"count": len(unknown), "first": list(unknown)[:20]}
    return _cleaned(found, len(titles), cleaning)


def _items(titles: Sequence[Title]) -> dict[str, int]:
    """Row of the catalogue by id and by title."""
    number = Counter(title.title for title in titles)
    by_title = {title.title: row for row, title in enumerate(titles) if number[title.title] == 1}
    return {**by_title, **{title.id: row for row, title in enumerate(titles)}}


def _missing(columns: Sequence[str]) -> str:
    lacking = [name for name in ("user", "item") if not any(known in columns for known in COLUMNS[name])]
    return f"has no column {' and none '.join(lacking)}" if lacking else ""


def _add(
    row: Row,
    names: Mapping[str, str],
    line: int,
    items: Mapping[str, int],
    found: _Columns,
    unknown: dict[str, int],
    cleaning: Cleaning,
) -> None:
    user, item = (_id(row, names[column]) for column in ("user", "item"))
    rating = _number(row.get(names["rating"]), "rating", line, cleaning)
    time = _time(row.get(names["time"]), line, cleaning)
    if item not in items:
        unknown[item] = line
        return cleaning.drop(UNKNOWN, line)
    found.user.append(found.users.setdefault(user, len(found.users)))
    found.item.append(items[item])
    found.rating.append(rating)
    found.time.append(time)
    found.line.append(line)


def _id(row: Row, column: str) -> str:
    """A number that a data frame made of an id (7.0) is the id (7)."""
    value = row.get(column)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
        return str(value)
    name = text(row, column)
    if name.lower() in MISSING:
        raise Unusable(f"has no {column}")
    return name


def _number(value: Any, column: str, line: int, cleaning: Cleaning) -> float:
    """NaN for what is none; '4,5' is 4.5."""
    if value is None or isinstance(value, str) and value.strip().lower() in MISSING:
        return math.nan
    try:
        number = float(value.strip().replace(",", ".") if isinstance(value, str) else value)
        if math.isfinite(number) and not isinstance(value, bool):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    cleaning.fill(f"{column} is no number: taken as missing", line)
    return math.nan


def _time(value: object, line: int, cleaning: Cleaning) -> float:
    """Seconds since 1970; a time without a zone is UTC."""
    if isinstance(value, str) and not value.strip().replace(".", "", 1).lstrip("-").isdigit():
        if value.strip().lower() in MISSING:
            return math.nan
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            cleaning.fill("time is neither a number nor ISO 8601: counts as the oldest", line)
            return math.nan
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return _number(value, "time", line, cleaning)


def _cleaned(found: _Columns, items: int, cleaning: Cleaning) -> Chosen:
    user, item, line = np.array(found.user), np.array(found.item), np.array(found.line)
    rating, time = np.array(found.rating), np.array(found.time)
    keep = _newest(user, item, rating, time, line, cleaning)
    user, item, rating, time, line = user[keep], item[keep], rating[keep], time[keep], line[keep]
    if np.isfinite(time).any():
        for where in line[np.isnan(time)]:
            cleaning.fill("time is missing: counts as the oldest", int(where))
    if np.isfinite(rating).any():
        rating = _filled(user, rating, line, cleaning)
    return Chosen.of(list(found.users), items, user, item, rating, time)


def _newest(
    user: np.ndarray, item: np.ndarray, rating: np.ndarray, time: np.ndarray, line: np.ndarray, cleaning: Cleaning
) -> np.ndarray:
    """Rows that stay: of each user and item the newest, in the order of the file."""
    order = np.lexsort((line, np.nan_to_num(time, nan=-np.inf), item, user))
    last = np.r_[(np.diff(user[order]) != 0) | (np.diff(item[order]) != 0), True]
    stays = order[np.flatnonzero(last)[np.searchsorted(np.flatnonzero(last), np.arange(len(order)))]]
    for gone, kept in zip(order[~last], stays[~last], strict=True):
        same = all(a[gone] == a[kept] or (np.isnan(a[gone]) and np.isnan(a[kept])) for a in (rating, time))
        cleaning.drop(
            "repeats another row" if same else "contradicts another row of the same user and item: the newest stays",
            int(line[gone]),
        )
    return np.sort(order[last])


def _filled(user: np.ndarray, rating: np.ndarray, line: np.ndarray, cleaning: Cleaning) -> np.ndarray:
    known = np.isfinite(rating)
    counts = np.bincount(user[known], minlength=user.max() + 1)
    sums = np.bincount(user[known], rating[known], minlength=user.max() + 1)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), rating[known].mean())
    for where in line[~known]:
        cleaning.fill("rating is missing: filled with the mean of the user's others, else of all", int(where))
    return np.where(known, rating, means[user])
