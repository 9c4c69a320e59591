"""Which titles of a catalogue a history means. Knows ids and titles, nothing of vectors.

An entry is an id, or else a title exactly as the catalogue writes it, if only one row has it (ids.py says which texts
are one). Entries that
are neither are passed over, and said, as long as one is known: a catalogue may have lost a title since.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.errors import InvalidInput
from tasks.recommend import ids
from tasks.recommend.catalogue import Title


@dataclass(frozen=True)
class History:
    """`rows` of the catalogue, none twice; `used` and `unknown` say for each entry what became of it."""

    rows: list[int]
    used: list[dict]
    unknown: list[dict]

    @property
    def complaint(self) -> str:
        """A sentence on the entries passed over; '' where there are none."""
        return _complaint(self.unknown)


def find(entries: Sequence[str], titles: Sequence[Title], may_be_unknown: bool = False) -> History:
    """Errors: InvalidInput, with the entries, where none is known, unless that may be."""
    by_id = {title.id: row for row, title in enumerate(titles)}
    by_title: dict[str, list[int]] = {}
    for row, title in enumerate(titles):
        by_title.setdefault(ids.one(title.title), []).append(row)
    rows: dict[int, None] = {}
    used, unknown = [], []
    for entry in entries:
        name = ids.one(entry)
        found = [by_id[name]] if name in by_id else by_title.get(name, []) if name else []
        if len(found) == 1:
            rows[found[0]] = None
            used.append(
                {
                    "asked": entry,
                    "id": titles[found[0]].id,
                    "title": titles[found[0]].title,
                    "by": "id" if name in by_id else "title",
                }
            )
        else:
            unknown.append(
                {
                    "asked": entry,
                    "why": f"{len(found)} rows have this title: give the id"
                    if found
                    else "no such id or title in the catalogue",
                }
            )
    if not rows and not may_be_unknown:
        raise InvalidInput(f"nothing of the history can be used: {_complaint(unknown)}")
    return History(list(rows), used, unknown)


def _complaint(unknown: Sequence[dict]) -> str:
    if not unknown:
        return ""
    shown = "; ".join(f"{entry['asked']!r}: {entry['why']}" for entry in unknown[:5])
    return f"{shown}; and {len(unknown) - 5} more" if len(unknown) > 5 else shown
