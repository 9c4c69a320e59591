"""Scores are the published formula's, reasons are true, and the history is respected."""

import json
import math
from functools import partial

import numpy as np
import pytest

from tasks.algorithm import Call, load
from tasks.errors import BacklotError, Canceled, InvalidInput
from tasks.recommend import catalogue
from tasks.recommend.content import SHARES

FILMS = [  # id, title, genres, director, cast, plot
    ("f1", "Jaws", "Adventure|Thriller", "Steven Spielberg", "Roy Scheider|Robert Shaw", "shark attacks beach"),
    ("f2", "Hook", "Adventure|Family", "Steven Spielberg", "Robin Williams", "grown boy returns island"),
    ("f3", "Deep Blue Sea", "Thriller", "Renny Harlin", "Samuel L. Jackson", "shark escapes laboratory"),
    ("f4", "Airplane!", "Comedy", "Jim Abrahams", "Leslie Nielsen", "passenger lands aircraft"),
    ("f5", "Top Secret!", "Comedy", "jim abrahams", "Val Kilmer", ""),
    ("f6", "The Sting", "Comedy|Crime", "George Roy Hill", "Robert Shaw|Paul Newman", "swindle"),
    ("f7", "Popeye", "Family|Musical", "Robert Altman", "Robin Williams", "sailor seeks father island"),
    ("f8", "Nashville", "Musical", "Robert Altman", "Ned Beatty", "country singers"),
    ("f9", "Alien", "Horror", "Ridley Scott", "Sigourney Weaver", "creature attacks crew"),
    ("f10", "Nothing Known", "", "", "", ""),
]
COLUMNS = ("id", "title", "genres", "director", "cast", "plot")


@pytest.fixture(scope="module")
def content():
    return load("recommend", "content")


@pytest.fixture
def films(tmp_path):
    path = tmp_path / "films.csv"
    path.write_text("\n".join(",".join(row) for row in (COLUMNS, *FILMS)) + "\n")
    return path


def ask(content, path, *history, k=10):
    """The items, or the error."""
    (result,) = content.run([Call.of("recommend", {"k": k}, catalogue=path, history=list(history))])
    return result if isinstance(result, BacklotError) else result.value["items"]


def by_the_formula(history: list[str]) -> dict[str, float]:
    """The scores computed anew, with dense vectors and no library but numpy."""
    vectors = []
    for column, share in SHARES.items():
        cells = [row[COLUMNS.index(column)].lower() for row in FILMS]
        words = [cell.split() if column == "plot" else [part for part in cell.split("|") if part] for cell in cells]
        known = sorted({word for of in words for word in of})
        block = np.array([[of.count(word) for word in known] for of in words], float)
        block *= [math.log((1 + len(FILMS)) / (1 + sum(word in of for of in words))) + 1 for word in known]
        vectors.append(_unit(block) * math.sqrt(share))
    rows = _unit(np.hstack(vectors))
    profile = rows[[row[0] in history for row in FILMS]].mean(axis=0)
    scores = rows @ profile / np.linalg.norm(profile)
    return {row[0]: score for row, score in zip(FILMS, scores, strict=True) if row[0] not in history and score > 0}


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


@pytest.mark.parametrize("history", [["f1"], ["f2", "f9"], ["f4", "f6", "f7"]], ids=lambda h: "+".join(h))
def test_scores_are_those_of_the_formula(content, films, history):
    """tf-idf and cosine as the file's head states them, against a computation of our own."""
    expected = by_the_formula(history)
    items = ask(content, films, *history)
    assert {item["id"]: item["score"] for item in items} == pytest.approx(expected, abs=1e-8)
    assert [item["score"] for item in items] == pytest.approx(sorted(expected.values(), reverse=True))


def test_the_same_director_ranks_above_the_unrelated(content, films):
    """Hook, by the director of Jaws, comes before films that share less; what shares nothing is not there."""
    titles = [item["title"] for item in ask(content, films, "f1")]
    assert titles[:2] == ["Hook", "Deep Blue Sea"]
    assert "Airplane!" not in titles and "Nothing Known" not in titles


def test_the_reason_names_what_is_shared_and_with_what(content, films):
    """The strongest first, the title of the history that it is shared with last."""
    reasons = {item["title"]: item["reason"] for item in ask(content, films, "f1", "f8")}
    assert reasons["Hook"] == "shares director Steven Spielberg and genre Adventure with Jaws"
    assert reasons["Deep Blue Sea"] == "shares genre Thriller and the plot word shark with Jaws"
    assert reasons["Popeye"] == "shares genre Musical and director Robert Altman with Nashville"
    assert reasons["The Sting"] == "shares actor Robert Shaw with Jaws"


def test_names_are_the_same_in_any_case(content, films):
    """'jim abrahams' and 'Jim Abrahams' are one director, shown as first spelled."""
    first = ask(content, films, "f5")[0]
    assert first["title"] == "Airplane!"
    assert "director Jim Abrahams" in first["reason"]


def test_nothing_of_the_history_comes_back(content, films):
    """Whatever was liked is known already; and k is the most that comes."""
    items = ask(content, films, "f1", "f2", "f3", k=3)
    assert len(items) == 3
    assert not {"f1", "f2", "f3"} & {item["id"] for item in items}


def test_ties_stand_in_the_order_of_the_catalogue(content, tmp_path):
    """Five equal films: always the same answer, in the order of the file."""
    path = tmp_path / "equal.csv"
    path.write_text("id,title,genres\n" + "".join(f"e{i},Equal {i},Drama\n" for i in (3, 1, 2, 5, 4)))
    assert [item["id"] for item in ask(content, path, "e2")] == ["e3", "e1", "e5", "e4"]


def test_a_json_lines_catalogue_gives_the_same_answer(content, films, tmp_path):
    """One table, two formats; lists in place of '|'."""
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in FILMS]
    lists = [{**row, "genres": row["genres"].split("|"), "cast": row["cast"].split("|")} for row in rows]
    path = tmp_path / "films"
    path.write_text("\n".join(json.dumps(row) for row in lists))
    assert ask(content, path, "f1", "f7") == ask(content, films, "f1", "f7")


def test_a_byte_order_mark_and_foreign_columns_do_not_matter(content, films, tmp_path):
    """What spreadsheets add is passed over."""
    lines = films.read_text().splitlines()
    path = tmp_path / "excel.csv"
    path.write_text(
        "\r\n".join([lines[0].upper() + ",shelf", *(line + ",7" for line in lines[1:])]), encoding="utf-8-sig"
    )
    assert ask(content, path, "f1") == ask(content, films, "f1")


def test_a_title_stands_for_its_id_where_only_one_has_it(content, films):
    """People remember titles."""
    assert ask(content, films, "Jaws") == ask(content, films, "f1")


def test_unknown_entries_are_passed_over_and_said(content, films):
    """A catalogue may have lost a title: the rest of the history still counts, and the answer tells."""
    made, said = Call.of("recommend", catalogue=films, history=["f1", "gone"]), []
    call = Call(made.inputs, made.params, made.workdir, lambda progress, message: said.append(message))
    (result,) = content.run([call])
    assert result.value["items"] == ask(content, films, "f1")
    told = json.loads((call.workdir / "recommendations.json").read_text())
    assert told["unknown"] == [{"asked": "gone", "why": "no such id or title in the catalogue"}]
    assert told["history"] == [{"asked": "f1", "id": "f1", "title": "Jaws", "by": "id"}]
    assert said[-1].endswith("'gone': no such id or title in the catalogue")


def test_a_history_that_is_wholly_unknown_is_refused(content, films):
    """The answer names the entries, the first five at least."""
    error = ask(content, films, *(f"x{i}" for i in range(7)))
    assert isinstance(error, InvalidInput)
    assert "'x0'" in error.detail and "'x4'" in error.detail and "and 2 more" in error.detail


def test_a_title_of_two_films_needs_an_id(content, tmp_path):
    """King Kong is more than one film."""
    path = tmp_path / "kongs.csv"
    path.write_text("id,title,genres\na,King Kong,Horror\nb,King Kong,Adventure\nc,Them!,Horror\n")
    error = ask(content, path, "King Kong")
    assert isinstance(error, InvalidInput) and "2 rows have this title: give the id" in error.detail
    assert [item["id"] for item in ask(content, path, "a")] == ["c"]


def test_a_catalogue_that_says_nothing_is_refused(content, tmp_path):
    """Titles alone cannot be compared."""
    path = tmp_path / "bare.csv"
    path.write_text("title,year\nJaws,1975\nHook,1991\n")
    error = ask(content, path, "Jaws")
    assert isinstance(error, InvalidInput) and "genres, director, cast, plot" in error.detail


def test_the_file_holds_all_that_is_known(content, films):
    """Beside rank, score and reason: the catalogue's own fields."""
    call = Call.of("recommend", {"k": 1}, catalogue=films, history=["f1"])
    (result,) = content.run([call])
    assert result.files == [call.workdir / "recommendations.json"]
    (item,) = json.loads(result.files[0].read_text())["items"]
    assert item == {
        **result.value["items"][0],
        "rank": 1,
        "year": None,
        "genres": ["Adventure", "Family"],
        "director": ["Steven Spielberg"],
        "cast": ["Robin Williams"],
        "plot": "grown boy returns island",
    }


def test_progress_rises_and_a_canceled_call_stops(content, films):
    """Progress goes from 0 to 1; canceled() is asked at each stage."""
    made, seen = Call.of("recommend", catalogue=films, history=["f1"]), []

    def report(progress: float, message: str | None) -> None:
        seen.append(progress)

    content.run([Call(made.inputs, made.params, made.workdir, report)])
    assert seen == sorted(seen) and seen[-1] == 1.0
    for allowed in range(len(seen) - 1):
        left = iter([False] * allowed)
        (stopped,) = content.run([Call(made.inputs, made.params, made.workdir, report, partial(next, left, True))])
        assert isinstance(stopped, Canceled)


def test_the_shipped_sample_recommends_bond_to_who_likes_bond(content):
    """The sample catalogue is read as it is, and its answer makes sense."""
    sample = catalogue.__file__.replace("catalogue.py", "samples/films.csv")
    items = ask(content, sample, "Goldfinger", "Moonraker", k=5)
    bonds = {
        "The Spy Who Loved Me",
        "You Only Live Twice",
        "Live and Let Die",
        "Diamonds Are Forever",
        "Thunderball",
        "On Her Majesty's Secret Service",
        "For Your Eyes Only",
        "Octopussy",
    }
    assert len({item["title"] for item in items} & bonds) >= 4
