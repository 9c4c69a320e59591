"""What people of the nearest taste chose.

Herlocker, Konstan, Borchers, Riedl, "An algorithmic framework for performing collaborative filtering" (1999), with
the cosine between interest vectors in place of the correlation of ratings, as what is chosen is to be foretold:

    X   (users, items)  csr  interest, 0-1, by the rating
    q   (items,)             the person's own, halved each `half_life` newer items (our addition)
    s_v = q . x_v / (|q| |x_v|)            the `neighbours` most similar are kept; oneself is none of them
    score(i) = sum over those of s_v x_vi
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from tasks.recommend import Params
from tasks.recommend.catalogue import Title
from tasks.recommend.chosen import LIKED, Chosen
from tasks.recommend.data import Arrays, Data, Step, blocks
from tasks.recommend.recommender import Recommender


class Model(Recommender):
    """fitted: X as csr, and shape (2,)."""

    name = "user-knn"

    def fit(self, data: Data, params: Params, step: Step) -> Arrays:
        x = data.interactions.interest()
        return {"data": x.data, "indices": x.indices, "indptr": x.indptr, "shape": np.array(x.shape)}

    def scores(self, fitted: Arrays, asked: Chosen, params: Params) -> np.ndarray:
        x = _matrix(fitted)
        found = np.vstack(
            [(nearest(x, asked.select(some), params) @ x).toarray() for some in blocks(len(asked.users), x.shape[0])]
        )
        return np.where(found > 0, found, -np.inf)

    def reasons(
        self, fitted: Arrays, asked: Chosen, items: Sequence[Sequence[int]], titles: Sequence[Title], params: Params
    ) -> list[list[str]]:
        """How many of the neighbours liked it."""
        x = _matrix(fitted)
        near = nearest(x, asked, params)
        return [_reasons(x[near[[person]].indices], own) for person, own in enumerate(items)]


def _reasons(theirs: sparse.csr_matrix, items: Sequence[int]) -> list[str]:
    found = theirs[:, items].toarray()
    counts = zip((found >= LIKED).sum(axis=0), (found > 0).sum(axis=0), strict=True)
    return [
        f"{'liked' if liked else 'chosen'} by {liked or chosen} of the {len(found)} people of the nearest taste"
        for liked, chosen in counts
    ]


def nearest(x: sparse.csr_matrix, asked: Chosen, params: Params) -> sparse.csr_matrix:
    """(people, users) the similarities of each person's neighbours, nothing elsewhere."""
    q = asked.interest(params.half_life)
    similarities = (q @ x.T).toarray() / np.maximum(np.outer(_lengths(q), _lengths(x)), 1e-300)
    known = np.flatnonzero(asked.rows >= 0)
    similarities[known, asked.rows[known]] = 0
    number = min(params.neighbours, x.shape[0])
    columns = np.argpartition(-similarities, number - 1, axis=1)[:, :number]
    values = np.take_along_axis(similarities, columns, axis=1)
    row = np.broadcast_to(np.arange(len(values))[:, None], columns.shape)
    positive = values > 0
    return sparse.csr_matrix((values[positive], (row[positive], columns[positive])), similarities.shape)


def _lengths(x: sparse.csr_matrix) -> np.ndarray:
    return np.sqrt(np.asarray(x.multiply(x).sum(axis=1))).ravel()


def _matrix(fitted: Arrays) -> sparse.csr_matrix:
    return sparse.csr_matrix((fitted["data"], fitted["indices"], fitted["indptr"]), tuple(fitted["shape"]))
