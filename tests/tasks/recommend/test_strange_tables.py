"""Tables as strangers bring them, through a whole job: the answer is right, or warned of, or refused with a reason."""

from pathlib import Path

import numpy as np
import pytest

from tasks.errors import InvalidInput
from tasks.recommend import Params, evaluate, interactions
from tasks.recommend import catalogue as catalogues
from tests.tasks.recommend.test_jobs import ask, codes

CASES = Path(__file__).parent / "cases"


def table(path: Path, header: str, rows) -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def test_a_movie_id_is_the_id_in_both_tables(tmp_path):
    """Titles that are numbers name no film: 300 and 1917 are ids here, of other films."""
    films = [(9, 300), (21, 1917), (42, 21), (300, 9), (1917, 42), (6, "Alpha"), (7, "Beta")]
    catalogue = table(tmp_path / "films.csv", "movieId,title,genres", [(*film, "War") for film in films])
    seen = [("a", 42), ("a", 300), ("a", 1917), ("b", 9), ("b", 21), ("b", 42), ("c", 42), ("c", 300)]
    choices = table(tmp_path / "seen.csv", "userId,movieId,rating", [(*row, 5) for row in seen])
    result = ask("item-knn", catalogue=catalogue, interactions=choices, user="c")
    assert [(item["id"], item["title"]) for item in result.value["items"]][0] == ("1917", "42")
    assert codes(result) == []


def test_float_ids_and_columns_of_no_use_of_parquet_are_no_fault(tmp_path):
    """3 and 3.0 are one film, in both tables; nanoseconds nobody asked for are not read."""
    films, choices = CASES / "catalogue-float-ids.parquet", CASES / "interactions-float-ids.parquet"
    result = ask("hybrid", catalogue=films, interactions=choices, user="u1", history=["3.0"])
    assert result.value["items"][0]["id"].isdigit() and codes(result) == []
    padded = table(tmp_path / "films.csv", "id,title", [(f"{n:05}", f"Film {n}") for n in range(1, 41)])
    result = ask("item-knn", catalogue=padded, interactions=CASES / "extra-column-nanoseconds.parquet", user="u1")
    assert result.value["items"] and codes(result) == []


def test_thousands_of_plays_are_thousands(catalogue, tmp_path):
    """In a column rating they are ratings; the reading is told."""
    rows = [
        (f"u{user}", f"f{n}", says) for user in range(9) for n, says in enumerate((999, '"1,000"', 500, '"12,500"', 10))
    ]
    rows = [*rows, ("u99", "f0", 999), ("u99", "f2", 500)]
    choices = table(tmp_path / "plays.csv", "user,item,rating", rows)
    result = ask("svd", {"objective": "rating"}, catalogue=catalogue, interactions=choices, user="u99")
    best = result.value["items"][0]
    assert best["id"] == "f3" and best["score"] > 1000 and codes(result) == ["numbers_guessed"]
    choices.write_text('user,item,rating\nu1,f1,"12,500"\nu1,f2,3\n')
    error = ask("svd", {"objective": "rating"}, catalogue=catalogue, interactions=choices, user="u1")
    assert isinstance(error, InvalidInput) and "'12,500'" in error.detail


def test_who_alone_has_chosen_much_gets_what_content_knows(tmp_path):
    """Hybrid with one active user: finite scores, and as many titles as content has."""
    films = table(
        tmp_path / "films.csv",
        "id,title,genres,director",
        [(f"{n:05}", f"Film {n}", ("War|Drama", "War|Comedy", "Drama")[n % 3], f"Director {n % 7}") for n in range(40)],
    )
    rows = [("u1", f"{n:05}") for n in range(8)] + [(f"v{n}", f"{n % 12:05}") for n in range(50)]
    choices = table(tmp_path / "one.csv", "user,item", rows)
    for name in ("hybrid", "content"):
        items = ask(name, {"k": 20}, catalogue=films, interactions=choices, user="u1").value["items"]
        assert len(items) == 20 and all(abs(item["score"]) < 1000 for item in items)


@pytest.mark.parametrize("name", ["content", "hybrid"])
def test_genres_between_commas_are_genres(name, tmp_path):
    """As most exports have them; and behind a line sep=; of Excel."""
    rows = [(n, f"Film {n}", f'"{("Comedy, Romance", "Drama, Comedy", "Drama")[n % 3]}"') for n in range(1, 9)]
    films = table(tmp_path / "films.csv", "id,title,genres", rows)
    result = ask(name, catalogue=films, history=["1"])
    assert "shares" in result.value["items"][0]["reason"] and codes(result) == []
    films.write_text("\ufeffsep=;\r\n" + films.read_text().replace(",", ";").replace("; ", "|").replace('"', ""))
    assert ask(name, catalogue=films, history=["1.0"]).value["items"] == result.value["items"]


def test_columns_may_be_named_by_the_caller(catalogue, choices):
    """Where a table's names are not known; a name for a table that is not given is refused."""
    strange = choices.with_name("strange.csv")
    strange.write_text(choices.read_text().replace("user,item,rating,time", "kunde,film_code,note,wann"))
    error = ask("popular", catalogue=catalogue, interactions=strange, user="u3")
    assert isinstance(error, InvalidInput) and "'kunde', 'film_code'" in error.detail
    given = {"user": "kunde", "item": "film_code", "rating": "note", "time": "wann"}
    named = ask("item-knn", {"columns": given}, catalogue=catalogue, interactions=strange, user="u3")
    plain = ask("item-knn", catalogue=catalogue, interactions=choices, user="u3")
    assert named.value == plain.value
    error = ask("content", {"columns": {"user": "kunde"}}, catalogue=catalogue, history=["f1"])
    assert isinstance(error, InvalidInput) and "which is not given" in error.detail


@pytest.mark.parametrize(("name", "params"), [("item-knn", {}), ("user-knn", {}), ("svd", {}), ("nmf", {"factors": 2})])
def test_plays_weigh(name, params, catalogue, tmp_path):
    """Horror a thousand times and comedies once: horror. With the numbers the other way: comedies. No rating is it."""
    rows = [
        (f"u{user}", f"f{n}", 1000 if n % 2 == user % 2 else 1)
        for user in range(20)
        for n in range(16)
        if n % 5 != user % 5
    ]
    first = {}
    for asked, many in (("horror", 0), ("comedy", 1)):
        own = [("me", f"f{n}", 1000 if n % 2 == many else 1) for n in (0, 1, 2, 3)]
        choices = table(tmp_path / "plays.csv", "user,item,plays", [*rows, *own])
        items = ask(name, {"k": 3, **params}, catalogue=catalogue, interactions=choices, user="me").value["items"]
        first[asked] = {int(item["id"][1:]) % 2 for item in items}
    assert first == {"horror": {0}, "comedy": {1}}
    if name in ("svd", "nmf"):
        error = ask(name, {"objective": "rating"}, catalogue=catalogue, interactions=choices, user="me")
        assert isinstance(error, InvalidInput) and "plays are counts" in error.detail


def test_plays_weigh_in_the_evaluation(catalogue, tmp_path):
    """What is held back is of the kind that each plays much: it is found sooner than without the plays."""
    random, rows = np.random.default_rng(0), []
    for user in range(40):
        loved, seen = (random.choice(np.arange(kind % 2, 24, 2), 9, replace=False) for kind in (user, user + 1))
        rows += [(f"u{user}", f"f{n}", 1) for n in seen] + [(f"u{user}", f"f{n}", 1000) for n in loved]
    titles, params, found = catalogues.read(catalogue), Params(k=3), {}
    for header, width in (("user,item,plays", 3), ("user,item", 2)):
        choices = interactions.read(table(tmp_path / "t.csv", header, [row[:width] for row in rows]), titles)
        train, last = choices.without_last()
        found[width] = evaluate._model("item-knn", evaluate.Data(titles, train), train, last, params)["ndcg"]
    assert found[3] > 1.2 * found[2]


def test_plays_are_added_and_none_is_no_choice(catalogue, tmp_path):
    """Of one user and item; the logarithm is what counts."""
    choices = table(
        tmp_path / "plays.csv", "user,item,plays", [("a", "f1", 3), ("a", "f1", 6), ("a", "f2", 0), ("b", "f2", 1)]
    )
    found = interactions.read(choices, catalogues.read(catalogue))
    assert found.counted and found.item.tolist() == [1, 2]
    assert found.rating == pytest.approx(np.log1p([9, 1])) and found.interest().data == pytest.approx([1, 0.2])


def test_users_who_get_nothing_are_counted(catalogue, tmp_path):
    """Who has chosen all that anybody chose."""
    choices = table(tmp_path / "few.csv", "user,item", [("a", "f1"), ("a", "f2"), ("b", "f1"), ("c", "f2")])
    result = ask("popular", catalogue=catalogue, interactions=choices, users="all")
    assert result.value["many"]["without_items"] == 1 and codes(result) == ["users_without_items"]
    assert "1 of 3 users" in result.value["warnings"][0]["detail"]
