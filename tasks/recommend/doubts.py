"""Warnings of a result: the reasons not to trust an answer, by code.

It knows what cleaning counted and who was asked for; it changes neither. README.md lists the codes.
"""

from collections.abc import Sequence

from tasks.recommend.cleaning import Cleaning
from tasks.recommend.people import Asked

SHARE = 0.05  # of a table's rows: where more were dropped or filled by one rule, the answer says so


def of(read: Sequence[Cleaning], asked: Asked) -> list[dict[str, str]]:
    """{"code", "detail"} of each, the tables' first."""
    return [*(warning for cleaning in read for warning in _of_table(cleaning)), *asked.warnings]


def nothing_fits(model: str) -> dict[str, str]:
    """The reason of an answer without items."""
    return {
        "code": "no_items",
        "detail": f"{model} found no title to recommend: what the catalogue has left shares nothing with the history "
        "(are genres and people separated by '|'?), or all of it was chosen",
    }


def _of_table(cleaning: Cleaning) -> list[dict[str, str]]:
    unusable = {"unusable (see data-report.json)": cleaning.unusable}
    return [
        {"code": code, "detail": f"{finding.count:,} of {cleaning.rows:,} rows of the input {cleaning.table}: {rule}"}
        for code, findings in (("rows_dropped", {**unusable, **cleaning.dropped}), ("cells_filled", cleaning.filled))
        for rule, finding in findings.items()
        if finding.count > SHARE * cleaning.rows
    ]
