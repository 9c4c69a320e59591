"""What is recommended to a person without a history: what is popular, or what fits the tags they state.

It knows counts and tags, no models. Titles that match more of the tags come first; among equals, and where there are
no tags, those that more people chose.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.errors import InvalidInput
from tasks.recommend.catalogue import Title
from tasks.recommend.chosen import Chosen


@dataclass(frozen=True)
class Cold:
    """scores (items,), -inf for what nobody chose and no tag fits; `people`, how many users there are."""

    scores: np.ndarray
    counts: np.ndarray
    people: int
    matched: Sequence[tuple[str, ...]]

    @classmethod
    def of(cls, titles: Sequence[Title], chosen: Chosen | None, tags: Sequence[str]) -> "Cold":
        counts = np.bincount(chosen.item, minlength=len(titles)) if chosen else np.zeros(len(titles), int)
        matched = [matches(title, tags) for title in titles] if tags else [()] * len(titles)
        number = np.array([len(found) for found in matched])
        scores = np.where((number > 0) if number.any() else (counts > 0), number + counts / (counts.max() + 1), -np.inf)
        return cls(scores, counts, len(chosen.users) if chosen else 0, matched)

    def check(self, tags: Sequence[str]) -> None:
        """Errors: InvalidInput where there is nothing at all to go by."""
        if not np.isfinite(self.scores).any():
            shown = ", ".join(map(repr, tags[:5]))
            what = f"no title has a genre, director or actor {shown}" if tags else "nothing is known of this person"
            raise InvalidInput(f"{what}, and there are no interactions to tell what is popular")

    def reason(self, item: int) -> str:
        chosen = f"chosen by {self.counts[item]:,} of {self.people:,} people" if self.people else ""
        tags = f"fits the tags {', '.join(self.matched[item])}" if self.matched[item] else ""
        return "; ".join(part for part in (tags, chosen) if part)


def matches(title: Title, tags: Sequence[str]) -> tuple[str, ...]:
    """Tags that are a genre, director or actor of the title, in any case."""
    known = {word.casefold() for word in (*title.genres, *title.director, *title.cast)}
    return tuple(tag for tag in tags if tag.strip().casefold() in known)
