"""One rule for ids: the same spellings are one id in every format and every input."""

import csv
import json
from decimal import Decimal

import pyarrow
import pyarrow.parquet as parquet
import pytest

from tasks.recommend import catalogue, ids, people
from tasks.recommend.cleaning import Cleaning

SAME = [
    ("3", ["3", 3, 3.0, "3.0", " 3 ", "3.000", Decimal("3.00"), b"3"]),
    ("007", ["007", "\ufeff007\u200b"]),
    ("7", ["7", 7, 7.0]),
    ("3.5", ["3.5", 3.5, Decimal("3.5")]),
    ("0", ["0", 0, -0.0, "-0.0", "0.0"]),
    ("-5", ["-5", -5, "-5.0"]),
    ("18446744073709551616", ["18446744073709551616", 2**64, 2.0**64]),
    ("Café", ["Café", "Cafe\u0301"]),
    ("a b", ["a b", " a \t b\n"]),
    ("1e5", ["1e5"]),
    ("", ["", " ", "nan", "NaN", "NULL", "None", "n/a", "<NA>", "\\N", "NaT", None, float("nan"), Decimal("NaN")]),
]


@pytest.mark.parametrize(("name", "spellings"), SAME)
def test_spellings_of_one_id_are_one(name, spellings):
    """Zeros in front are kept; what tables write for nothing is none."""
    assert {ids.one(spelling) for spelling in spellings} == {name}


@pytest.mark.parametrize("value", [True, [3], {"id": 3}, b"\xff", "\ud800", ids.ODD])
def test_what_is_neither_a_text_nor_a_number_is_no_id(value):
    with pytest.raises(ValueError):
        ids.one(value)


def written(path, values: list, form: str):
    if form == "parquet":
        parquet.write_table(pyarrow.table({"id": values}), path)
    elif form == "json":
        path.write_text("\n".join(json.dumps({"id": value}) for value in values))
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["id"], *([value] for value in values)])
    return path


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, 14.0, 2.5], ["3", "14", "2.5"]),
        (["3", "3.0", "007", "nan", "x", "y"], ["3", "007", "x", "y"]),
        ([2**63 - 1, -4], ["9223372036854775807", "-4"]),
        (["Cafe\u0301", "Café"], ["Café"]),
    ],
)
def test_every_format_has_the_same_ids(form, values, expected, tmp_path):
    """CSV, JSON lines, Parquet."""
    assert [title.id for title in catalogue.read(written(tmp_path / "table", values, form))] == expected


TYPES = {
    "int8": pyarrow.array([3, 14], pyarrow.int8()),
    "uint64": pyarrow.array([3, 14], pyarrow.uint64()),
    "double": pyarrow.array([3.0, 14.0]),
    "float": pyarrow.array([3.0, 14.0], pyarrow.float32()),
    "string": pyarrow.array(["3", "14"]),
    "large string": pyarrow.array(["3", "14"], pyarrow.large_string()),
    "bytes": pyarrow.array([b"3", b"14"]),
    "decimal": pyarrow.array([Decimal("3.00"), Decimal("14.00")]),
    "dictionary": pyarrow.array(["3", "14"]).dictionary_encode(),
}


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_of_parquet_gives_the_same_ids(kind, tmp_path):
    """Also texts that are references into a dictionary, bytes and decimals."""
    parquet.write_table(pyarrow.table({"id": TYPES[kind]}), tmp_path / "table")
    assert [title.id for title in catalogue.read(tmp_path / "table")] == ["3", "14"]


def test_ids_that_a_float_cannot_hold_are_told(tmp_path):
    """Past 2^53 a float may not be the number that was meant."""
    parquet.write_table(pyarrow.table({"id": [1.0, 2.0**60]}), tmp_path / "table")
    cleaning = Cleaning("catalogue")
    catalogue.read(tmp_path / "table", cleaning=cleaning)
    assert [warning["code"] for warning in cleaning.warnings] == ["ids_rounded"]


def test_a_history_is_looked_up_by_the_same_rule(tmp_path):
    """3.0 and '3' are the film 3, '07' is not 7; a number that is only a title is told."""
    path = tmp_path / "films.csv"
    path.write_text("id,title\n3,A\n7,B\n8,1917\n")
    titles = catalogue.read(path)
    asked = people.find({"history": ["3.0", " 7 ", "07", "1917"]}, titles, None)
    assert [entry["id"] for entry in asked.history.used] == ["3", "7", "8"]
    assert [warning["code"] for warning in asked.warnings] == ["unknown_history", "titles_for_ids"]
