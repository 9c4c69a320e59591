"""For whom titles are wanted: the inputs history, tags, user and users, looked up in catalogue and interactions.

It knows ids and titles; what is then recommended, and how, is not known here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tasks.errors import InvalidInput
from tasks.recommend import WHO, ids
from tasks.recommend.catalogue import Title
from tasks.recommend.chosen import Chosen, nobody
from tasks.recommend.cold import matches
from tasks.recommend.history import History
from tasks.recommend.history import find as find_history
from tasks.warning import warning


@dataclass(frozen=True)
class Asked:
    """The people, with what they chose so far.

    chosen   their histories; one without entries is of a person of whom nothing is known
    many     whether a list of users (or all) was asked for, even if it is a list of one
    tags     what the one person says to like
    history  what became of the entries of the input history; None where it was not given
    warnings what was passed over: a code and a sentence each
    """

    chosen: Chosen
    many: bool
    tags: tuple[str, ...] = ()
    history: History | None = None
    warnings: list[dict[str, str]] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """The sentences alone."""
        return [warning["detail"] for warning in self.warnings]


def find(inputs: Mapping[str, Any], titles: Sequence[Title], chosen: Chosen | None) -> Asked:
    """Errors: InvalidInput where the inputs name nobody, or where nothing of a history is known."""
    users, user = inputs.get("users"), None if inputs.get("user") is None else str(inputs["user"])
    if chosen is None:
        if users or user:
            raise InvalidInput("user and users are looked up in interactions, which are not given")
    elif users:
        return _many(users, chosen)
    if user is None and all(inputs.get(name) is None for name in ("history", "tags")):
        raise InvalidInput(f"say for whom: {WHO} is needed")
    history = [str(entry) for entry in inputs.get("history") or ()]
    return _one(user, history, tuple(inputs.get("tags") or ()), titles, chosen)


def _many(users: Sequence[str] | str, chosen: Chosen) -> Asked:
    if users == "all":
        return Asked(chosen, many=True)
    by_name = {name: row for row, name in enumerate(chosen.users)}
    names = list(dict.fromkeys(ids.one(name) or name for name in users))
    rows = np.array([by_name.get(name, -1) for name in names])
    unknown = [name for name, row in zip(names, rows, strict=True) if row < 0]
    selected = chosen.select(rows)
    shown = ", ".join(map(repr, unknown[:3])) + (" ..." if len(unknown) > 3 else "")
    said = f"{len(unknown):,} users are not in the interactions, {shown}: they get what is popular"
    return Asked(_named(selected, names), many=True, warnings=[warning("unknown_user", said)] if unknown else [])


def _one(
    user: str | None, entries: Sequence[str], tags: tuple[str, ...], titles: Sequence[Title], chosen: Chosen | None
) -> Asked:
    warnings = []
    person = nobody(len(titles), chosen.scale if chosen else None)
    name = "" if user is None else ids.one(user)
    if chosen is not None and name in chosen.users:
        person = chosen.select(np.array([list(chosen.users).index(name)]))
    elif user is not None:
        warnings.append(warning("unknown_user", f"user {user!r} is not in the interactions"))
    history = find_history(entries, titles, may_be_unknown=len(person.item) > 0) if entries else None
    if history:
        person = person.liking(history.rows) if history.rows else person
        warnings += [warning("unknown_history", history.complaint)] if history.complaint else []
        warnings += _titles_for_ids(history)
    if tags and len(person.item):
        said = "tags are for people without a history: they were not used"
        warnings.append(warning("tags_unused", said))
    elif unknown := [tag for tag in tags if not any(matches(title, [tag]) for title in titles)]:
        said = f"no title has a genre, director or actor {', '.join(map(repr, unknown[:5]))}"
        warnings.append(warning("unknown_tag", said))
    return Asked(person, many=False, tags=tags, history=history, warnings=warnings)


def _titles_for_ids(history: History) -> list[dict[str, str]]:
    """Of numbers that are no id and were taken for titles, beside entries that are ids."""
    by_title = [entry["asked"] for entry in history.used if entry["by"] == "title"]
    numbers = [asked for asked in by_title if ids.is_whole(ids.one(asked))]
    if not numbers or len(by_title) == len(history.used):
        return []
    said = f"of the history, {', '.join(map(repr, numbers[:3]))} were taken for titles, as no id is such a number"
    return [warning("titles_for_ids", said)]


def _named(chosen: Chosen, names: Sequence[str]) -> Chosen:
    return replace(chosen, users=names)
