"""python -m tests.bench.recommend: the kind `recommend` on MovieLens-100K and Amazon's video games, beside baselines.

Writes RECOMMEND.md and recommend.png here (elsewhere with --out). Needs BACKLOT_DATA with ratings/; both data sets are
for research only: measured, never shipped. Every choice (half-life, weights) is made on a validation split, each
user's last item but one; the last is looked at once, by the tables under "Test".
"""

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from tasks.algorithm import implementation
from tasks.recommend import Params, chart, evaluate
from tasks.recommend.chosen import Chosen
from tasks.recommend.data import Data
from tests.bench import machine
from tests.bench import recommend_choices as choices
from tests.bench import recommend_data as sets
from tests.bench import recommend_rivals as rivals
from tests.bench.recommend_choices import LEARN, rmse, table

SEED, K = 0, 10
TARGETS = {
    "popular": "about .025",
    "user-knn": ">= .035",
    "item-knn": ">= .035",
    "svd": "> popular",
    "nmf": "> popular",
    "hybrid": ">= the best",
}
RMSE_TARGETS = {"svd": "<= .94", "nmf": "<= .97"}
console = Console(highlight=False, soft_wrap=True)


@click.command(help=__doc__)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path(__file__).parent)
@click.option("--without-amazon", is_flag=True, help="MovieLens only")
def main(out: Path, without_amazon: bool) -> None:
    start, facts = time.monotonic(), machine.facts()
    data = Path(os.environ["BACKLOT_DATA"])
    with tempfile.TemporaryDirectory() as folder:
        films = sets.movielens(data, Path(folder))
        games = None if without_amazon else sets.amazon(data, Path(folder))
    lines: list[str] = []
    for part in (
        ranking(films, out),
        ratings(films),
        cold_users(films),
        cold_items(films),
        shopping(games) if games else (),
    ):
        lines += part
        facts["took"] = f"{time.monotonic() - start:.0f} s"
        (out / "RECOMMEND.md").write_text("\n".join(report(facts, lines)) + "\n")  # a part at a time: it takes a while
    console.print("\n".join(lines), markup=False)


def report(facts: dict[str, str], lines: Iterable[str]) -> Iterator[str]:
    yield "# Measured by `make bench-recommend`"
    yield ""
    yield (
        "MovieLens-100K (943 users, 1,682 films, 100,000 ratings) and Amazon's video games as SASRec prepared them, "
        f"both for research only and not shipped. Seed {SEED} throughout. What is held back stands over each table; "
        "`tests/bench/recommend.py` says it in code."
    )
    yield ""
    yield from (f"- {name}: {text}" for name, text in facts.items())
    yield from lines


def measured(name: str, data: Data, asked: Chosen, last: np.ndarray, params: Params, fitted=None) -> dict:
    """Figures of one model; `seconds` to fit, `all_users_s` to score and rank everybody."""
    model = implementation("recommend", name)()
    start = time.monotonic()
    fitted = fitted or model.fit(data, params, lambda done, said: None)
    ready = time.monotonic()
    ranked = evaluate.rank(model, fitted, asked, len(data.titles), params)
    return {
        **evaluate.figures(ranked, [{item} for item in last.tolist()], len(data.titles), params),
        "model": name,
        "fitted": fitted,
        "seconds": ready - start,
        "all_users_s": time.monotonic() - ready,
    }


def row(name: str, figures: dict, *more: object) -> list[object]:
    interval = f"{figures['low']:.4f}-{figures['high']:.4f}"
    return [name, figures["ndcg"], interval, figures["recall"], figures["mrr"], f"{figures['coverage']:.3f}", *more]


def ranking(films: Data, out: Path) -> Iterator[str]:
    """Leave-last-out: choices on the last but one, then the test."""
    train, last = films.chosen.without_last()
    earlier, last_but_one = train.without_last()
    yield from choices.ranking(Data(films.titles, earlier), last_but_one, SEED)
    yield from (
        "",
        "## Test: each user's last film, all unseen films ranked, nDCG@10",
        "",
        "'Last' by time; equal times by film number. Half-life 5 is the default; 'no half-life': all of a "
        "history counts alike, as in the papers. MAP equals MRR where one film is looked for.",
    )
    held, rows, shown = Data(films.titles, train), [], []
    for name in evaluate.MODELS:
        console.print(f"ranking: {name}")
        found = measured(name, held, train, last, Params(seed=SEED))
        rows.append(row(name, found, f"{found['seconds']:.1f}", f"{found['all_users_s']:.1f}", TARGETS.get(name, "")))
        shown.append(found)
        if name in LEARN:
            plain = measured(name, held, train, last, Params(seed=SEED, half_life=1e9), found["fitted"])
            rows.append(row(f"{name}, no half-life", plain, "", "", ""))
        if name == "hybrid":
            weights = found["fitted"]["weights"]
    rows += [row(name, figures, "", "", "") for name, figures in rivals.als(held, last, SEED)]
    yield from table(
        ["model", "nDCG@10", "95 %", "recall@10", "MRR@10", "coverage", "fit s", "rank all s", "target"], rows
    )
    yield from (
        "",
        "Hybrid's weights, found on each user's last film but one (short histories, long ones): "
        + "; ".join(
            ", ".join(f"{name} {weight:.2f}" for name, weight in zip(evaluate.MODELS, of, strict=False))
            for of in weights
        )
        + ".",
        "",
        "![nDCG@10](recommend.png)",
    )
    chart.draw(out / "recommend.png", {"models": shown, "k": K, "users": len(last)}, "hybrid")


def ratings(films: Data) -> Iterator[str]:
    """RMSE over five random folds, each rating foretold once; penalties chosen within each fold's training part."""
    chosen, errors, taken = films.chosen, {"mean and biases": [], "svd": [], "nmf": []}, {"svd": [], "nmf": []}
    fold = np.random.default_rng(SEED).permutation(len(chosen.item)) % 5
    for number in range(5):
        console.print(f"ratings: fold {number}")
        train, test = chosen.where(fold != number), chosen.where(fold == number)
        errors["mean and biases"].append(rmse(rivals.biases(train), train, test))
        for name in ("svd", "nmf"):
            taken[name].append(choices.best_penalty(name, films, train))
            with choices.penalty(name, taken[name][-1]):
                errors[name].append(rmse(choices.foretold(name, films, train), train, test))
    yield from (
        "",
        "## Ratings: RMSE over five folds",
        "",
        "A film without ratings in a fold's training part gets the mean. The penalty by number of ratings was "
        "chosen for each fold on a tenth of its training part, never on its test part.",
    )
    rows = [
        [
            name,
            float(np.mean(of)),
            " ".join(f"{e:.4f}" for e in of),
            " ".join(map(str, taken.get(name, ()))),
            RMSE_TARGETS.get(name, ""),
        ]
        for name, of in errors.items()
    ]
    yield from table(["model", "RMSE", "by fold", "penalties chosen", "target"], rows)


def cold_users(films: Data) -> Iterator[str]:
    """Each fifth of the users is once in no training; with 1 to 10 films each, their last is looked for."""
    train, last = films.chosen.without_last()
    fold, params, number_of = np.random.default_rng(SEED).permutation(len(last)) % 5, Params(seed=SEED), (1, 3, 10)
    found: dict[tuple[str, int], list] = {}
    for number in range(5):
        console.print(f"cold users: fold {number}")
        strangers, known = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        data = Data(films.titles, train.select(known).as_data())
        for name in ("popular", *LEARN, "hybrid"):
            model = implementation("recommend", name)()
            fitted = model.fit(data, params, lambda *_: None)
            for few in number_of:
                asked = train.select(strangers).newest(few).as_strangers()
                ranked = evaluate.rank(model, fitted, asked, len(films.titles), params, train.select(strangers))
                found.setdefault((name, few), []).extend(zip(ranked, last[strangers].tolist(), strict=True))
    yield from (
        "",
        "## Cold users: people who were never in the data, folded in by a few films",
        "",
        f"nDCG@10 of the last film of all {len(last)} users, a fifth at a time in no training; known are the "
        "1, 3 or 10 films before it (of the rest it is known only that it has been seen). Without any film, "
        "every model gives what is popular.",
    )
    rows = [
        [name, *(_cell(found[name, few], films, params) for few in number_of)] for name in ("popular", *LEARN, "hybrid")
    ]
    yield from table(["model", "1 film", "3 films", "10 films"], rows)


def _cell(found: list, films: Data, params: Params) -> str:
    ranked, last = zip(*found, strict=True)
    figures = evaluate.figures(ranked, [{item} for item in last], len(films.titles), params)
    return f"{figures['ndcg']:.4f} ({figures['low']:.4f}-{figures['high']:.4f})"


def cold_items(films: Data) -> Iterator[str]:
    """A tenth of the films is in no interaction; who chose which of them is looked for."""
    chosen = films.chosen
    hidden = np.random.default_rng(SEED).permutation(len(films.titles))[: len(films.titles) // 10]
    train, test = chosen.where(~np.isin(chosen.item, hidden)), chosen.where(np.isin(chosen.item, hidden))
    users = np.flatnonzero((test.counts() > 0) & (train.counts() > 0))
    relevant = [set(items.tolist()) for items in test.select(users).histories()]
    rows, params = [], Params(seed=SEED)
    for name in ("popular", "content", "hybrid"):
        console.print(f"cold items: {name}")
        model, data = implementation("recommend", name)(), Data(films.titles, train)
        scores = model.scores(model.fit(data, params, lambda *_: None), train.select(users), params)
        alone = [[int(hidden[i]) for i in np.argsort(-row, kind="stable")[:K]] for row in scores[:, hidden]]
        found = evaluate.figures(alone, relevant, len(hidden), params)
        rows.append(row(name, found))
    yield from (
        "",
        f"## Cold items: {len(hidden)} films nobody has touched, ranked for {len(users)} people",
        "",
        "The hidden films alone are ranked; right is what the person chose of them. To `popular` they are all "
        "equal, so that it stands for chance. The catalogue knows genres and years, no more.",
    )
    yield from table(["model", "nDCG@10", "95 %", "recall@10", "MRR@10", "coverage"], rows)


def shopping(games: Data) -> Iterator[str]:
    """Amazon's video games, as SASRec measures: the last item among 100 that were drawn, and among all."""
    train, last = games.chosen.without_last()
    users = np.random.default_rng(SEED).permutation(np.flatnonzero((last >= 0) & (train.counts() > 0)))[:5000]
    rows = []
    for name in ("popular", "user-knn", "item-knn", "svd", "nmf", "hybrid"):
        console.print(f"video games: {name}")
        model, params = implementation("recommend", name)(), Params(seed=SEED)
        fitted = model.fit(Data(games.titles, train), params, lambda *_: None)
        sampled, ranked = rivals.among_hundred(model, fitted, train.select(users), last[users], params, SEED)
        found = evaluate.figures(ranked, [{item} for item in last[users].tolist()], len(games.titles), params)
        interval = f"{found['low']:.4f}-{found['high']:.4f}"
        rows.append([name, sampled["recall"], sampled["ndcg"], found["ndcg"], interval])
    yield from (
        "",
        "## Amazon video games",
        "",
        f"{len(users):,} users drawn of {len(last):,}. Left SASRec's protocol, the last item among 100 drawn "
        "ones (its paper's own figures: HR .7410, nDCG .5360, a transformer trained on a GPU); right all items "
        "ranked. No titles are known here: content has nothing to go by.",
    )
    yield from table(["model", "HR@10 of 100", "nDCG@10 of 100", "nDCG@10, all", "95 %"], rows)


if __name__ == "__main__":
    main()
