"""Sentence vectors of generate's models as a search: do a film's nearest neighbours share its genres?

Summaries of films (Wikipedia, CC BY-SA 4.0) that no model here learned from; none decides anything: of the 4,207, the
800 that the way of pooling was chosen on are left out.
"""

import gzip
import json
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from tasks.algorithm import Call, load

FILMS, NEAREST, SEED = 1000, 5, 0
CHOSEN_ON = 800
SHOWN = 3


def films(data: Path) -> list[dict]:
    """A sample that is the same every time, without those on which choices were made."""
    lines = gzip.decompress((data / "text" / "film-plots.jsonl.gz").read_bytes()).decode().splitlines()
    known = [film for film in map(json.loads, lines) if film["kind"] == "summary" and film["genres"]]
    order = np.random.default_rng(SEED).choice(len(known), len(known), replace=False)
    used = set(np.random.default_rng(SEED).choice(len(known), CHOSEN_ON, replace=False).tolist())
    return [known[n] for n in order if n not in used][:FILMS]


def vectors(name: str, texts: list[str]) -> np.ndarray:
    """(films, width), through the algorithm as a job would."""
    results = load("generate", name).run([Call.of("generate", {"mode": "embed"}, prompt=text) for text in texts])
    return np.array([result.value["embedding"] for result in results])


def tf_idf(texts: list[str]) -> np.ndarray:
    found = TfidfVectorizer(sublinear_tf=True, min_df=2, stop_words="english").fit_transform(texts)
    return found.toarray()


def neighbours(found: np.ndarray) -> np.ndarray:
    """(films, NEAREST) by cosine, nearest first."""
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -np.inf)
    return np.argsort(-alike, axis=1, kind="stable")[:, :NEAREST]


def shares_a_genre(sample: list[dict]) -> np.ndarray:
    """(films, films) 0 or 1; nothing shares with itself."""
    names = sorted({genre for film in sample for genre in film["genres"]})
    has = np.array([[genre in film["genres"] for genre in names] for film in sample], dtype=float)
    shared = (has @ has.T > 0).astype(float)
    np.fill_diagonal(shared, 0)
    return shared


def table(data: Path, names: tuple[str, ...], say) -> list[str]:
    """Rows for GENERATE.md: the share of a film's nearest that have a genre in common with it; and some neighbours."""
    sample = films(data)
    texts, shared = [film["text"] for film in sample], shares_a_genre(sample)
    lines = [
        "| vectors | width | of the 5 nearest, share a genre |",
        "|---|---|---|",
        f"| chance | | {shared.sum() / (len(sample) * (len(sample) - 1)):.3f} |",
    ]
    near = {}
    for name in ("TF-IDF", *names):
        found = tf_idf(texts) if name == "TF-IDF" else vectors(name, texts)
        near[name] = neighbours(found)
        hits = np.take_along_axis(shared, near[name], axis=1).mean()
        lines.append(f"| {name} | {found.shape[1]:,} | {hits:.3f} |")
        say(lines[-1])
    return [*lines, "", *(line for n in range(SHOWN) for line in shown(sample, near, n))]


def shown(sample: list[dict], near: dict[str, np.ndarray], n: int) -> list[str]:
    """One film and its two nearest by each."""

    def told(film: dict) -> str:
        return f"*{film['title']}* ({film['year']}; {', '.join(film['genres'])})"

    return [
        f"Nearest to {told(sample[n])}:",
        "",
        *(f"- {name}: {'; '.join(told(sample[m]) for m in found[n][:2])}" for name, found in near.items()),
        "",
    ]
