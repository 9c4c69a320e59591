"""Warnings of a result: the reasons not to trust an answer, by code.

It knows what cleaning counted and who was asked for; it changes neither. The kind's contract lists the
codes.
"""

from collections.abc import Mapping, Sequence

from tasks.recommend.cleaning import Cleaning, Finding
from tasks.recommend.people import Asked
from tasks.warning import warning

SHARE = 0.05  # of a table's rows: where more were dropped or filled by one rule, the answer says so


def of(read: Sequence[Cleaning], asked: Asked) -> list[dict[str, str]]:
    """{"code", "detail"} of each, the tables' first."""
    return [*(warning for cleaning in read for warning in _of_table(cleaning)), *asked.warnings]


def nothing_fits(model: str) -> dict[str, str]:
    """The reason of an answer without items."""
    return warning(
        "no_items",
        f"{model} found no title to recommend: what the catalogue has left shares nothing with the history "
        "(are genres and people separated by '|'?), or all of it was chosen",
    )


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
