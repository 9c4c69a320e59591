"""The two rating sets, brought into the form that callers give, and read as a job would read them."""

import csv
import gzip
from collections.abc import Iterable
from pathlib import Path

from tasks.recommend import catalogue, interactions
from tasks.recommend.data import Data


def movielens(data: Path, folder: Path) -> Data:
    """MovieLens-100K: films with year and genres, ratings with times."""
    source = data / "ratings" / "ml-100k"
    genres = [line.split("|")[0] for line in _lines(source / "u.genre.gz") if "|" in line]
    films = (line.rstrip("\n").split("|") for line in _lines(source / "u.item.gz", "latin-1"))
    titles = (
        [f[0], f[1], f[2][-4:], "|".join(g for g, flag in zip(genres, f[5:], strict=True) if flag == "1")]
        for f in films
    )
    ratings = (line.split() for line in _lines(source / "u.data.gz"))
    return _read(folder, (["id", "title", "year", "genres"], titles), (["user", "item", "rating", "time"], ratings))


def amazon(data: Path, folder: Path) -> Data:
    """Amazon's video games: items by number; the place in the file is the time."""
    pairs = [line.split() for line in _lines(data / "ratings" / "amazon-video-games" / "Video.txt.gz")]
    items = ([item] for item in dict.fromkeys(item for _, item in pairs))
    chosen = ([user, item, time] for time, (user, item) in enumerate(pairs))
    return _read(folder, (["id"], items), (["user", "item", "time"], chosen))


def _lines(path: Path, encoding: str = "utf-8") -> Iterable[str]:
    with gzip.open(path, "rt", encoding=encoding) as file:
        yield from file


def _read(folder: Path, *tables: tuple[list[str], Iterable[list]]) -> Data:
    paths = [folder / "catalogue.csv", folder / "interactions.csv"]
    for path, (header, rows) in zip(paths, tables, strict=True):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
    titles = catalogue.read(paths[0])
    return Data(titles, interactions.read(paths[1], titles))
