"""Titles like those in a history, by what is known of them: genres, director, cast and plot.

The vector space model (Salton and Buckley, "Term-weighting approaches in automatic text retrieval", 1988)
for content-based recommendation (Pazzani and Billsus, "Content-based recommendation systems", 2007, section
3): every title is a vector of tf-idf weights, the person's profile the mean of the vectors of the history,
and the score the cosine between the two.

    M        (titles, features)  csr float64   blocks side by side, each row of a block of length 1 (or 0)
                                               times the root of the block's share; then rows of length 1
    profile  (features,)         float64       mean of the rows of the history
    score    (titles,)           float64       cosine, 0-1

idf = ln((1 + n) / (1 + df)) + 1, scikit-learn's. Between two titles that have all blocks the cosine is the
mean of the blocks' cosines, weighted by SHARES. The order of the history does not count.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from tasks.algorithm import Algorithm, Call, Result
from tasks.errors import BacklotError, Canceled, InvalidInput
from tasks.recommend import catalogue
from tasks.recommend.catalogue import Title
from tasks.recommend.history import History, find

SHARES = {"genres": 0.3, "director": 0.2, "cast": 0.2, "plot": 0.3}
PLOT_WORDS = 50_000  # the most frequent are kept
NAMED = 3  # features in a reason
WORTH_NAMING = 0.1  # of the similarity a feature must make up to be named


@dataclass(frozen=True)
class Space:
    """Titles as vectors: `rows` (titles, features); `features` holds (block, word) for each column."""

    rows: sparse.csr_matrix
    features: list[tuple[str, str]]


class Model(Algorithm):
    """Nothing is loaded: a catalogue comes with each call."""

    @classmethod
    def load(cls, weights: Path | None = None, device: str = "cpu") -> "Model":
        return cls()

    def run(self, calls: Sequence[Call]) -> list[Result | BacklotError]:
        """At most k titles for each call, best first: only such as have something in common with the history, which
        the reason names. Equal scores stand in the order of the catalogue.

        Errors: those of catalogue.read; InvalidInput where the history or all that could be compared is missing.
        """
        return [self._result(call) for call in calls]

    def _result(self, call: Call) -> Result | BacklotError:
        try:
            return _recommend(call)
        except BacklotError as error:
            return error


def _recommend(call: Call) -> Result:
    titles = catalogue.read(call.inputs["catalogue"], lambda rows: _step(call, 0.3, f"{rows:,} titles read"))
    history = find(call.inputs["history"], titles)
    _step(call, 0.3, f"{len(titles):,} titles read")
    space = build(titles, call)
    scores = score(space, history.rows)
    _step(call, 0.9, "titles ranked")
    best = ranked(scores, history.rows, call.params.k)
    items = [{"id": titles[row].id, "title": titles[row].title, "score": float(scores[row]),
              "reason": reason(space, titles, history.rows, row)} for row in best]
    path = call.workdir / "recommendations.json"
    _write(path, items, [titles[row] for row in best], history)
    call.report(1.0, f"{len(items)} titles" + (f"; {history.complaint}" if history.complaint else ""))
    return Result({"items": items}, [path])


def _step(call: Call, progress: float, message: str) -> None:
    if call.canceled():
        raise Canceled("the recommendation was canceled")
    call.report(progress, message)


def build(titles: Sequence[Title], call: Call) -> Space:
    """The titles' vectors; errors: InvalidInput where no title has anything to compare."""
    blocks, features = [], []
    for done, (name, share) in enumerate(SHARES.items()):
        block, words = _block(name, titles)
        if block is not None:
            blocks.append(block * np.sqrt(share))
            features += [(name, word) for word in words]
        _step(call, 0.3 + 0.15 * (done + 1), f"{name} compared")
    if not blocks:
        raise InvalidInput(f"the catalogue says nothing to compare titles by: {', '.join(SHARES)} are missing or empty")
    return Space(normalize(sparse.hstack(blocks, format="csr")), features)


def _block(name: str, titles: Sequence[Title]) -> tuple[sparse.csr_matrix, list[str]] | tuple[None, list[str]]:
    """One kind of feature: rows of tf-idf weights of length 1, and the words as they are written. None if it is empty.

    Names are compared without regard to case and shown as they are first spelled.
    """
    spelled: dict[str, str] = {}
    if name == "plot":
        vectorizer = TfidfVectorizer(stop_words="english", max_features=PLOT_WORDS)
        texts: list = [title.plot for title in titles]
    else:
        vectorizer = TfidfVectorizer(analyzer=list)
        texts = [list(dict.fromkeys(word.casefold() for word in getattr(title, name))) for title in titles]
        for title in titles:
            for word in getattr(title, name):
                spelled.setdefault(word.casefold(), word)
    try:
        block = vectorizer.fit_transform(texts)
    except ValueError:  # scikit-learn: empty vocabulary
        return None, []
    return block, [spelled.get(word, word) for word in vectorizer.get_feature_names_out()]


def score(space: Space, history: Sequence[int]) -> np.ndarray:
    """(titles,) cosines with the profile, rounded so that equal titles are equal."""
    profile = np.asarray(space.rows[list(history)].mean(axis=0)).ravel()
    length = np.linalg.norm(profile)
    return np.round(space.rows @ profile / length, 9) if length else np.zeros(space.rows.shape[0])


def ranked(scores: np.ndarray, history: Sequence[int], k: int) -> list[int]:
    """Row numbers, best first: at most k, none of the history, none that scores 0."""
    scores = scores.copy()
    scores[list(history)] = 0
    order = np.argsort(-scores, kind="stable")[:k]
    return [int(row) for row in order if scores[row] > 0]


def reason(space: Space, titles: Sequence[Title], history: Sequence[int], row: int) -> str:
    """What the title shares with that title of the history which added most to its score."""
    shared = space.rows[list(history)].multiply(space.rows[row]).tocsr()
    nearest = int(np.argmax(np.asarray(shared.sum(axis=1)).ravel()))
    parts = shared[nearest]
    best = sorted(zip(-parts.data, parts.indices, strict=True))[:NAMED]
    named = [space.features[column] for value, column in best if -value >= WORTH_NAMING * parts.sum()] or [
        space.features[best[0][1]]]
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


def _write(path: Path, items: Sequence[dict], titles: Sequence[Title], history: History) -> None:
    """recommendations.json: the items with all that is known of them, and what became of the history."""
    known = [{key: value for key, value in asdict(title).items() if key != "line"} for title in titles]
    full = [{"rank": rank, **fields, **item} for rank, (item, fields) in enumerate(zip(items, known, strict=True), 1)]
    path.write_text(json.dumps({"items": full, "history": history.used, "unknown": history.unknown},
                               ensure_ascii=False, indent=1) + "\n", encoding="utf-8", errors="backslashreplace")
