"""Who chose what: the caller's table of interactions, cleaned, as arrays.

It knows rules of cleaning; formats, names of columns, ids, numbers and times are told by files of their own. Of models
it knows nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tasks.errors import InvalidInput
from tasks.recommend import amounts, columns, ids, tables, times
from tasks.recommend.catalogue import Title, warn_rounded
from tasks.recommend.chosen import Chosen
from tasks.recommend.cleaning import Cleaning
from tasks.recommend.tables import Ids, Table, short
from tasks.warning import warning

MAX_ROWS = 5_000_000
UNKNOWN = "item is not in the catalogue"
FILL = "filled with the mean of the user's others, else of all"


def read(
    path: Path,
    titles: Sequence[Title],
    progress: Callable[[int], None] = lambda rows: None,
    cleaning: Cleaning | None = None,
    given: Mapping[str, str] | None = None,
    other: Sequence[str] = (),
) -> Chosen:
    """Interactions with the titles of a catalogue, named by id, or by title where one row alone has it.

    `given`: params.columns; `other`: the header of the catalogue. Cleaned, and told to `cleaning`: a row without user
    or item is left out, as is one of an item that the catalogue does not have, or of 0 plays; a rating (or plays) that
    is missing or no number becomes the mean of that user's others, else of all; a time that is missing or not
    understood counts as the oldest; a row that repeats another is dropped; of a user's several ratings of one item the
    newest stays (by time, then by place in the file), several plays are added.
    Errors: those of tables.read; InvalidInput where half of the rows cannot be used, or no item is known; TooLarge past
    MAX_ROWS rows.
    """
    cleaning = cleaning or Cleaning("interactions")
    table = tables.read(
        path, lambda header: columns.choose("interactions", header, given or {}, other), cleaning, MAX_ROWS, progress
    )
    users, items = table.ids("user"), table.ids("item")
    for role, found in (("user", users), ("item", items)):
        warn_rounded(found.rounded, role, table, cleaning)
    usable = _usable(table, users, items, cleaning)
    cleaning.check()
    rows = _rows_of(items, titles, usable, cleaning)
    known = rows[np.maximum(items.codes, 0)] >= 0
    keep = usable & known
    cleaning.drop_all(UNKNOWN, table.lines[usable & ~known])
    if not keep.any():
        raise InvalidInput(_nothing_known(items.names, titles))
    return _cleaned(table, keep, users, rows[items.codes[keep]], len(titles), cleaning)


def _usable(table: Table, users: Ids, items: Ids, cleaning: Cleaning) -> np.ndarray:
    """(n,) bool; rows without user or item are refused."""
    usable = (users.codes >= 0) & (items.codes >= 0)
    for row in np.flatnonzero(~usable):
        role, codes = ("user", users.codes) if users.codes[row] < 0 else ("item", items.codes)
        why = f"has no {role}" if codes[row] == tables.NONE else f": {role} is neither a text nor a number"
        cleaning.refuse(int(table.lines[row]), why)
    return usable


def _rows_of(items: Ids, titles: Sequence[Title], usable: np.ndarray, cleaning: Cleaning) -> np.ndarray:
    """(names,) row of the catalogue, -1 for none.

    Where some are ids, a number is no title: film 1917 is not the film '1917'.
    """
    by_id = {title.id: row for row, title in enumerate(titles)}
    rows = np.array([by_id.get(name, -1) for name in items.names], np.int64)
    by_title = titles_by_name(titles)
    some_ids = bool((rows >= 0).any())
    named = 0
    for place, name in enumerate(items.names):
        if rows[place] < 0 and name in by_title and not (some_ids and ids.is_whole(name)):
            rows[place] = by_title[name]
            named += 1
    if named and some_ids:
        shown = next(name for name, row in zip(items.names, rows, strict=True) if row >= 0 and name not in by_id)
        said = f"{named:,} items of the interactions are named by title, such as {short(shown)}, others by id"
        cleaning.warnings.append(warning("titles_for_ids", said))
    used = np.unique(items.codes[usable])
    unknown = [items.names[code] for code in used if rows[code] < 0]
    if unknown:
        cleaning.notes["items that are not in the catalogue"] = {"count": len(unknown), "first": unknown[:20]}
    return rows


def titles_by_name(titles: Sequence[Title]) -> dict[str, int]:
    """Row of the catalogue by title, of those that one row alone has."""
    names = [ids.one(title.title) for title in titles]
    number = Counter(names)
    return {name: row for row, name in enumerate(names) if name and number[name] == 1}


def _nothing_known(names: Sequence[str], titles: Sequence[Title]) -> str:
    shown = ", ".join(short(name) for name in names[:5])
    said = f"no item of the input interactions is in the catalogue; they name {shown}, the catalogue "
    said += ", ".join(short(title.id) for title in titles[:3])
    bare = {title.id.lstrip("0") for title in titles if ids.is_whole(title.id)}
    if any(name.lstrip("0") in bare for name in names[:1000]):
        said += " (zeros in front were lost in one of the tables: write ids as texts)"
    return said


def _cleaned(table: Table, keep: np.ndarray, users: Ids, item: np.ndarray, items: int, cleaning: Cleaning) -> Chosen:
    line = table.lines[keep]
    names, user = _renumbered(users, keep)
    rating, counted = _strengths(table, keep, line, cleaning)
    time = _times(table, keep, line, cleaning)
    if counted:
        some = rating != 0
        cleaning.drop_all("has 0 plays: nobody chose it", line[~some])
        if not some.any():
            raise InvalidInput("no row of the input interactions has more than 0 plays")
        user, item, rating, time, line = user[some], item[some], rating[some], time[some], line[some]
    stays, group = _newest(user, item, time, line)
    _tell_gone(stays, group, rating, time, line, counted, cleaning)
    if counted:
        rating = _added(rating, time, stays, group)
    user, item, rating, time, line = user[stays], item[stays], rating[stays], time[stays], line[stays]
    if np.isfinite(time).any():
        cleaning.fill_all("time is missing: counts as the oldest", line[np.isnan(time)])
    if counted:
        rating = np.log1p(rating)
    if np.isfinite(rating).any():
        rating = _filled(user, rating, line, "plays" if counted else "rating", cleaning)
    return Chosen.of(names, items, user, item, rating, time, counted)


def _renumbered(users: Ids, keep: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names of the users that are left, in the order of the file, and each row's place among them."""
    codes = users.codes[keep]
    used, first, place = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return [users.names[code] for code in used[order]], rank[place]


def _strengths(table: Table, keep: np.ndarray, line: np.ndarray, cleaning: Cleaning) -> tuple[np.ndarray, bool]:
    """(kept rows,) ratings, or plays; NaN where there is none. And whether they are plays."""
    role = "plays" if "plays" in table.columns else "rating"
    if role not in table.columns:
        return np.full(len(line), np.nan), False
    found = amounts.read(table.columns[role], table.names[role], cleaning.table)
    cleaning.warnings += found.warnings
    values = found.values[keep]
    cleaning.fill_all(f"{role} is no number: taken as missing", line[found.unreadable[keep]])
    said = f"{role} is the one number below 0 that stands for none (-1, -99, -999): taken as missing"
    cleaning.fill_all(said, line[found.placeholder[keep]])
    if role == "plays":
        cleaning.fill_all("plays is below 0: taken as missing", line[values < 0])
        values = np.where(values < 0, np.nan, values)
    return values, role == "plays"


def _times(table: Table, keep: np.ndarray, line: np.ndarray, cleaning: Cleaning) -> np.ndarray:
    if "time" not in table.columns:
        return np.full(len(line), np.nan)
    found = times.read(table.columns["time"], table.names["time"], cleaning.table)
    cleaning.warnings += found.warnings
    cleaning.fill_all("time is neither a number nor a date: counts as the oldest", line[found.unreadable[keep]])
    cleaning.fill_all("time is before 1900 or after 2200: counts as the oldest", line[found.absurd[keep]])
    return found.values[keep]


def _newest(user: np.ndarray, item: np.ndarray, time: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that stay, of each user and item the newest, in the order of the file; and of each row, the row that stays
    of its user and item."""
    order = np.lexsort((line, np.nan_to_num(time, nan=-np.inf), item, user))
    last = np.r_[(np.diff(user[order]) != 0) | (np.diff(item[order]) != 0), True]
    ends = np.flatnonzero(last)
    group = np.empty(len(order), np.int64)
    group[order] = order[ends[np.searchsorted(ends, np.arange(len(order)))]]
    return np.sort(order[last]), group


def _tell_gone(
    stays: np.ndarray,
    group: np.ndarray,
    rating: np.ndarray,
    time: np.ndarray,
    line: np.ndarray,
    counted: bool,
    cleaning: Cleaning,
) -> None:
    gone = np.ones(len(line), bool)
    gone[stays] = False
    same = _alike(rating, group) & _alike(time, group)
    cleaning.drop_all("repeats another row", line[gone & same])
    if counted:
        added = int((gone & ~same).sum())
        cleaning.notes |= {"rows added to another of the same user and item": added} if added else {}
    else:
        rule = "contradicts another row of the same user and item: the newest stays"
        cleaning.drop_all(rule, line[gone & ~same])


def _alike(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    return (values == values[group]) | (np.isnan(values) & np.isnan(values[group]))


def _added(plays: np.ndarray, time: np.ndarray, stays: np.ndarray, group: np.ndarray) -> np.ndarray:
    """At each row that stays, the plays of all that do not repeat it; NaN where none is known."""
    differs = ~(_alike(plays, group) & _alike(time, group))
    counts = differs | np.isin(np.arange(len(plays)), stays)
    known = counts & np.isfinite(plays)
    total = np.bincount(group[known], plays[known], minlength=len(plays))
    some = np.bincount(group[known], minlength=len(plays)) > 0
    return np.where(some, total, np.nan)


def _filled(user: np.ndarray, rating: np.ndarray, line: np.ndarray, what: str, cleaning: Cleaning) -> np.ndarray:
    known = np.isfinite(rating)
    counts = np.bincount(user[known], minlength=user.max() + 1)
    sums = np.bincount(user[known], rating[known], minlength=user.max() + 1)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), rating[known].mean())
    cleaning.fill_all(f"{what} is missing: {FILL}", line[~known])
    return np.where(known, rating, means[user])
