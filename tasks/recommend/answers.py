"""The files of an answer and its small JSON: for one person recommendations.json, for many recommendations.parquet.

It knows formats; who gets what was decided before.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow
import pyarrow.parquet as parquet

from tasks.algorithm import Call, Result
from tasks.recommend.catalogue import Title
from tasks.recommend.cleaning import Cleaning
from tasks.recommend.people import Asked

Ranked = Iterable[list[tuple[int, float, str]]]
"""(row of the catalogue, score, reason) of each person's best, in the order of the people."""
SCHEMA = pyarrow.schema(
    [
        ("user", pyarrow.string()),
        ("rank", pyarrow.int32()),
        ("id", pyarrow.string()),
        ("title", pyarrow.string()),
        ("score", pyarrow.float64()),
        ("reason", pyarrow.string()),
    ]
)
ROWS = 50_000  # of a row group


def write(call: Call, titles: Sequence[Title], asked: Asked, ranked: Ranked) -> Result:
    """The result and its file."""
    if asked.many:
        return _many(call.workdir / "recommendations.parquet", titles, asked, ranked)
    best = next(iter(ranked))
    items = [
        {"id": titles[row].id, "title": titles[row].title, "score": score, "reason": reason}
        for row, score, reason in best
    ]
    path = call.workdir / "recommendations.json"
    _one(path, items, [titles[row] for row, _, _ in best], asked)
    return Result({"items": items}, [path])


def _one(path: Path, items: Sequence[dict], titles: Sequence[Title], asked: Asked) -> None:
    """The items with all that is known of them, and what became of the history."""
    known = [{key: value for key, value in asdict(title).items() if key != "line"} for title in titles]
    full = [{"rank": rank, **fields, **item} for rank, (item, fields) in enumerate(zip(items, known, strict=True), 1)]
    used, unknown = (asked.history.used, asked.history.unknown) if asked.history else ([], [])
    save(path, {"items": full, "history": used, "unknown": unknown})


def _many(path: Path, titles: Sequence[Title], asked: Asked, ranked: Ranked) -> Result:
    written = served = 0
    with parquet.ParquetWriter(path, SCHEMA) as file:
        for rows in _batches(_rows(titles, asked, ranked)):
            file.write_table(pyarrow.Table.from_pylist(rows, SCHEMA))
            written += len(rows)
            served += sum(row["rank"] == 1 for row in rows)
    users = len(asked.chosen.users)
    without = int((asked.chosen.counts() == 0).sum())
    many = {"users": users, "rows": written, "without_history": without, "without_items": users - served}
    return Result({"items": [], "many": many}, [path])


def _rows(titles: Sequence[Title], asked: Asked, ranked: Ranked) -> Iterator[dict]:
    for user, best in zip(asked.chosen.users, ranked, strict=True):
        for rank, (row, score, reason) in enumerate(best, 1):
            yield {
                "user": user,
                "rank": rank,
                "id": titles[row].id,
                "title": titles[row].title,
                "score": score,
                "reason": reason,
            }


def _batches(rows: Iterator[dict]) -> Iterator[list[dict]]:
    batch: list[dict] = []
    for row in rows:
        batch.append(row)
        if len(batch) == ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def report(folder: Path, read: Sequence[Cleaning], asked: Asked) -> list[Path]:
    """data-report.json, unless a catalogue was all that was read and nothing had to be cleaned."""
    if len(read) == 1 and read[0].clean:
        return []
    path = folder / "data-report.json"
    save(path, {**{cleaning.table: cleaning.as_dict() for cleaning in read}, "asked": asked.notes})
    return [path]


def save(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8", errors="backslashreplace")
