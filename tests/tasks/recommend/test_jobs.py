"""What a caller gets: for one person, for many, for strangers; reports, artefacts, evaluation, refusals."""

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from pydantic import ValidationError

from tasks.algorithm import Call, Result, load
from tasks.errors import Canceled, InvalidInput
from tasks.ledger import connect
from tasks.recommend import Inputs, Params, evaluate, interactions, metrics, popular
from tasks.recommend import catalogue as catalogues
from tasks.registry import Registry, contract
from tests.tasks.recommend.conftest import FILMS, PEOPLE
from worker.artefacts import Artefacts

MODELS = [model.name for model in Registry.default().models if model.kind == "recommend"]
LEARN = [name for name in MODELS if name not in ("content", "hybrid")]


def ask(name: str, params: dict | None = None, **inputs) -> Result | Exception:
    (result,) = load("recommend", name).run([Call.of("recommend", params, **inputs)])
    if isinstance(result, Result):
        contract("recommend").result.model_validate(result.value)
    return result


def saved(result: Result, name: str) -> dict:
    return json.loads(next(path for path in result.files if path.name == name).read_text())


def names(result: Result) -> list[str]:
    return [path.name for path in result.files]


def chosen_by(user: str, choices: Path) -> set[str]:
    return {line.split(",")[1] for line in choices.read_text().splitlines() if line.startswith(user + ",")}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_answers_for_a_user(name, catalogue, choices):
    """Best first, with reasons, and nothing that the user chose already."""
    result = ask(name, {"k": 5}, catalogue=catalogue, interactions=choices, user="u3")
    items = result.value["items"]
    assert 1 <= len(items) <= 5 and all(item["reason"] for item in items)
    assert [item["score"] for item in items] == sorted((item["score"] for item in items), reverse=True)
    assert not {item["id"] for item in items} & chosen_by("u3", choices)
    assert names(result) == ["recommendations.json", "data-report.json"]


def codes(result: Result) -> list[str]:
    return [warning["code"] for warning in result.value["warnings"]]


def test_clean_data_has_no_warning(catalogue, choices):
    """And one unknown item among a hundred is for the report alone."""
    assert codes(ask("popular", catalogue=catalogue, interactions=choices, user="u3")) == []
    nearly = choices.with_name("nearly.csv")
    nearly.write_text(choices.read_text() + "u3,nowhere,4,9\n")
    assert codes(ask("popular", catalogue=catalogue, interactions=nearly, user="u3")) == []


def test_rows_of_unknown_items_are_told_with_their_number(catalogue, choices):
    """A table that mostly names other films is answered from the rest, and says so."""
    mostly = choices.with_name("mostly.csv")
    mostly.write_text(choices.read_text() + "".join(f"u{n % PEOPLE},x{n},4,9\n" for n in range(200)))
    (warning,) = ask("hybrid", catalogue=catalogue, interactions=mostly, user="u3").value["warnings"]
    assert warning["code"] == "rows_dropped" and "200 of 308 rows of the input interactions" in warning["detail"]


def test_times_that_cannot_be_read_are_told(catalogue, choices):
    """Nothing of them is used, so newer choices do not count more."""
    odd = choices.with_name("odd.csv")
    head, *rows = choices.read_text().splitlines()
    odd.write_text("\n".join([head, *(row.rpartition(",")[0] + ",lately" for row in rows)]) + "\n")
    (warning,) = ask("popular", catalogue=catalogue, interactions=odd, user="u3").value["warnings"]
    assert warning["code"] == "cells_filled" and "108 of 108" in warning["detail"] and "time" in warning["detail"]


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({"user": "nobody"}, "unknown_user"),
        ({"users": ["u1", "nobody"]}, "unknown_user"),
        ({"tags": ["Horror", "Noir"]}, "unknown_tag"),
        ({"user": "u1", "tags": ["Horror"]}, "tags_unused"),
        ({"history": ["f1", "f99"]}, "unknown_history"),
    ],
)
def test_what_was_asked_and_is_not_known_is_told(inputs, code, catalogue, choices):
    assert codes(ask("popular", catalogue=catalogue, interactions=choices, **inputs)) == [code]


def test_an_empty_answer_has_its_reason(tmp_path):
    """And what is behind it: no two titles share a genre."""
    path = tmp_path / "films.csv"
    path.write_text("id;title;genres\n" + "".join(f"f{n};Film {n};Kind {n}\n" for n in range(5)))
    result = ask("content", catalogue=path, history=["f1"])
    assert result.value["items"] == [] and codes(result) == ["genres_unshared", "no_items"]


@pytest.mark.parametrize("name", MODELS)
def test_all_users_come_as_parquet(name, catalogue, choices):
    """One row a user and rank; each user's rows are what the user alone would get."""
    result = ask(name, {"k": 4}, catalogue=catalogue, interactions=choices, users="all")
    assert result.value["items"] == [] and result.value["many"]["users"] == PEOPLE
    rows = parquet.read_table(result.files[0]).to_pylist()
    assert result.value["many"]["rows"] == len(rows)
    alone = ask(name, {"k": 4}, catalogue=catalogue, interactions=choices, user="u7").value["items"]
    own = [row for row in rows if row["user"] == "u7"]
    assert [row["rank"] for row in own] == list(range(1, len(own) + 1))
    assert [(row["id"], row["title"], row["reason"]) for row in own] == [
        (item["id"], item["title"], item["reason"]) for item in alone
    ]
    assert [row["score"] for row in own] == pytest.approx([item["score"] for item in alone])
    assert all(row["id"] not in chosen_by(row["user"], choices) for row in rows)


def test_a_list_of_users_may_hold_strangers(catalogue, choices):
    """They get what is popular, and the answer says how many they are."""
    result = ask("item-knn", {"k": 3}, catalogue=catalogue, interactions=choices, users=["u1", "new", "u1"])
    rows = parquet.read_table(result.files[0]).to_pylist()
    assert [row["user"] for row in rows] == ["u1"] * 3 + ["new"] * 3
    assert result.value["many"] == {"users": 2, "rows": 6, "without_history": 1, "without_items": 0}
    assert rows[3]["reason"].startswith("chosen by ")
    assert "'new': they get what is popular" in saved(result, "data-report.json")["asked"][0]


@pytest.mark.parametrize("inputs", [{"user": "nobody"}, {"history": []}], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_a_person_without_history_gets_what_is_popular(name, inputs, catalogue, choices):
    """Whatever the model; counted by hand."""
    result = ask(name, {"k": 3}, catalogue=catalogue, interactions=choices, **inputs)
    rows = [line.split(",")[1] for line in choices.read_text().splitlines()[1:]]
    best = sorted(set(rows), key=lambda item: (-rows.count(item), int(item[1:])))[:3]
    assert [item["id"] for item in result.value["items"]] == best
    assert result.value["items"][0]["reason"] == f"chosen by {rows.count(best[0])} of {PEOPLE} people"


def test_tags_stand_in_for_a_history(catalogue, choices):
    """Titles that fit more tags first, in any case of letters; then those that more people chose."""
    items = ask("hybrid", catalogue=catalogue, interactions=choices, tags=["horror", "DIRECTOR 2"]).value["items"]
    assert items[0]["id"] in {"f2", "f12", "f22"}
    assert items[0]["reason"].startswith("fits the tags horror, DIRECTOR 2; chosen by ")
    number = [int(re.search(r"by (\d+) of", item["reason"])[1]) for item in items if "," not in item["reason"]]
    assert number == sorted(number, reverse=True)


def test_tags_do_without_interactions_and_unknown_tags_are_refused(catalogue):
    """There is nothing else to go by; the error names them."""
    assert ask("hybrid", catalogue=catalogue, tags=["Comedy"]).value["items"][0]["reason"] == "fits the tags Comedy"
    error = ask("hybrid", catalogue=catalogue, tags=["Opera"])
    assert isinstance(error, InvalidInput) and "'Opera'" in error.detail


def test_tags_beside_a_history_are_passed_over_and_said(catalogue, choices):
    """What somebody chose says more."""
    both = ask("item-knn", catalogue=catalogue, interactions=choices, user="u1", tags=["Horror"])
    plain = ask("item-knn", catalogue=catalogue, interactions=choices, user="u1")
    assert both.value["items"] == plain.value["items"] and codes(both) == ["tags_unused"]
    assert saved(both, "data-report.json")["asked"] == ["tags are for people without a history: they were not used"]


def test_a_users_fresh_likes_are_newer_than_the_data(catalogue, choices):
    """A comedy person who now likes horror, with a short memory, is shown horror."""
    items = ask(
        "item-knn",
        {"k": 3, "half_life": 0.5},
        catalogue=catalogue,
        interactions=choices,
        user="u1",
        history=["f0", "f2", "Film 4"],
    ).value["items"]
    assert all(int(item["id"][1:]) % 2 == 0 for item in items)


def test_fresh_likes_that_are_unknown_do_not_hide_what_the_data_knows(catalogue, choices):
    """The rest still counts, and the report tells."""
    both = ask("item-knn", catalogue=catalogue, interactions=choices, user="u1", history=["gone"])
    plain = ask("item-knn", catalogue=catalogue, interactions=choices, user="u1")
    assert both.value["items"] == plain.value["items"] and codes(both) == ["unknown_history"]
    assert "'gone': no such id or title" in saved(both, "data-report.json")["asked"][0]


def test_hybrid_without_interactions_is_content(catalogue):
    """Score by score, reason by reason."""
    asked = {"catalogue": catalogue, "history": ["f1", "f6"]}
    assert ask("hybrid", **asked).value == ask("content", **asked).value


def test_the_default_is_hybrid():
    assert Registry.default().model("recommend").name == "hybrid"


@pytest.mark.parametrize("name", LEARN)
def test_models_that_learn_say_what_they_need(name, catalogue):
    """Interactions, and which models do without."""
    error = ask(name, catalogue=catalogue, history=["f1"])
    assert isinstance(error, InvalidInput)
    assert f"the model {name} learns from the input interactions" in error.detail and "content" in error.detail


def test_the_report_says_what_cleaning_did(catalogue, tmp_path):
    """Of both tables: format, rows, what was dropped and filled, which items are unknown."""
    films = tmp_path / "films.csv"
    films.write_bytes("id;title\n1;Amélie\n2;Jaws\n2;Hook\n3;Alien\n".encode("latin-1"))
    table = tmp_path / "choices.csv"
    table.write_text("user,item,rating\na,1,5\na,2,bad\nb,9,3\nb,2,4\n,1,3\n")
    report = saved(ask("popular", catalogue=films, interactions=table, user="a"), "data-report.json")
    assert report["catalogue"]["format"] == "CSV, cp1252, semicolons"
    assert report["catalogue"]["dropped"] == {
        "has the id of an earlier row but differs; the first stays": {"count": 1, "first_lines": [4]}
    }
    told = report["interactions"]
    assert (told["rows"], told["unusable"]) == (5, {"count": 1, "first": ["line 6 has no user"]})
    assert told["items that are not in the catalogue"] == {"count": 1, "first": ["9"]}
    assert told["filled"]["rating is no number: taken as missing"]["first_lines"] == [3]


# -- artefacts


class Kept:
    """A worker's artefacts, in a folder: made once, handed out again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, []

    def __call__(self, name: str, make) -> Path:
        assert re.fullmatch("[a-z0-9-]{1,100}", name)
        if not (self.folder / name).exists():
            self.made.append(name)
            (self.folder / name).mkdir()
            make(self.folder / name)
        return self.folder / name

    def ask(self, name: str, params: dict | None = None, **inputs) -> Result:
        call = Call.of("recommend", params, **inputs)
        (result,) = load("recommend", name).run([Call(call.inputs, call.params, call.workdir, artefact=self)])
        return result


@pytest.fixture
def kept(tmp_path) -> Kept:
    return Kept(tmp_path)


@pytest.mark.parametrize("name", MODELS)
def test_the_next_job_on_the_same_data_loads_what_was_fitted(name, catalogue, choices, kept, monkeypatch):
    """From the same data in another form, for another person: nothing is fitted, and the answer is the same."""
    first = kept.ask(name, {"k": 3}, catalogue=catalogue, interactions=choices, user="u2")
    assert len(kept.made) == 1
    lines = catalogue.with_name("choices.jsonl")
    heads, *rows = (line.split(",") for line in choices.read_text().splitlines())
    lines.write_text("\n".join(json.dumps(dict(zip(heads, row, strict=True))) for row in rows))
    monkeypatch.setattr(f"tasks.recommend.{name.replace('-', '_')}.Model.fit", None)
    again = kept.ask(name, {"k": 3}, catalogue=catalogue, interactions=lines, user="u2")
    assert again.value == first.value and len(kept.made) == 1
    assert kept.ask(name, {"k": 9}, catalogue=catalogue, interactions=lines, users=["u1", "u4"]).value["many"]


def test_other_data_or_params_are_fitted_anew(catalogue, choices, kept, tmp_path):
    """One rating changed, another shrinkage: other artefacts. The half-life changes no fit."""
    for params in ({}, {"shrinkage": 3}, {"half_life": 2}):
        kept.ask("item-knn", params, catalogue=catalogue, interactions=choices, user="u2")
    assert len(set(kept.made)) == 2
    changed = tmp_path / "changed.csv"
    changed.write_text(choices.read_text().replace(",4,0\n", ",5,0\n", 1))
    kept.ask("item-knn", {}, catalogue=catalogue, interactions=changed, user="u2")
    assert len(set(kept.made)) == 3


def test_what_is_kept_needs_no_pickle(catalogue, choices, kept):
    """Plain arrays of numbers: loading runs no code."""
    kept.ask("hybrid", catalogue=catalogue, interactions=choices, user="u2")
    with np.load(kept.folder / kept.made[0] / "fitted.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind in "iufb" for name in arrays)


def test_ten_jobs_at_once_fit_once(catalogue, choices, settings, storage, fixed, tmp_path, monkeypatch):
    """On a real bucket, each with a client of its own as ten processes would have: one fits, nine wait and load."""
    fits, start, fit = [], threading.Barrier(10), popular.Model.fit

    def slow(*args):
        fits.append(1)
        time.sleep(0.3)
        return fit(*args)

    def job(number: int) -> dict:
        artefacts = Artefacts(storage, connect(settings, read_timeout_s=5))
        folder = tmp_path / str(number)
        folder.mkdir()
        call = Call.of("recommend", catalogue=catalogue, interactions=choices, user=f"u{number}")
        start.wait()
        (result,) = load("recommend", "popular").run(
            [Call(call.inputs, call.params, call.workdir, artefact=artefacts.of(fixed(), folder, lambda: False))]
        )
        return result.value

    monkeypatch.setattr(popular.Model, "fit", slow)
    with ThreadPoolExecutor(10) as pool:
        assert all(value["items"] for value in pool.map(job, range(10)))
    assert len(fits) == 1


# -- evaluation


def test_evaluation_compares_all_models(catalogue, choices, kept):
    """Every model with its interval, a table and a picture; and it is made once for the same data."""
    params = {"evaluate": True, "k": 5}
    result = kept.ask("item-knn", params, catalogue=catalogue, interactions=choices, user="u2")
    assert [row["model"] for row in result.value["evaluation"]] == list(evaluate.MODELS)
    assert set(evaluate.MODELS) == set(MODELS)
    for row in result.value["evaluation"]:
        assert 0 <= row["low"] <= row["ndcg"] <= row["high"] <= row["recall"] + 1e-9 or row["ndcg"] == 0
    told = saved(result, "evaluation.json")
    assert (told["users"], told["k"], told["asked"]) == (PEOPLE, 5, "item-knn")
    picture = next(path for path in result.files if path.name == "evaluation.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 5000
    assert len(kept.made) == 2
    kept.ask("item-knn", params, catalogue=catalogue, interactions=choices, user="u4")
    assert len(kept.made) == 2


def test_evaluation_ranks_what_was_held_back_among_all_that_was_not_seen(catalogue, choices):
    """Popularity's figures, computed anew from the files with plain lists."""
    result = ask("popular", {"evaluate": True, "k": 5}, catalogue=catalogue, interactions=choices, user="u2")
    rows = [line.split(",") for line in choices.read_text().splitlines()[1:]]
    train = [row for row in rows if row[3] != "5"]  # the sixth and newest of each
    counts = {f"f{n}": sum(row[1] == f"f{n}" for row in train) for n in range(FILMS)}
    gains = []
    for user, item in ((row[0], row[1]) for row in rows if row[3] == "5"):
        seen = {row[1] for row in train if row[0] == user}
        best = sorted((f for f in counts if f not in seen and counts[f]), key=lambda f: (-counts[f], int(f[1:])))[:5]
        gains.append(1 / np.log2(best.index(item) + 2) if item in best else 0)
    popular = next(row for row in result.value["evaluation"] if row["model"] == "popular")
    assert popular["ndcg"] == pytest.approx(np.mean(gains)) and np.mean(gains) > 0


def test_metrics_are_the_books():
    """By hand: hits at places 1 and 3 of 4, three right ones in all."""
    measured = metrics.at_k([[7, 1, 8, 2], [1, 2]], [{7, 8, 9}, {5}], 4)
    found = {name: values.tolist() for name, values in measured.items()}
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    assert found["ndcg"] == [pytest.approx((1 + 1 / 2) / ideal), 0]
    assert found["recall"] == [pytest.approx(2 / 3), 0]
    assert found["map"] == [pytest.approx((1 + 2 / 3) / 3), 0]
    assert found["mrr"] == [1, 0]
    assert metrics.coverage([[7, 1], [1, 2]], 12) == 0.25


def test_the_bootstrap_interval_is_that_of_the_mean():
    """Of many people nearly the normal one; of equal ones no wider than they are."""
    values = np.random.default_rng(0).exponential(size=2000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert metrics.interval(values, 1) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 5)
    assert metrics.interval(np.full(9, 0.5), 1) == (0.5, 0.5)


def test_evaluation_needs_interactions(catalogue, tmp_path):
    """And somebody with two choices."""
    error = ask("content", {"evaluate": True}, catalogue=catalogue, history=["f1"])
    assert isinstance(error, InvalidInput) and "params.evaluate" in error.detail
    table = tmp_path / "one.csv"
    table.write_text("user,item\na,f1\nb,f2\n")
    error = ask("popular", {"evaluate": True}, catalogue=catalogue, interactions=table, user="a")
    assert isinstance(error, InvalidInput) and "no user has two items" in error.detail


def test_a_canceled_job_stops_at_each_stage(catalogue, choices):
    """However far it has come: reading, fitting, answering."""
    made, seen = Call.of("recommend", catalogue=catalogue, interactions=choices, users="all"), []
    model = load("recommend", "svd")
    model.run([Call(made.inputs, made.params, made.workdir, lambda done, said: seen.append(done))])
    assert seen == sorted(seen) and seen[-1] == 1
    for allowed in range(len(seen) - 1):
        left = iter([False] * allowed)
        (stopped,) = model.run(
            [Call(made.inputs, made.params, made.workdir, canceled=lambda left=left: next(left, True))]
        )
        assert isinstance(stopped, Canceled)


# -- the contract


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "say for whom: history, tags, user or users is needed"),
        ({"interactions": "https://example.com/i.csv"}, "say for whom"),
        ({"user": "a"}, "interactions, which are not given"),
        ({"users": "all", "user": "a", "interactions": "https://example.com/i.csv"}, "users stands alone"),
        ({"users": [], "interactions": "https://example.com/i.csv"}, "at least 1 item"),
        ({"users": "some", "interactions": "https://example.com/i.csv"}, "'all'"),
        ({"history": ["a"], "interactions": None}, "valid string"),
        ({"history": [True]}, "valid string"),
    ],
)
def test_a_request_that_asks_for_nobody_is_refused(inputs, message):
    """At submit, before anything is fetched."""
    with pytest.raises(ValidationError, match=message):
        Inputs.model_validate_json(json.dumps({"catalogue": "https://example.com/c.csv", **inputs}), strict=True)


def test_ids_may_be_numbers():
    """As most rating tables have them."""
    asked = {"catalogue": "https://example.com/c.csv", "interactions": "https://example.com/i.csv"}
    assert Inputs.model_validate_json(json.dumps({**asked, "user": 42, "history": [7, "x"]}), strict=True).user == "42"
    assert Inputs.model_validate_json(json.dumps({**asked, "users": [1, 2.0]}), strict=True).users == ["1", "2"]
    assert Params.model_validate_json('{"columns": {"item": "code"}}', strict=True).columns == {"item": "code"}
    with pytest.raises(ValidationError, match="'id', 'title'"):
        Params.model_validate_json('{"columns": {"film": "code"}}', strict=True)


# -- real data


@pytest.mark.data("ratings/ml-100k")
def test_on_movielens_the_split_is_clean_and_item_knn_beats_popularity(real_data, tmp_path):
    """Each user's last rating is in no training row; popularity has its known figure, item-knn its target."""
    from tests.bench.recommend_data import movielens

    data = movielens(real_data, tmp_path)
    train, last = data.chosen.without_last()
    earlier, last_but_one = train.without_last()
    assert len(last) == 943 and len(train.item) == 100_000 - 943 and len(earlier.item) == 100_000 - 2 * 943
    for choices, held in ((train, last), (earlier, last), (earlier, last_but_one)):
        assert not choices.seen()[np.arange(943), held].any()
    params = Call.of("recommend", catalogue="").params
    ndcg = {
        name: evaluate._model(name, evaluate.Data(data.titles, train), train, last, params)["ndcg"]
        for name in ("popular", "item-knn")
    }
    assert ndcg["popular"] == pytest.approx(0.025, abs=0.001) and ndcg["item-knn"] >= 0.035


def test_the_shipped_films_can_be_joined_with_interactions(tmp_path):
    """By title, too, as people write lists."""
    films = Path(catalogues.__file__).parent / "samples" / "films.csv"
    table = tmp_path / "seen.csv"
    table.write_text("user,item\nann,Alien\nann,Blade Runner\nbob,Alien\nbob,Jaws\n")
    assert len(interactions.read(table, catalogues.read(films)).item) == 4
    first = ask("item-knn", catalogue=films, interactions=table, user="ann").value["items"][0]
    assert (first["title"], first["reason"]) == ("Jaws", "people who chose Alien chose it too")
