"""Items that the same people chose as those of the history.

Sarwar, Karypis, Konstan, Riedl, "Item-based collaborative filtering recommendation algorithms" (2001), section 3, for
sets of chosen items as in Deshpande and Karypis, "Item-based top-N recommendation algorithms" (2004), section 4.
Similarity is a cosine with shrinkage (Bell and Koren, "Scalable collaborative filtering with jointly derived
neighborhood interpolation weights", 2007, section 3.1, where it multiplies; here it is added below the line):

    X    (users, items)  csr  interest, 0-1, by the rating
    S_ji = x_j . x_i / (|x_j| |x_i| + shrinkage)   of each item i the `neighbours` largest are kept, S_ii = 0
    score(i) = sum over j of w_j S_ji              w: the person's interest, halved each `half_life` newer items

The half-life is our addition: what somebody chose last says most of what they choose next.
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from tasks.recommend import Params
from tasks.recommend.catalogue import Title
from tasks.recommend.chosen import Chosen
from tasks.recommend.data import Arrays, Data, Step
from tasks.recommend.recommender import Recommender

COLUMN_BLOCK = 16_000_000  # numbers of similarities that are in memory at once


class Model(Recommender):
    """fitted: S (items, items) as csc, its column i the neighbours of item i."""

    name = "item-knn"

    def relevant(self, params: Params) -> dict:
        return {"neighbours": params.neighbours, "shrinkage": params.shrinkage}

    def fit(self, data: Data, params: Params, step: Step) -> Arrays:
        nearest = similar(data.interactions.interest(), params.neighbours, params.shrinkage, step)
        return {"data": nearest.data, "indices": nearest.indices, "indptr": nearest.indptr}

    def scores(self, fitted: Arrays, asked: Chosen, params: Params) -> np.ndarray:
        found = (asked.interest(params.half_life) @ _matrix(fitted)).toarray()
        return np.where(found > 0, found, -np.inf)

    def reasons(
        self, fitted: Arrays, asked: Chosen, items: Sequence[Sequence[int]], titles: Sequence[Title], params: Params
    ) -> list[list[str]]:
        """The two items of the history that add most to the score."""
        similarities, interest = _matrix(fitted), asked.interest(params.half_life)
        return [
            [f"people who chose {_best(person, similarities, item, titles)} chose it too" for item in own]
            for person, own in zip(interest, items, strict=True)
        ]


def similar(x: sparse.csr_matrix, neighbours: int, shrinkage: float, step: Step) -> sparse.csc_matrix:
    """S, computed a block of columns at a time: the whole of it may not fit into memory."""
    number = x.shape[1]
    length = np.sqrt(np.asarray(x.multiply(x).sum(axis=0))).ravel()
    size, columns, turned = max(1, COLUMN_BLOCK // number), x.tocsc(), x.T.tocsr()
    kept = []
    for first in range(0, number, size):
        step(first / number, f"{first:,} of {number:,} items compared")
        dots = (turned @ columns[:, first : first + size]).tocoo()
        others = dots.row != dots.col + first
        row, column, dot = dots.row[others], dots.col[others], dots.data[others]
        similarity = dot / (length[row] * length[column + first] + shrinkage)
        kept.append(_largest(row, column, similarity, dots.shape, neighbours))
    return sparse.hstack(kept, format="csc")


def _largest(
    row: np.ndarray, column: np.ndarray, similarity: np.ndarray, shape: tuple[int, int], neighbours: int
) -> sparse.csc_matrix:
    """Of each column the largest; of equals those of the earlier rows."""
    order = np.lexsort((row, -similarity, column))
    row, column, similarity = row[order], column[order], similarity[order]
    starts = np.searchsorted(column, np.arange(shape[1]))
    keep = np.arange(len(column)) - starts[column] < neighbours
    return sparse.csc_matrix((similarity[keep], (row[keep], column[keep])), shape)


def _matrix(fitted: Arrays) -> sparse.csc_matrix:
    number = len(fitted["indptr"]) - 1
    return sparse.csc_matrix((fitted["data"], fitted["indices"], fitted["indptr"]), (number, number))


def _best(interest: sparse.csr_matrix, similarities: sparse.csc_matrix, item: int, titles: Sequence[Title]) -> str:
    column = slice(similarities.indptr[item], similarities.indptr[item + 1])
    similar = dict(zip(similarities.indices[column].tolist(), similarities.data[column].tolist(), strict=True))
    pairs = zip(interest.indices.tolist(), interest.data.tolist(), strict=True)
    adds = sorted((-weight * similar[j], j) for j, weight in pairs if j in similar)
    return " and ".join(titles[j].title for _, j in adds[:2])
