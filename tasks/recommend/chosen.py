"""What people chose, as arrays: who, which item, how they rated it, in which order.

It knows how strong an interest each choice shows, and how to hold the newest back for a test; it reads no files and
fits no model.

    user    (n,)  int      row in `users`
    item    (n,)  int      row of the catalogue
    rating  (n,)  float64  as given; NaN where there is none
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

LEAST = 0.2  # the interest that the lowest rating shows; the highest shows 1
LIKED = (1 + LEAST) / 2  # the interest of the middle of the scale, from which on a choice is called a like


@dataclass(frozen=True)
class Chosen:
    """Choices, sorted by user, and each user's from oldest to newest.

    items    number of titles of the catalogue
    rows     (users,) the users' rows in the data that a model was fitted on, -1 for those who are not in it
    scale    lowest and highest rating that occur there; None where nothing is rated
    ordered  whether 'newest' is known; if not, all of a user's choices count as of one time
    counted  whether `rating` is no rating but log(1 + plays), as in Hu, Koren, Volinsky, "Collaborative filtering for
             implicit feedback datasets" (2008), equation 6, with epsilon 1
    """

    users: Sequence[str]
    items: int
    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    rows: np.ndarray
    scale: tuple[float, float] | None
    ordered: bool
    counted: bool = False

    @classmethod
    def of(
        cls,
        users: Sequence[str],
        items: int,
        user: np.ndarray,
        item: np.ndarray,
        rating: np.ndarray,
        time: np.ndarray,
        counted: bool = False,
    ) -> "Chosen":
        """From columns in the order of the file. What has no time is older than what has; equal times stand in the
        order of the catalogue; where there are no times at all, the file's order decides what is held back."""
        ordered = bool(np.isfinite(time).any())
        keys = (item, np.nan_to_num(time, nan=-np.inf), user) if ordered else (np.arange(len(user)), user)
        order = np.lexsort(keys)
        rated = rating[np.isfinite(rating)]
        return cls(
            users,
            items,
            user[order].astype(int),
            item[order].astype(int),
            rating[order].astype(float),
            np.arange(len(users)),
            (float(rated.min()), float(rated.max())) if len(rated) else None,
            ordered,
            counted,
        )

    def digest(self) -> str:
        """Of all that a model learns from: the same choices have the same, from whatever kind of file."""
        seen = hashlib.sha256(repr((self.items, self.scale, self.ordered, self.counted, len(self.users))).encode())
        for part in (self.user, self.item, self.rating):
            seen.update(np.ascontiguousarray(part).tobytes())
        return seen.hexdigest()

    def counts(self) -> np.ndarray:
        """(users,) length of each history."""
        return np.bincount(self.user, minlength=len(self.users))

    def histories(self) -> list[np.ndarray]:
        """Each user's items, oldest first."""
        return np.split(self.item, np.cumsum(self.counts())[:-1])

    def interest(self, half_life: float | None = None) -> sparse.csr_matrix:
        """(users, items) 0-1: by the rating (or the logarithm of the plays), linear from LEAST to 1 (1 where there is
        none); with a half-life, halved for every so many newer choices of the same user."""
        weight = np.ones(len(self.user))
        if self.scale and self.scale[1] > self.scale[0]:
            low, high = self.scale
            share = np.clip((np.nan_to_num(self.rating, nan=high) - low) / (high - low), 0, 1)
            weight = LEAST + (1 - LEAST) * share
        if half_life and self.ordered:
            weight = weight * 0.5 ** (self._newer() / half_life)
        return self._matrix(weight)

    def ratings(self) -> sparse.csr_matrix:
        """(users, items); a like without a rating counts as the highest."""
        return self._matrix(np.nan_to_num(self.rating, nan=self.scale[1] if self.scale else 1))

    def seen(self) -> sparse.csr_matrix:
        """(users, items) bool."""
        return self._matrix(np.ones(len(self.user), bool))

    def select(self, users: np.ndarray) -> "Chosen":
        """The histories of some users (rows of this), in that order; -1 is one with no history."""
        starts = np.r_[0, np.cumsum(self.counts())]
        lengths = np.where(users >= 0, starts[users + 1] - starts[users], 0)
        where = np.repeat(starts[users] - np.r_[0, np.cumsum(lengths)[:-1]], lengths) + np.arange(lengths.sum())
        return replace(
            self,
            users=[self.users[u] if u >= 0 else "" for u in users],
            user=np.repeat(np.arange(len(users)), lengths),
            item=self.item[where],
            rating=self.rating[where],
            rows=np.where(users >= 0, self.rows[users], -1),
        )

    def liking(self, items: Sequence[int]) -> "Chosen":
        """This one user's history, and after it newer likes; what was chosen before moves to the end."""
        stays = ~np.isin(self.item, items)
        item = np.r_[self.item[stays], np.array(items, int)]
        rating = np.r_[self.rating[stays], np.full(len(items), np.nan)]
        return replace(self, user=np.zeros(len(item), int), item=item, rating=rating, ordered=True)

    def as_strangers(self) -> "Chosen":
        """The same people as if they were not in the data that a model was fitted on."""
        return replace(self, rows=np.full(len(self.users), -1))

    def as_data(self) -> "Chosen":
        """The same people as data to fit on."""
        return replace(self, rows=np.arange(len(self.users)))

    def newest(self, number: int) -> "Chosen":
        """Of each history the newest `number`."""
        return self.where(self._newer() < number)

    def without_last(self) -> tuple["Chosen", np.ndarray]:
        """All but each user's newest choice, and (users,) those, -1 for users who have but one."""
        held = (self._newer() == 0) & (self.counts()[self.user] > 1)
        last = np.full(len(self.users), -1)
        last[self.user[held]] = self.item[held]
        return self.where(~held), last

    def where(self, rows: np.ndarray) -> "Chosen":
        """Some of the choices; all of the users."""
        return replace(self, user=self.user[rows], item=self.item[rows], rating=self.rating[rows])

    def _newer(self) -> np.ndarray:
        """(n,) how many of the same user's choices are newer."""
        ends = np.cumsum(self.counts())
        return ends[self.user] - 1 - np.arange(len(self.user))

    def _matrix(self, values: np.ndarray) -> sparse.csr_matrix:
        return sparse.csr_matrix((values, (self.user, self.item)), (len(self.users), self.items))


def nobody(items: int, scale: tuple[float, float] | None = None) -> Chosen:
    """One person of whom nothing is known."""
    none = np.empty(0, int)
    return Chosen([""], items, none, none, np.empty(0), np.array([-1]), scale, True)
