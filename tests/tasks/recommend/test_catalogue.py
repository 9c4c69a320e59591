"""A caller's table: what is read, and what each mistake in it is called."""

import csv
import io
import json

import pyarrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.algorithm import Call, Result, load
from tasks.errors import BacklotError, InvalidInput, TooLarge, UnsupportedMedia
from tasks.recommend import catalogue
from tasks.recommend.cleaning import Cleaning


def read(tmp_path, text: str | bytes) -> list[catalogue.Title]:
    path = tmp_path / "catalogue"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return catalogue.read(path)


def test_a_row_is_read_in_full(tmp_path):
    """Quoted commas and line ends, lists by '|', a year."""
    (title,) = read(
        tmp_path,
        "id,title,year,genres,director,cast,plot\n"
        '7,"Good, Bad",1966,Western | Drama|,Leone,"Eastwood|Wallach","Three men.\nOne grave."\n',
    )
    assert title == catalogue.Title(
        "7", "Good, Bad", 1966, ("Western", "Drama"), ("Leone",), ("Eastwood", "Wallach"), "Three men. One grave.", 3
    )


@pytest.mark.parametrize(
    ("header", "expected"), [("wikidata_id,id,title", "b"), ("title,wikidata_id", "b"), ("title,year", "a")]
)
def test_the_id_is_the_first_column_of_three(tmp_path, header, expected):
    """id, else wikidata_id, else the title itself."""
    (title,) = read(tmp_path, f"{header}\na,b,c\n" if header.count(",") == 2 else f"{header}\na,b\n")
    assert title.id == expected


@pytest.mark.parametrize("nothing", ["", "NaN", "nan", "NULL", "None", " "])
def test_what_tables_write_for_nothing_is_nothing(tmp_path, nothing):
    """Missing values of spreadsheets and data frames are no genre and no director."""
    (title,) = read(tmp_path, f"id,title,year,genres,director,cast,plot\n1,A,{','.join([nothing] * 5)}\n")
    assert (title.year, title.genres, title.director, title.cast, title.plot) == (None, (), (), (), "")


def test_json_numbers_lists_and_nan_are_read(tmp_path):
    """Ids may be numbers, genres a list or a text; NaN and null are nothing."""
    one, two = read(
        tmp_path,
        '{"id": 7, "title": "A", "year": 1990.0, "genres": ["X", "Y"], "plot": NaN}\n\n'
        '{"id": 8, "genres": "X|Z", "cast": null, "other": {"deep": []}}\n',
    )
    assert (one.id, one.year, one.genres, one.plot) == ("7", 1990, ("X", "Y"), "")
    assert (two.id, two.title, two.genres, two.cast, two.line) == ("8", "8", ("X", "Z"), (), 3)


BAD = {
    "empty file": (b"", InvalidInput, "is empty"),
    "blank lines": (b"\n\n  \n", InvalidInput, "is empty"),
    "header only": (b"id,title\n", InvalidInput, "has no rows"),
    "no usable column": (b"code,genre\nJaws,Adventure\n", InvalidInput, "has no column id (id is known as id, item, "),
    "column twice": (b"id,title,title\n1,a,b\n", InvalidInput, "names column 'title' twice"),
    "no id": (b"id,title\n1,a\n,b\n", InvalidInput, "line 3 has no id"),
    "too many cells": (b"id,title\n1,Good, Bad\n", InvalidInput, "line 2 has 3 cells, the header 2"),
    "bad quotes": (b'id,title\n1,"a"b\n', InvalidInput, "line 2 is not CSV"),
    "open quote": (b'id,title\n1,"a\n2,b\n', InvalidInput, "is not CSV"),
    "binary": (b"PK\x03\x04\x14\0\0\0\x08\0" * 30, UnsupportedMedia, "binary file"),
    "json array": (b'[{"id": 1}]', UnsupportedMedia, "JSON array"),
    "broken json": (b'{"id": 1}\n{"id": 2\n', InvalidInput, "line 2 is not JSON"),
    "json, no object": (b'{"id": 1}\n7\n', InvalidInput, "line 2 is not a JSON object"),
    "deep json": (b'{"id": ' + b"[" * 100_000, InvalidInput, "line 1 is not JSON"),
    "huge number": (b'{"id": ' + b"9" * 5000 + b"}", InvalidInput, "line 1 is not JSON"),
    "list of lists": (b'{"id": 1, "genres": [["a"]]}', InvalidInput, "line 1: genres is a list that holds"),
    "object as text": (b'{"id": 1, "plot": {}}', InvalidInput, "line 1: plot is neither a text nor a number"),
    "half a character": (b'{"id": 1, "title": "\\ud800"}', InvalidInput, "line 1: title holds half a character"),
    "long line": (b'{"id": 1, "plot": "' + b"x" * 1_100_000 + b'"}', TooLarge, "longer than 1,048,576 characters"),
    "no parquet": (b"PAR1" + b"x" * 100 + b"PAR1", InvalidInput, "not readable as Parquet"),
    "long cell": (b"id,plot\n1," + b"x" * 140_000, TooLarge, "longer than 131,072 characters"),
}


@pytest.mark.parametrize("case", BAD)
def test_every_mistake_is_named(case, tmp_path):
    """The error says what is wrong, and in which line."""
    text, error, message = BAD[case]
    with pytest.raises(error) as raised:
        read(tmp_path, text)
    assert message in raised.value.detail


CLEANED = {
    "semicolons": (b"id;title\n1;Jaws, the film\n", ["Jaws, the film"], "semicolons"),
    "tabs": (b"id\ttitle\n1\tJaws\n", ["Jaws"], "tabs"),
    "latin-1": (
        "id,title\n1,Amélie\n2,Le Père Noël est une ordure\n".encode("latin-1"),
        ["Amélie", "Le Père Noël est une ordure"],
        "cp1252",
    ),
    "cyrillic": (
        "id,title\n1,Броненосец Потёмкин\n2,Летят журавли\n".encode("cp1251"),
        ["Броненосец Потёмкин", "Летят журавли"],
        "cp1251",
    ),
    "utf-16": ("id,title\n1,Amélie\n".encode("utf-16"), ["Amélie"], "utf-16"),
    "a row again": (b"id,title\n1,a\n2,b\n1,a\n", ["a", "b"], "repeats an earlier row"),
    "an id again": (b"id,title\n1,a\n2,b\n1,c\n", ["a", "b"], "has the id of an earlier row but differs"),
    "one row of three without id": (b"id,title\n1,a\n,b\n3,c\n", ["a", "c"], "line 3 has no id"),
    "year in words": (b"id,title,year\n1,a,soon\n", ["a"], "year is no number"),
}


@pytest.mark.parametrize("case", CLEANED)
def test_what_is_dirty_is_cleaned_and_said(case, tmp_path):
    """Encodings, delimiters, repetitions, contradictions, gaps: the report names each."""
    text, titles, said = CLEANED[case]
    path, cleaning = tmp_path / "catalogue", Cleaning("catalogue")
    path.write_bytes(text)
    assert [title.title for title in catalogue.read(path, cleaning=cleaning)] == titles
    assert said in json.dumps(cleaning.as_dict())


def test_a_parquet_catalogue_is_read(tmp_path):
    """Numbers, lists and nothing, as pyarrow writes them; rows are counted, not lines."""
    path = tmp_path / "catalogue"
    table = pyarrow.table({"ID": [7, 8, None], "title": ["A", None, "C"], "genres": [["X", "Y"], None, []]})
    parquet.write_table(table, path)
    cleaning = Cleaning("catalogue")
    one, two = catalogue.read(path, cleaning=cleaning)
    assert (one.id, one.title, one.genres, two.id, two.title, two.genres) == ("7", "A", ("X", "Y"), "8", "8", ())
    assert cleaning.reasons == ["row 3 has no ID"]


def test_more_rows_than_the_limit_are_refused(tmp_path, monkeypatch):
    """The limit is stated in the error."""
    monkeypatch.setattr(catalogue, "MAX_ROWS", 20)
    rows = "".join(f"{i}\n" for i in range(20))
    assert len(read(tmp_path, "id\n" + rows)) == 20
    with pytest.raises(TooLarge, match="more than 20 rows"):
        read(tmp_path, "id\n" + rows + "20\n")


CELLS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["NaN", "|", "a|b", '"', "1999", "f0"])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | CELLS | st.lists(CELLS, max_size=3)


@pytest.fixture(scope="module")
def content():
    return load("recommend", "content")


def answer(content, path) -> None:
    (result,) = content.run([Call.of("recommend", catalogue=path, history=["f0"])])
    assert isinstance(result, Result | BacklotError)
    if isinstance(result, Result):
        assert all(item["id"] != "f0" for item in result.value["items"])
        json.loads(result.files[0].read_text())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(CELLS, min_size=1, max_size=6), max_size=6))
def test_any_csv_is_answered_or_refused(rows, content, tmp_path):
    """However dirty the rows: a result or an error of ours, nothing else."""
    table = io.StringIO()
    csv.writer(table).writerows(
        [["id", "genres", "director", "cast", "plot", "year"], ["f0", "a", "b", "c", "d", ""], *rows]
    )
    path = tmp_path / "dirty.csv"
    path.write_text(table.getvalue(), newline="")
    answer(content, path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(st.sampled_from(["id", "title", "genres", "cast", "plot", "year", "x"]), VALUES)))
def test_any_json_lines_are_answered_or_refused(rows, content, tmp_path):
    """The same of objects with values of every type."""
    path = tmp_path / "dirty.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [{"id": "f0", "genres": "a", "plot": "b"}, *rows]))
    answer(content, path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_any_bytes_are_answered_or_refused(data, content, tmp_path):
    """Also of what is no table at all."""
    path = tmp_path / "bytes"
    path.write_bytes(data)
    answer(content, path)
