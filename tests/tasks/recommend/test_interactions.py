"""A table of interactions: the formats, each rule of cleaning, and what is refused."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import BacklotError, InvalidInput, TooLarge, UnsupportedMedia
from tasks.recommend import interactions
from tasks.recommend.catalogue import Title
from tasks.recommend.chosen import LEAST, Chosen
from tasks.recommend.cleaning import Cleaning

NAMES = ["Jaws", "Hook", "Alien", "Twice", "Twice"]
TITLES = [Title(f"f{n}", name, None, (), (), (), "", 0) for n, name in enumerate(NAMES)]


def read(tmp_path, text: str | bytes) -> tuple[Chosen, Cleaning]:
    path, cleaning = tmp_path / "interactions", Cleaning("interactions")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return interactions.read(path, TITLES, cleaning=cleaning), cleaning


def rows(chosen: Chosen) -> list[tuple[str, str, float]]:
    return [
        (chosen.users[user], TITLES[item].id, None if np.isnan(rating) else rating)
        for user, item, rating in zip(chosen.user, chosen.item, chosen.rating, strict=True)
    ]


WHOLE = [("ann", "f1", 3.0), ("ann", "f0", 5.0), ("bob", "f2", 1.5)]
SAME = {
    "csv": "user,item,rating,time\nann,f0,5,200\nann,f1,3,100\nbob,f2,1.5,50\n",
    "other names": "userId,movieId,rating,timestamp\nann,f0,5,200\nann,f1,3,100\nbob,f2,1.5,50\n",
    "semicolons, decimal commas": "user;item;rating;time\nann;f0;5,0;200\nann;f1;3,0;100\nbob;f2;1,5;50\n",
    "tabs": "user\titem\trating\ttime\nann\tf0\t5\t200\nann\tf1\t3\t100\nbob\tf2\t1.5\t50\n",
    "utf-16": "user,item,rating,time\nann,f0,5,200\nann,f1,3,100\nbob,f2,1.5,50\n".encode("utf-16"),
    "iso times": "user,item,rating,time\nann,f0,5,2024-05-02T10:00:00Z\nann,f1,3,2024-05-02\nbob,f2,1.5,2023-01-01\n",
    "titles for ids": "user,item,rating,time\nann,Jaws,5,200\nann,Hook,3,100\nbob,Alien,1.5,50\n",
    "json lines": '{"user": "ann", "item": "f0", "rating": 5, "time": 200}\n'
    '{"user": "ann", "item": "f1", "rating": "3", "time": 100}\n'
    '{"user": "bob", "item": "f2", "rating": 1.5, "time": 50}\n',
}


@pytest.mark.parametrize("form", SAME)
def test_every_form_gives_the_same_choices(form, tmp_path):
    """Sorted by user, and from oldest to newest; nothing had to be cleaned."""
    chosen, cleaning = read(tmp_path, SAME[form])
    assert rows(chosen) == WHOLE and cleaning.clean


def test_parquet_gives_the_same_choices_and_the_same_digest(tmp_path):
    """Whatever the file, the same data is the same model's."""
    table = pyarrow.table(
        {
            "user": ["ann", "ann", "bob"],
            "item": ["f0", "f1", "f2"],
            "rating": [5, 3, 1.5],
            "time": pyarrow.array([200, 100, 50], pyarrow.timestamp("s")),
        }
    )
    path = tmp_path / "interactions.parquet"
    parquet.write_table(table, path)
    chosen = interactions.read(path, TITLES)
    assert rows(chosen) == WHOLE
    assert chosen.digest() == read(tmp_path, SAME["csv"])[0].digest()


CLEANED = {
    "a row again": ("ann,f0,5,1\nann,f0,5,1\n", "dropped", "repeats another row", [2], [("ann", "f0", 5)]),
    "a newer rating": (
        "ann,f0,5,9\nann,f0,2,1\nbob,f0,1,1\n",
        "dropped",
        "contradicts another row",
        [3],
        [("ann", "f0", 5), ("bob", "f0", 1)],
    ),
    "the later row of equal times": (
        "ann,f0,5,1\nann,f0,2,1\n",
        "dropped",
        "contradicts another row",
        [2],
        [("ann", "f0", 2)],
    ),
    "unknown item": ("ann,f0,5,1\nann,gone,2,1\n", "dropped", "item is not in the catalogue", [3], [("ann", "f0", 5)]),
    "a title that two films have": (
        "ann,f0,5,1\nann,Twice,2,1\n",
        "dropped",
        "item is not in the catalogue",
        [3],
        [("ann", "f0", 5)],
    ),
    "text for a number": (
        "ann,f0,4,1\nann,f1,good,2\nann,f2,2,3\n",
        "filled",
        "rating is no number",
        [3],
        [("ann", "f0", 4), ("ann", "f1", 3), ("ann", "f2", 2)],
    ),
    "no rating": (
        "ann,f0,4,1\nbob,f1,,2\nann,f2,2,3\n",
        "filled",
        "rating is missing: filled with the mean",
        [3],
        [("ann", "f0", 4), ("ann", "f2", 2), ("bob", "f1", 3)],
    ),
    "infinite rating": (
        "ann,f0,4,1\nann,f1,inf,2\n",
        "filled",
        "rating is no number",
        [3],
        [("ann", "f0", 4), ("ann", "f1", 4)],
    ),
    "no time": (
        "ann,f0,4,7\nann,f1,5,\n",
        "filled",
        "time is missing: counts as the oldest",
        [3],
        [("ann", "f1", 5), ("ann", "f0", 4)],
    ),
    "a time that is none": (
        "ann,f0,4,7\nann,f1,5,soon\n",
        "filled",
        "time is neither a number nor a date",
        [3],
        [("ann", "f1", 5), ("ann", "f0", 4)],
    ),
}


@pytest.mark.parametrize("case", CLEANED)
def test_each_rule_is_applied_and_said_with_its_rows(case, tmp_path):
    """What was dropped or filled, by which rule, in which lines."""
    text, action, rule, lines, expected = CLEANED[case]
    chosen, cleaning = read(tmp_path, "user,item,rating,time\n" + text)
    assert rows(chosen) == expected
    said = {name: of for name, of in cleaning.as_dict()[action].items() if name.startswith(rule)}
    (finding,) = said.values()
    assert finding == {"count": len(lines), "first_lines": lines}


def test_unusable_rows_are_left_out_and_said(tmp_path):
    """Fewer than half: the others count."""
    chosen, cleaning = read(tmp_path, "user,item\nann,f0\n,f1\nbob,NaN\nbob,f1\nann,f2\n")
    assert [(user, item) for user, item, _ in rows(chosen)] == [("ann", "f0"), ("ann", "f2"), ("bob", "f1")]
    assert cleaning.reasons == ["line 3 has no user", "line 4 has no item"]


BAD = {
    "half unusable": (b"user,item\nann,f0\n,f1\n", InvalidInput, r"line 3 has no user \(1 of 2 rows cannot be used"),
    "no columns": (
        b"user,code\nann,f0\n",
        InvalidInput,
        r"has no column item \(item is .*; its columns are 'user', 'code'",
    ),
    "neither column": (b"a,b\nann,f0\n", InvalidInput, "has no column user and none item"),
    "nothing known": (b"user,item\nann,x1\nbob,x2\n", InvalidInput, "no item .* catalogue; they name 'x1', 'x2'"),
    "header only": (b"user,item\n", InvalidInput, "has no rows"),
    "empty": (b"", InvalidInput, "is empty"),
    "binary": (b"PK\x03\x04\x14\0\0\0", UnsupportedMedia, "binary file"),
    "json array": (b'[{"user": 1}]', UnsupportedMedia, "JSON array"),
    "no parquet": (b"PAR1 not at all PAR1", InvalidInput, "not readable as Parquet"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_refused_with_its_rows(case, tmp_path):
    """The error names the row, the column or the items."""
    text, error, message = BAD[case]
    with pytest.raises(error, match=message):
        read(tmp_path, text)


def test_more_rows_than_the_limit_are_refused(tmp_path, monkeypatch):
    """The limit is stated in the error."""
    monkeypatch.setattr(interactions, "MAX_ROWS", 3)
    assert len(read(tmp_path, "user,item\n" + "ann,f0\n" * 3)[0].item) == 1
    with pytest.raises(TooLarge, match="more than 3 rows"):
        read(tmp_path, "user,item\n" + "ann,f0\n" * 4)


def test_a_parquet_bomb_is_refused(tmp_path, monkeypatch):
    """By its decoded size, which its own footer states."""
    path = tmp_path / "interactions"
    parquet.write_table(pyarrow.table({"user": ["a" * 1000] * 1000, "item": ["f0"] * 1000}), path)
    monkeypatch.setattr("tasks.recommend.parquet_file.MAX_DECODED", 1000)
    with pytest.raises(TooLarge, match="when decoded; at most 1,000"):
        interactions.read(path, TITLES)


CELL = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["f0", "f1", "Jaws", "NaN", "inf", "1e400", "4,5", "-1", "2024-01-01", "9" * 400, '"']
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(st.lists(CELL | st.none() | st.floats() | st.integers() | st.booleans(), min_size=4, max_size=4)))
def test_any_json_is_read_or_refused_by_name(cells, tmp_path):
    """However dirty: finite arrays, or an error of ours."""
    path = tmp_path / "interactions"
    path.write_text(
        "\n".join(
            json.dumps(dict(zip(("user", "item", "rating", "time"), row, strict=True)))
            for row in [["u", "f0", 3, 1], *cells]
        )
    )
    try:
        chosen = interactions.read(path, TITLES)
    except BacklotError:
        return
    assert np.isfinite(chosen.rating).all()
    assert len({*zip(chosen.user.tolist(), chosen.item.tolist(), strict=True)}) == len(chosen.item)


# -- what the arrays say


def choices(text: str, tmp_path) -> Chosen:
    return read(tmp_path, "user,item,rating,time\n" + text)[0]


def test_interest_is_linear_in_the_rating_and_halves_with_age(tmp_path):
    """By hand: lowest 0.2, middle 0.6, highest 1; two items later, with half-life 2, half of it."""
    chosen = choices("ann,f0,1,1\nann,f1,3,2\nann,f2,5,3\n", tmp_path)
    assert chosen.interest().toarray()[0, :3] == pytest.approx([LEAST, 0.6, 1])
    assert chosen.interest(2).toarray()[0, :3] == pytest.approx([LEAST / 2, 0.6 / 2**0.5, 1])


def test_without_times_nothing_is_older(tmp_path):
    """The order of a file alone is no reason to count one less."""
    chosen = read(tmp_path, "user,item\nann,f0\nann,f1\n")[0]
    assert chosen.interest(1).toarray()[0, :2].tolist() == [1, 1]


def test_the_newest_is_held_back_and_nothing_of_it_stays(tmp_path):
    """One held-back item a user with two; it is in no training row, and the only item of a user stays."""
    chosen = choices("ann,f0,1,3\nann,f1,3,1\nbob,f2,5,3\ncid,f0,1,1\ncid,f2,1,2\ncid,f1,1,2\n", tmp_path)
    train, last = chosen.without_last()
    assert last.tolist() == [0, -1, 2]  # of cid's equal times the later of the catalogue
    assert rows(train) == [("ann", "f1", 3), ("bob", "f2", 5), ("cid", "f0", 1), ("cid", "f1", 1)]


def test_selected_histories_are_whole_and_in_order(tmp_path):
    """-1 is a person without one; rows say who they are in the data."""
    chosen = choices("ann,f0,1,1\nbob,f1,3,1\nbob,f2,5,3\n", tmp_path).select(np.array([1, -1, 0]))
    assert [history.tolist() for history in chosen.histories()] == [[1, 2], [], [0]]
    assert chosen.rows.tolist() == [1, -1, 0]
