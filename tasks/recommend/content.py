"""Titles like those in a history, by what is known of them: genres, director, cast and plot.

The vector space model (Salton and Buckley, "Term-weighting approaches in automatic text retrieval", 1988)
for content-based recommendation (Pazzani and Billsus, "Content-based recommendation systems", 2007, section
3): every title is a vector of tf-idf weights, the person's profile the mean of the vectors of the history,
and the score the cosine between the two.

    M        (titles, features)  csr float64   blocks side by side, each row of a block of length 1 (or 0)
                                               times the root of the block's share; then rows of length 1
    profile  (features,)         float64       mean of the rows of the history, weighted by interest (ratings)
    score    (titles,)           float64       cosine, 0-1

idf = ln((1 + n) / (1 + df)) + 1 (words.py). Between two titles that have all blocks the cosine is the
mean of the blocks' cosines, weighted by SHARES. The order of the history does not count.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from tasks.errors import InvalidInput
from tasks.recommend import Params
from tasks.recommend.catalogue import Title
from tasks.recommend.chosen import Chosen
from tasks.recommend.data import Arrays, Data, Step
from tasks.recommend.recommender import Recommender
from tasks.recommend.words import english, tf_idf, unit

SHARES = {"genres": 0.3, "director": 0.2, "cast": 0.2, "plot": 0.3}
PLOT_WORDS = 50_000  # the most frequent are kept
NAMED = 3  # features in a reason
WORTH_NAMING = 0.1  # of the similarity a feature must make up to be named


@dataclass(frozen=True)
class Space:
    """Titles as vectors: `rows` (titles, features); `features` holds (block, word) for each column."""

    rows: sparse.csr_matrix
    features: list[tuple[str, str]]


class Model(Recommender):
    """fitted: a Space as arrays. Only titles are recommended that have something in common with the history, which the
    reason names. Without interactions, a history is all that it needs."""

    name = "content"
    needs_interactions = False

    def fit(self, data: Data, params: Params, step: Step) -> Arrays:
        space = build(data.titles, step)
        features = np.frombuffer(json.dumps(space.features).encode(), np.uint8)
        return {
            "data": space.rows.data,
            "indices": space.rows.indices,
            "indptr": space.rows.indptr,
            "features": features,
        }

    def scores(self, fitted: Arrays, asked: Chosen, params: Params) -> np.ndarray:
        found = score(_space(fitted).rows, asked.interest())
        return np.where(found > 0, found, -np.inf)

    def reasons(
        self, fitted: Arrays, asked: Chosen, items: Sequence[Sequence[int]], titles: Sequence[Title], params: Params
    ) -> list[list[str]]:
        space = _space(fitted)
        return [
            [reason(space, titles, history, item) for item in own]
            for history, own in zip(asked.histories(), items, strict=True)
        ]


def _space(fitted: Arrays) -> Space:
    features = json.loads(fitted["features"].tobytes())
    shape = (len(fitted["indptr"]) - 1, len(features))
    return Space(sparse.csr_matrix((fitted["data"], fitted["indices"], fitted["indptr"]), shape), features)


def build(titles: Sequence[Title], step: Step) -> Space:
    """The titles' vectors; errors: InvalidInput where no title has anything to compare."""
    blocks, features = [], []
    for done, (name, share) in enumerate(SHARES.items()):
        block, words = _block(name, titles)
        if block is not None:
            blocks.append(block * np.sqrt(share))
            features += [(name, word) for word in words]
        step((done + 1) / len(SHARES), f"{name} compared")
    if not blocks:
        raise InvalidInput(f"the catalogue says nothing to compare titles by: {', '.join(SHARES)} are missing or empty")
    return Space(unit(sparse.hstack(blocks, format="csr")), features)


def _block(name: str, titles: Sequence[Title]) -> tuple[sparse.csr_matrix, list[str]] | tuple[None, list[str]]:
    """One kind of feature: rows of tf-idf weights of length 1, and the words as they are written. None if it is empty.

    Names are compared without regard to case and shown as they are first spelled.
    """
    spelled: dict[str, str] = {}
    if name == "plot":
        block, words = tf_idf((english(title.plot) for title in titles), PLOT_WORDS)
    else:
        block, words = tf_idf(list(dict.fromkeys(word.casefold() for word in getattr(title, name))) for title in titles)
        for title in titles:
            for word in getattr(title, name):
                spelled.setdefault(word.casefold(), word)
    return (block, [spelled.get(word, word) for word in words]) if words else (None, [])


def score(rows: sparse.csr_matrix, interest: sparse.csr_matrix) -> np.ndarray:
    """(people, titles) cosines with the profiles, rounded so that equal titles are equal."""
    return np.round((unit(interest @ rows) @ rows.T).toarray(), 9)


def reason(space: Space, titles: Sequence[Title], history: np.ndarray, row: int) -> str:
    """What the title shares with that title of the history which added most to its score."""
    shared = space.rows[list(history)].multiply(space.rows[row]).tocsr()
    nearest = int(np.argmax(np.asarray(shared.sum(axis=1)).ravel()))
    parts = shared[nearest]
    best = sorted(zip(-parts.data, parts.indices, strict=True))[:NAMED]
    named = [space.features[column] for value, column in best if -value >= WORTH_NAMING * parts.sum()] or [
        space.features[best[0][1]]
    ]
    return f"shares {_listed(list(_phrases(named)))} with {titles[history[nearest]].title}"


def _phrases(features: Sequence[tuple[str, str]]) -> Iterator[str]:
    """'director A', 'genres B and C', ..., in the order of SHARES but the strongest block first."""
    one = {"genres": "genre", "director": "director", "cast": "actor", "plot": "the plot word"}
    many = {"genres": "genres", "director": "directors", "cast": "actors", "plot": "the plot words"}
    for block in dict.fromkeys(block for block, _ in features):
        words = [word for other, word in features if other == block]
        yield f"{(one if len(words) == 1 else many)[block]} {_listed(words)}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
