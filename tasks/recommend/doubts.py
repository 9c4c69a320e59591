"""Warnings of a result: the reasons not to trust an answer, by code.

It knows what cleaning counted, who was asked for and what came out; it changes none of them. The kind's contract
lists the codes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.recommend.cleaning import Cleaning, Finding
from tasks.recommend.people import Asked
from tasks.warning import warning

SHARE = 0.05  # of a table's rows: where more were dropped or filled by one rule, the answer says so


def of(read: Sequence[Cleaning], asked: Asked, answer: Mapping[str, Any], model: str) -> list[dict[str, str]]:
    """{"code", "detail"} of each: the tables', then the people's, then the answer's own."""
    tables = [found for cleaning in read for found in (*cleaning.warnings, *_of_table(cleaning))]
    return [*tables, *asked.warnings, *_of_answer(answer, model)]


def _of_answer(answer: Mapping[str, Any], model: str) -> list[dict[str, str]]:
    """The reason of an answer without items, and how many got none."""
    many = answer.get("many") or {}
    left = "what the catalogue has left shares nothing with the history (are genres and people parted by '|'?), or all "
    if not (answer["items"] or many.get("rows")):
        return [warning("no_items", f"{model} found no title to recommend: {left}of it was chosen")]
    if without := many.get("without_items"):
        said = f"{without:,} of {many['users']:,} users got no title from {model}: {left}of it was chosen"
        return [warning("users_without_items", said)]
    return []


def _of_table(cleaning: Cleaning) -> list[dict[str, str]]:
    unusable = {"unusable (see data-report.json)": cleaning.unusable}
    said = f"of {cleaning.rows:,} rows of the input {cleaning.table}"
    most = SHARE * cleaning.rows
    return [
        *(
            warning("rows_dropped", f"{n:,} {said}: {rule}")
            for rule, n in _counts({**unusable, **cleaning.dropped}, most)
        ),
        *(warning("cells_filled", f"{n:,} {said}: {rule}") for rule, n in _counts(cleaning.filled, most)),
    ]


def _counts(findings: Mapping[str, Finding], most: float) -> list[tuple[str, int]]:
    """Rules that more than `most` rows broke, with their numbers of rows."""
    return [(rule, finding.count) for rule, finding in findings.items() if finding.count > most]
