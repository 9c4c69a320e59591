"""Each model against its formula: brute force, dense closed forms, scikit-learn, finite differences."""

import math

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import approx_fprime
from sklearn.decomposition import non_negative_factorization

from tasks.algorithm import implementation
from tasks.errors import InvalidInput
from tasks.recommend import Params, hybrid, nmf, svd
from tasks.recommend.catalogue import Title
from tasks.recommend.chosen import Chosen
from tasks.recommend.data import Data, top

ITEMS, USERS, THEMES = 30, 40, 3
GENRES = ("Horror", "Comedy", "Western")


def title(number: int) -> Title:
    return Title(f"f{number}", f"Film {number}", None, (GENRES[number % THEMES],), (), (), "", number)


TITLES = [title(number) for number in range(ITEMS)]


@pytest.fixture(scope="module")
def chosen() -> Chosen:
    """People of three tastes: of 10 items eight are of one's own, rated 3 to 5, the others 1 or 2. Film 29: nobody."""
    random, rows = np.random.default_rng(7), []
    for user in range(USERS):
        own = [i for i in range(ITEMS - 1) if i % THEMES == user % THEMES]
        others = [i for i in range(ITEMS - 1) if i % THEMES != user % THEMES]
        picked = [*random.choice(own, 8, replace=False), *random.choice(others, 2, replace=False)]
        rows += [
            (user, int(item), float(random.integers(3, 6) if item in own else random.integers(1, 3)), time)
            for time, item in enumerate(random.permutation(picked))
        ]
    user, item, rating, time = map(np.array, zip(*rows, strict=True))
    return Chosen.of([f"u{n}" for n in range(USERS)], ITEMS, user, item, rating.astype(float), time.astype(float))


@pytest.fixture(scope="module")
def data(chosen) -> Data:
    return Data(TITLES, chosen)


def quiet(done: float, said: str) -> None:
    """A step that nobody hears of."""


def fitted(name: str, data: Data, **params):
    model, params = implementation("recommend", name)(), Params(**params)
    return model, model.fit(data, params, quiet), params


def cosine(a: np.ndarray, b: np.ndarray, shrinkage: float = 0) -> float:
    below = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b)) + shrinkage
    return sum(x * y for x, y in zip(a, b, strict=True)) / below if below else 0.0


def test_popular_counts_people(data, chosen):
    """Its score is the number of users; what nobody chose is not recommended."""
    model, arrays, params = fitted("popular", data)
    scores = model.scores(arrays, chosen, params)
    for item in range(ITEMS):
        number = len({user for user, of in zip(chosen.user, chosen.item, strict=True) if of == item})
        assert (scores[:, item] == (number if number else -np.inf)).all()


@pytest.mark.parametrize(("neighbours", "shrinkage", "half_life"), [(1000, 0, 1e9), (5, 10, 4), (1, 2.5, 1)])
def test_item_knn_is_what_loops_compute(data, chosen, neighbours, shrinkage, half_life):
    """Cosine with shrinkage, the nearest of each item, the history's weights: by brute force."""
    model, arrays, params = fitted("item-knn", data, neighbours=neighbours, shrinkage=shrinkage, half_life=half_life)
    x, w = chosen.interest().toarray(), chosen.interest(half_life).toarray()
    scores = model.scores(arrays, chosen, params)
    for item in range(ITEMS):
        near = sorted(((cosine(x[:, item], x[:, j], shrinkage), j) for j in range(ITEMS) if j != item), reverse=True)
        expected = [sum(s * w[user, j] for s, j in near[:neighbours]) for user in range(USERS)]
        assert np.where(np.isfinite(scores[:, item]), scores[:, item], 0) == pytest.approx(expected, abs=1e-12)


def test_item_similarities_are_the_same_in_blocks(chosen, monkeypatch):
    """Whatever fits into memory at once."""
    from tasks.recommend import item_knn

    whole = item_knn.similar(chosen.interest(), 5, 10, quiet).toarray()
    monkeypatch.setattr(item_knn, "COLUMN_BLOCK", 7 * ITEMS)
    assert (item_knn.similar(chosen.interest(), 5, 10, quiet).toarray() == whole).all()


@pytest.mark.parametrize(("neighbours", "half_life"), [(1000, 1e9), (4, 3)])
def test_user_knn_is_what_loops_compute(data, chosen, neighbours, half_life):
    """Cosine of interest vectors, the nearest people but oneself, their interest: by brute force."""
    model, arrays, params = fitted("user-knn", data, neighbours=neighbours, half_life=half_life)
    x, q = chosen.interest().toarray(), chosen.interest(half_life).toarray()
    scores = model.scores(arrays, chosen, params)
    for user in range(USERS):
        near = sorted(((cosine(q[user], x[v]), v) for v in range(USERS) if v != user), reverse=True)[:neighbours]
        expected = sum(s * x[v] for s, v in near)
        assert np.where(np.isfinite(scores[user]), scores[user], 0) == pytest.approx(expected, abs=1e-12)


def loss_of_a_user(
    x: np.ndarray, target: np.ndarray, c: np.ndarray, items: np.ndarray, goal: svd.Goal, n: int
) -> float:
    """What svd.py says it minimises, of one user's vector and bias, over all items."""
    s = x[:-1] @ items[:, :-1].T + x[-1] + items[:, -1]
    return float((c * (target - s) ** 2).sum() + (goal.penalty(n, len(x) - 1) * x**2).sum())


@pytest.mark.parametrize("objective", ["ranking", "rating"])
def test_svds_half_step_is_where_the_loss_is_least(chosen, objective):
    """The gradient of the stated loss, by finite differences, is 0 there; elsewhere the loss is larger."""
    goal, random = svd.GOALS[objective], np.random.default_rng(1)
    known, weight = svd._known(chosen, objective, 3.0 if objective == "rating" else 0.0, 5)
    items = random.normal(size=(ITEMS, 7))
    solved = svd.half_step(known, weight, svd.Side.of(items[:, :-1], items[:, -1]), goal)
    for user in (0, 17, 39):
        of = slice(known.indptr[user], known.indptr[user + 1])
        target, c = np.zeros(ITEMS), np.full(ITEMS, float(goal.unknown))
        target[known.indices[of]], c[known.indices[of]] = known.data[of], weight.data[of]
        args = (target, c, items, goal, of.stop - of.start)
        slope = approx_fprime(solved[user], loss_of_a_user, 1e-6, *args)
        assert np.abs(slope).max() < 1e-2
        least = loss_of_a_user(solved[user], *args)
        assert all(loss_of_a_user(solved[user] + random.normal(size=7) * 0.1, *args) > least for _ in range(5))


def test_svds_half_step_is_the_dense_closed_form(chosen):
    """Ranking: (V'CV + penalty)^-1 V'C (t - b) with dense matrices, as Hu et al. write it before they save time."""
    goal, items = svd.GOALS["ranking"], np.random.default_rng(2).normal(size=(ITEMS, 5))
    known, weight = svd._known(chosen, "ranking", 0.0, None)
    v = np.column_stack([items[:, :-1], np.ones(ITEMS)])
    solved = svd.half_step(known, weight, svd.Side.of(items[:, :-1], items[:, -1]), goal)
    for user in range(USERS):
        c = np.diag(np.where(known[[user]].toarray().ravel() > 0, weight[[user]].toarray().ravel(), 1))
        left = v.T @ c @ v + np.diag(goal.penalty(int(known[[user]].nnz), 4))
        right = v.T @ c @ (known[[user]].toarray().ravel() - items[:, -1])
        assert solved[user] == pytest.approx(np.linalg.inv(left) @ right, abs=1e-9)


@pytest.mark.parametrize("name", ["svd", "nmf"])
def test_ratings_are_foretold_that_were_not_seen(name):
    """Ratings made of two tastes and little noise, a fifth held out: a third of the error of everybody's mean."""
    random, users = np.random.default_rng(3), 150
    tastes, films = random.random((users, 2)), random.random((ITEMS, 2))
    user, item = (side.ravel() for side in np.indices((users, ITEMS)))
    rating = 1 + 4 * (tastes @ films.T).ravel() + random.normal(0, 0.1, user.size)
    all_of_them = Chosen.of([f"u{n}" for n in range(users)], ITEMS, user, item, rating, np.full(user.size, np.nan))
    held = random.permutation(user.size) % 5 == 0
    train, test = all_of_them.where(~held), all_of_them.where(held)
    model, arrays, params = fitted(name, Data(TITLES, train), objective="rating", factors=4)
    told = model.scores(arrays, train, params)[test.user, test.item]
    error, plain = (np.sqrt(np.mean((t - test.rating) ** 2)) for t in (told, train.rating.mean()))
    assert error < plain / 3


def test_nmf_makes_scikit_learns_steps(chosen):
    """From the same start, the same multiplicative updates for the Kullback-Leibler divergence."""
    x, random = chosen.interest(), np.random.default_rng(4)
    w, h = random.random((USERS, 4)) + 0.1, random.random((ITEMS, 4)) + 0.1
    x = sparse.csr_matrix(x.toarray()[:, :-1])  # scikit-learn's epsilon differs where a column is empty
    theirs_w, theirs_h, _ = non_negative_factorization(
        x.toarray(),
        W=w.copy(),
        H=h[:-1].T.copy(),
        init="custom",
        n_components=4,
        solver="mu",
        beta_loss="kullback-leibler",
        max_iter=25,
        tol=0,
    )
    h = h[:-1]
    for _ in range(25):
        w = nmf.update(x, w, h, rating=False)
        h = nmf.update(x.T.tocsr(), h, w, rating=False)
    assert w @ h.T == pytest.approx(theirs_w @ theirs_h, abs=1e-5)


def test_nmfs_rating_update_is_luos_formula(chosen):
    """By loops over users, themes and known ratings; and the penalised error never rises."""
    x, random = chosen.ratings(), np.random.default_rng(5)
    w, h, dense = random.random((USERS, 3)) + 0.1, random.random((ITEMS, 3)) + 0.1, chosen.ratings().toarray()
    updated = nmf.update(x, w, h, rating=True)
    for user in range(USERS):
        rated = np.flatnonzero(dense[user])
        for theme in range(3):
            above = sum(h[i, theme] * dense[user, i] for i in rated)
            below = sum(h[i, theme] * (w[user] @ h[i]) for i in rated) + nmf.PENALTY * len(rated) * w[user, theme]
            assert updated[user, theme] == pytest.approx(w[user, theme] * above / below, rel=1e-6)

    def error() -> float:
        penalty = (np.diff(x.indptr) @ (w**2).sum(1) + np.diff(x.tocsc().indptr) @ (h**2).sum(1)) * nmf.PENALTY
        return float((((w @ h.T - dense) ** 2)[dense > 0]).sum() + penalty)

    errors = []
    for _ in range(15):
        errors.append(error())
        w = nmf.update(x, w, h, rating=True)
        h = nmf.update(x.T.tocsr(), h, w, rating=True)
    assert all(later <= earlier + 1e-9 for earlier, later in zip(errors, errors[1:], strict=False))


@pytest.mark.parametrize("name", ["item-knn", "svd", "nmf"])
def test_a_stranger_with_a_known_history_gets_the_known_answer(data, chosen, name):
    """Folded in without a refit: somebody who was never in the data, but chose the same, is scored the same."""
    model, arrays, params = fitted(name, data)
    known = chosen.select(np.array([5]))
    assert (model.scores(arrays, known.as_strangers(), params) == model.scores(arrays, known, params)).all()


@pytest.mark.parametrize("name", ["user-knn", "item-knn", "svd", "nmf", "hybrid", "content"])
def test_three_likes_are_enough_to_find_the_taste(data, chosen, name):
    """Of a person outside the data, with three films of one kind: the first five are of that kind."""
    model, arrays, params = fitted(name, data, factors=3)
    asked = chosen.select(np.array([-1])).liking([0, 3, 6])
    scores = model.scores(arrays, asked, params)
    scores[0, asked.item] = -np.inf
    assert [item % THEMES for item in top(scores[0], 5)] == [0] * 5


@pytest.mark.parametrize("name", ["user-knn", "item-knn", "svd", "nmf"])
def test_what_is_newer_counts_more(chosen, name):
    """A Western fan whose last two films were horror is shown horror; in the other order, Westerns."""
    model, arrays, params = fitted(name, Data(TITLES, chosen), factors=3, half_life=1)
    for history, kind in (([2, 5, 8, 0, 3], 0), ([0, 3, 2, 5, 8], 2)):
        asked = chosen.select(np.array([-1])).liking(history)
        scores = model.scores(arrays, asked, params)
        scores[0, asked.item] = -np.inf
        assert top(scores[0], 1)[0] % THEMES == kind


def test_the_same_seed_gives_the_same_model(data):
    """And another seed another."""
    for name in ("svd", "nmf"):
        one, two, other = (fitted(name, data, seed=seed)[1] for seed in (1, 1, 2))
        key = "h" if name == "nmf" else "vectors"
        assert (one[key] == two[key]).all() and not np.allclose(one[key], other[key])


# -- reasons


def reasons(name: str, data: Data, asked: Chosen, items: list[int], **params) -> list[str]:
    model, arrays, params = fitted(name, data, **params)
    return model.reasons(arrays, asked, [items], TITLES, params)[0]


def test_item_knns_reason_names_what_adds_most(data, chosen):
    """Of three films liked, the two whose similarity times weight is largest."""
    asked, x = chosen.select(np.array([-1])).liking([1, 0, 3]), chosen.interest().toarray()
    adds = {j: cosine(x[:, 6], x[:, j], 10) * weight for j, weight in ((1, 0.5**0.4), (0, 0.5**0.2), (3, 1))}
    first, second = sorted(adds, key=adds.get, reverse=True)[:2]
    (said,) = reasons("item-knn", data, asked, [6], neighbours=1000)
    assert said == f"people who chose Film {first} and Film {second} chose it too"


def test_user_knns_reason_counts_the_neighbours_likes(data, chosen):
    """Counted by hand among the nearest ten."""
    x, q = chosen.interest().toarray(), chosen.interest(5).toarray()[4]
    near = sorted(((cosine(q, x[v]), v) for v in range(USERS) if v != 4), reverse=True)[:10]
    liked = sum(x[v, 1] >= 0.6 for _, v in near)
    (said,) = reasons("user-knn", data, chosen.select(np.array([4])), [1], neighbours=10)
    assert liked > 0 and said == f"liked by {liked} of the 10 people of the nearest taste"


def test_svds_parts_add_up_to_the_score(data, chosen):
    """Score = a constant + what each item of the history adds: the reason names the two largest true parts."""
    model, arrays, params = fitted("svd", data)
    asked, item = chosen.select(np.array([4])), 1
    side = svd.Side.of(arrays["vectors"], arrays["biases"])
    known, weight = svd._known(asked, "ranking", 0.0, params.half_life)
    left, right = svd.equations(known, weight, side, svd.GOALS["ranking"], 0)
    adds = side.v[item] @ np.linalg.solve(left, right.T)
    constant = side.bias[item] - side.v[item] @ np.linalg.solve(left, side.pull)
    assert model.scores(arrays, asked, params)[0, item] == pytest.approx(adds.sum() + constant)
    best = known.indices[np.argsort(-adds)[:2]]
    assert reasons("svd", data, asked, [item]) == [f"fits the taste that shows in Film {best[0]} and Film {best[1]}"]


def test_nmfs_reason_names_the_theme_that_adds_most(data, chosen):
    """Recomputed from the arrays: of the largest w times h the theme, its best film, and the own one nearest to it."""
    model, arrays, params = fitted("nmf", data, factors=3)
    asked, h = chosen.select(np.array([4])), arrays["h"]
    w = np.ones((1, 3))
    for _ in range(nmf.FOLD_ROUNDS["ranking"]):
        w = nmf.update(asked.interest(params.half_life), w, h, rating=False)
    theme = max(range(3), key=lambda t: w[0, t] * h[1, t])
    own, best = max(asked.item, key=lambda item: h[item, theme]), max(range(ITEMS), key=lambda item: h[item, theme])
    expected = f"of one kind with Film {own}" + (f" (the theme around Film {best})" if best != own else "")
    assert model.reasons(arrays, asked, [[1]], TITLES, params) == [[expected]]


def test_ratings_are_told_in_the_reason(data, chosen):
    """The number in the sentence is the score."""
    asked = chosen.select(np.array([4]))
    for name in ("svd", "nmf"):
        model, arrays, params = fitted(name, data, objective="rating", factors=3)
        score = model.scores(arrays, asked, params)[0, 1]
        assert f"a rating of {score:.1f} is expected" in model.reasons(arrays, asked, [[1]], TITLES, params)[0][0]


# -- hybrid


def test_hybrids_weights_are_where_the_likelihood_is_largest():
    """Choices are drawn by known weights; they are found again, and a model of pure noise gets next to nothing."""
    random, true = np.random.default_rng(6), np.array([2.0, 0.7, 0.0])
    z = random.normal(size=(3000, 3, 25)).astype(np.float32)
    s = np.einsum("upi,p->ui", z, true)
    last = (s + random.gumbel(size=s.shape)).argmax(axis=1)
    found = hybrid.likeliest(z, np.ones(s.shape, bool), last)
    assert found == pytest.approx(true, abs=0.12)


def test_hybrid_scores_what_nobody_chose_by_content_alone(data, chosen):
    """Film 29 is in no interaction: for those who like its genre it is above the line's foot, for no others."""
    model, arrays, params = fitted("hybrid", data)
    scores = model.scores(arrays, chosen, params)
    fans = np.arange(USERS) % THEMES == 29 % THEMES
    others = chosen.seen().toarray()[:, [i for i in range(29) if i % THEMES == 29 % THEMES]].sum(axis=1) == 0
    assert np.isfinite(scores[fans, 29]).all()
    assert (scores[others, 29] == -np.inf).all()
    said = model.reasons(arrays, chosen.select(np.array([2])), [[29]], TITLES, params)[0][0]
    assert said.startswith("shares genre Western with Film ")


def test_hybrids_reason_is_that_of_its_strongest_part(data, chosen):
    """Each sentence is one that the part would say itself."""
    model, arrays, params = fitted("hybrid", data)
    asked, items = chosen.select(np.array([2])), [11, 14, 17]
    said = model.reasons(arrays, asked, [items], TITLES, params)[0]
    possible = [{reasons(name, data, asked, [item])[0] for name in hybrid.PARTS} for item in items]
    assert all(sentence in of for sentence, of in zip(said, possible, strict=True))


def test_hybrid_weighs_without_what_it_is_weighed_on(data, chosen, monkeypatch):
    """The parts whose scores are weighed were fitted on data in which no held-back choice stands."""
    seen, real = [], hybrid._fit
    monkeypatch.setattr(hybrid, "_fit", lambda data, own, step: seen.append(data.chosen) or real(data, own, step))
    fitted("hybrid", data)
    train, last = chosen.without_last()
    assert not set(zip(range(USERS), last.tolist(), strict=True)) & set(zip(seen[0].user, seen[0].item, strict=True))
    assert len(seen[0].item) == len(train.item) and len(seen[1].item) == len(chosen.item)


def test_hybrid_works_where_nobody_has_two_choices(data):
    """Nothing can be held back: all parts weigh the same."""
    few = Chosen.of(["a", "b"], ITEMS, np.array([0, 1]), np.array([0, 3]), np.full(2, np.nan), np.full(2, np.nan))
    _, arrays, _ = fitted("hybrid", Data(TITLES, few))
    assert (arrays["weights"] == 1).all()


def test_hybrid_answers_the_only_active_user():
    """Of what anybody chose all is seen, so z comes from what nobody chose, which content scores."""
    picked, rest = np.arange(10), 20
    user = np.r_[np.zeros(10, int), 1]
    known = Chosen.of(["a", "b"], ITEMS, user, np.r_[picked, 0], np.full(11, np.nan), np.full(11, np.nan))
    model, arrays, params = fitted("hybrid", Data(TITLES, known))
    assert np.isfinite(arrays["weights"]).all() and np.isfinite(arrays["cold"]).all()
    scores = model.scores(arrays, known.select(np.array([0])), params)
    assert np.isfinite(scores[0, 10:]).sum() == rest and np.abs(scores[0, 10:]).max() < 100
    assert np.isneginf(scores[0, :10]).all()


def test_scores_that_do_not_differ_have_a_z_of_nothing():
    """Rounding is no difference; where what is chosen does not differ, all that is unseen says how much is much."""
    counts = np.array([1, 1, 0, 0])
    flat = np.array([[[0.01, 0.01 * (1 + 1e-9), 0.01, 0.01]]])
    assert (hybrid.standard(flat, counts) == 0).all()
    wider = hybrid.standard(np.array([[[4.0, 4.0, 16.0, 0.0]]]), counts)
    assert np.abs(wider).max() < 2 and wider[0, 0, 2] > 0 > wider[0, 0, 3]


# -- what cannot be fitted


def test_ratings_are_needed_for_ratings(chosen):
    """And nmf, whose numbers cannot be below 0, says so of ratings that are."""
    from dataclasses import replace

    unrated = replace(chosen, rating=np.full(len(chosen.rating), np.nan), scale=None)
    for name in ("svd", "nmf"):
        with pytest.raises(InvalidInput, match="needs a column rating"):
            fitted(name, Data(TITLES, unrated), objective="rating")
    below = replace(chosen, rating=chosen.rating - 3, scale=(-2.0, 2.0))
    with pytest.raises(InvalidInput, match="ratings of 0 and more; the lowest here is -2"):
        fitted("nmf", Data(TITLES, below), objective="rating")
