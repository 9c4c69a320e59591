"""Tables of every form: what is read, what is left out and told, what is refused in one sentence."""

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

from tasks.errors import InvalidInput, UnsupportedMedia
from tasks.recommend import columns, tables
from tasks.recommend.cleaning import Cleaning


def read(tmp_path, content: bytes) -> tuple[list[tuple], Cleaning]:
    path, cleaning = tmp_path / "table", Cleaning("catalogue")
    path.write_bytes(content)
    table = tables.read(path, lambda header: columns.choose("catalogue", header, {}), cleaning, 1000, lambda rows: None)
    rows = zip(table.lines.tolist(), table.values("id"), table.values("title"), strict=True)
    return [(line, key, title) for line, key, title in rows], cleaning


TWO = [(2, "1", "A"), (3, "2", "B; b")]
SAME = {
    "commas": b"id,title\n1,A\n2,B; b\n",
    "CR line ends": b"id,title\r1,A\r2,B; b\r",
    "CRLF": b"id,title\r\n1,A\r\n2,B; b\r\n",
    "no last line end": b"id,title\n1,A\n2,B; b",
    "a byte order mark": b"\xef\xbb\xbfid,title\n1,A\n2,B; b\n",
    "a column at the end without a name": b"id,title,\n1,A,\n2,B; b,\n",
    "a delimiter at the end": b"id,title\n1,A,\n2,B; b,,\n",
    "tabs": b"id\ttitle\n1\tA\n2\tB; b\n",
    "semicolons": b'id;title\n1;A\n2;"B; b"\n',
    "columns of no use named twice": b"id,title,x,x\n1,A,3,4\n2,B; b,5,6\n",
    "UTF-16": "id,title\n1,A\n2,B; b\n".encode("utf-16"),
    "UTF-32": "id,title\n1,A\n2,B; b\n".encode("utf-32"),
    "UTF-16 with CR": "id,title\r1,A\r2,B; b\r".encode("utf-16"),
}


@pytest.mark.parametrize("form", SAME)
def test_every_form_of_csv_gives_the_same_rows(form, tmp_path):
    """Nothing is left out, and nothing told."""
    rows, cleaning = read(tmp_path, SAME[form])
    assert rows == TWO and cleaning.clean


@pytest.mark.parametrize("first", [b"sep=;", b'"sep=;"', b"\xef\xbb\xbfsep=;", b"SEP=;\r"])
def test_a_first_line_may_name_the_delimiter(first, tmp_path):
    """As Excel writes it; lines keep their numbers."""
    rows, _ = read(tmp_path, first + b"\nid;title\n1;A, a\n2;B\n")
    assert rows == [(3, "1", "A, a"), (4, "2", "B")]


def test_quotes_behind_backslashes_are_quotes(tmp_path):
    """As MySQL writes them; a cell that ends with a backslash is no such."""
    rows, cleaning = read(tmp_path, b'id,title\n1,"Say \\"A\\", B"\n2,"C"\n')
    assert rows == [(2, "1", 'Say "A", B'), (3, "2", "C")] and "backslashes" in cleaning.form
    assert read(tmp_path, b'id,title\n1,"C:\\"\n2,"D"\n')[0] == [(2, "1", "C:\\"), (3, "2", "D")]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'x,"B"b', "is not CSV: ',' expected"),
        (b'x,"B', "is not CSV: ',' expected"),
        (b"x,B,b", "has 3 cells, the header 2"),
        (b"x,B\0", "holds a NUL character"),
    ],
)
def test_one_bad_line_among_many_is_left_out_and_told(line, why, tmp_path):
    """That line alone, also where its quote never closes."""
    content = b"id,title\n" + b"".join(b'%d,"A, a"\n' % n for n in range(5)) + line + b'\n6,"B, b"\n7,C\n'
    rows, cleaning = read(tmp_path, content)
    assert [key for _, key, _ in rows] == ["0", "1", "2", "3", "4", "6", "7"]
    (reason,) = cleaning.reasons
    assert reason.startswith("line 7 ") and why in reason


def test_a_quote_that_never_closes_takes_one_line(tmp_path):
    """What follows is read, to the end of the file."""
    rows, cleaning = read(tmp_path, b'id,title\n1,A\n2,"B\n3,C\n4,D\n')
    assert [(line, key) for line, key, _ in rows] == [(2, "1"), (4, "3"), (5, "4")]
    assert cleaning.reasons == ["line 3 is not CSV: unexpected end of data"]


def test_a_row_that_breaks_off_is_told(tmp_path):
    rows, cleaning = read(tmp_path, b"id,title\n1,A\n2\n")
    assert rows == [(2, "1", "A"), (3, "2", "")]
    assert cleaning.filled["has fewer cells than the header: the others are missing"].lines == [3]


@pytest.mark.parametrize(
    ("content", "says", "title"),
    [
        ("id,title\n1,Amélie\n2,Père\n".encode("cp1252"), "read as cp1252", "Amélie"),
        ("id,title\n1,Amélie\n".encode("utf-16-le"), "read as utf-16-le", "Amélie"),
        ("id,title\n1,Amélie\n2,Père\n".encode() + b"3,\xe9\n", "1 of 3 lines", "Amélie"),
    ],
)
def test_a_guessed_encoding_is_told(content, says, title, tmp_path):
    """One odd line does not spoil a table of UTF-8."""
    rows, cleaning = read(tmp_path, content)
    (warning,) = cleaning.warnings
    assert rows[0][2] == title and warning["code"] == "encoding_guessed" and says in warning["detail"]


def test_names_of_json_may_come_late(tmp_path):
    """A column that the first object lacks is a column."""
    rows, _ = read(tmp_path, b'{"id": 1}\n{"id": 2, "title": "B; b"}\n')
    assert rows == [(1, 1, None), (2, 2, "B; b")]


def test_only_the_columns_that_are_used_are_read(tmp_path):
    """A column that cannot be decoded does not matter; the bytes of others do not count."""
    path = tmp_path / "table"
    odd = {
        "when": pyarrow.array([1, 2], pyarrow.timestamp("ns")),
        "blob": [b"x" * 100_000] * 2,
        "deep": [[{"a": 1}], None],
    }
    parquet.write_table(
        pyarrow.table({"id": [1, 2], "title": ["A", "B; b"], **odd}),
        path,
        use_dictionary=False,
        compression="none",
        write_statistics=False,
    )
    content = bytearray(path.read_bytes())
    where = content.find(b"x" * 1000)
    content[where - 30 : where + 500] = bytes(530)
    rows, _ = read(tmp_path, bytes(content))
    assert rows == [(1, 1, "A"), (2, 2, "B; b")]


def test_encrypted_and_broken_parquet_are_refused_in_a_sentence(tmp_path):
    """Whatever Arrow says of them."""
    with pytest.raises(UnsupportedMedia, match="encrypted Parquet: write it without"):
        read(tmp_path, b"PARE" + bytes(50) + b"PARE")
    parquet.write_table(pyarrow.table({"id": ["a" * 50, "b" * 50]}), tmp_path / "whole", use_dictionary=False)
    content = bytearray((tmp_path / "whole").read_bytes())
    content[10:60] = b"\xff" * 50
    with pytest.raises(InvalidInput, match="not readable as Parquet") as raised:
        read(tmp_path, bytes(content))
    assert "\n" not in raised.value.detail


def test_times_past_what_nanoseconds_hold_are_read(tmp_path):
    """Int96 of the year 1, as Spark writes it."""
    path = tmp_path / "table"
    old = np.array(["0001-01-01", "2024-01-05"], "datetime64[us]")
    parquet.write_table(pyarrow.table({"user": ["a", "b"], "item": [1, 2], "time": old}), path)
    cleaning = Cleaning("interactions")
    choose = lambda header: columns.choose("interactions", header, {})  # noqa: E731
    table = tables.read(path, choose, cleaning, 10, lambda rows: None)
    assert [moment.year for moment in table.values("time")] == [1, 2024]
