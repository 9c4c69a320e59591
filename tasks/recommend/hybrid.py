"""All models together, by what is known: of a person, and of an item.

    s_ui = sum over models m of g_m z_m,ui       g >= 0, one set for short histories and one for longer ones
    z    the root of the model's score, in standard deviations from its mean over the items that anybody chose

The weights g are those under which the choices that were held back (each user's newest) are likeliest, P(i | u) =
exp(s_ui) / sum over unseen j of exp(s_uj): a conditional logit (McFadden, "Conditional logit analysis of qualitative
choice behavior", 1974) in place of the linear blends of Burke, "Hybrid recommender systems" (2002), section 2. For
short histories the same people are asked for with their newest three choices alone, as if they were not in the data.
The models are fitted twice: without what is held back, to weigh them; then on everything.

    nothing known of the person   what is popular, or fits their tags (cold.py)
    up to FEW choices             folded in, weights of short histories
    an item that nobody chose     content alone: s_ui = a + b z_content, the line through the rarest tenth of the rest
    no interactions at all        content
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.algorithm import implementation
from tasks.errors import InvalidInput
from tasks.recommend import Params
from tasks.recommend.catalogue import Title
from tasks.recommend.chosen import Chosen
from tasks.recommend.data import Arrays, Data, Step
from tasks.recommend.recommender import Recommender

PARTS = ("popular", "content", "user-knn", "item-knn", "svd", "nmf")
FEW = 5  # choices; with more, a history is a long one
ASKED_WITH = 3  # choices, where weights for short histories are sought
NUMBERS = 30_000_000  # of z that are in memory at once when weights are sought
PENALTY = 1e-3  # times the weights' squares, so that equal models share
SAME = 1e-6  # of the mean: scores that deviate by less are equal but for rounding
RARE = 0.1  # share of the chosen items that stand for those nobody chose


class Model(Recommender):
    """fitted: each part's arrays under 'part/name'; weights (2, parts), for short and long histories; cold (2, 2), a
    and b; counts (items,)."""

    name = "hybrid"
    needs_interactions = False

    def relevant(self, params: Params) -> dict:
        return {"seed": params.seed}

    def fit(self, data: Data, params: Params, step: Step) -> Arrays:
        own = Params(seed=params.seed)
        if data.chosen is None:
            return _flat({"content": _part("content").fit(data, own, step)})
        held, last = data.chosen.without_last()
        users = _some(np.flatnonzero(last >= 0), len(data.titles), own.seed)
        learned = {"counts": np.bincount(data.chosen.item, minlength=len(data.titles))}
        if len(users):
            parts = _fit(Data(data.titles, held), own, lambda done, said: step(done / 2, said))
            learned |= _weigh(parts, held.select(users), last[users], own)
        parts = _fit(data, own, lambda done, said: step(0.5 + done / 2, said))
        even = {"weights": np.ones((2, len(parts))), "cold": np.tile([0.0, 1.0], (2, 1))}
        return {**even, **learned, **_flat(parts)}

    def scores(self, fitted: Arrays, asked: Chosen, params: Params) -> np.ndarray:
        parts = _grouped(fitted)
        if "counts" not in fitted:
            return _part("content").scores(parts["content"], asked, params)
        raw = _raw(parts, asked, Params(seed=params.seed))
        return _blend(fitted, list(parts), raw, standard(raw, fitted["counts"]), asked)

    def reasons(
        self, fitted: Arrays, asked: Chosen, items: Sequence[Sequence[int]], titles: Sequence[Title], params: Params
    ) -> list[list[str]]:
        """Those of the part that adds most to the score."""
        parts, own = _grouped(fitted), Params(seed=params.seed)
        if "counts" not in fitted:
            return _part("content").reasons(parts["content"], asked, items, titles, own)
        strongest = self._strongest(fitted, parts, asked, items, own)
        said: list[dict[int, str]] = [{} for _ in items]
        for name, arrays in parts.items():
            mine = [
                [item for item, part in zip(some, of_person, strict=True) if part == name]
                for some, of_person in zip(items, strongest, strict=True)
            ]
            if any(mine):
                for person, why in enumerate(_part(name).reasons(arrays, asked, mine, titles, own)):
                    said[person] |= zip(mine[person], why, strict=True)
        return [[of_person[item] for item in some] for of_person, some in zip(said, items, strict=True)]

    def _strongest(
        self, fitted: Arrays, parts: Mapping[str, Arrays], asked: Chosen, items: Sequence[Sequence[int]], own: Params
    ) -> list[list[str]]:
        """The name of the part that adds most, for each item of each person; of one that nobody chose, content."""
        raw = _raw(parts, asked, own)
        adds = standard(raw, fitted["counts"]) * fitted["weights"][_long(asked)][:, :, None]
        adds[~np.isfinite(raw)] = -np.inf
        names = list(parts)
        return [
            ["content" if fitted["counts"][item] == 0 else names[adds[person, :, item].argmax()] for item in some]
            for person, some in enumerate(items)
        ]


def _part(name: str) -> Recommender:
    part = implementation("recommend", name)()
    assert isinstance(part, Recommender)
    return part


def _fit(data: Data, own: Params, step: Step) -> dict[str, Arrays]:
    """All parts; content only where the catalogue says something to compare by."""
    fitted = {}
    for number, name in enumerate(PARTS):

        def part_of(done: float, said: str, number: int = number, name: str = name) -> None:
            step((number + done) / len(PARTS), f"{name}: {said}")

        try:
            fitted[name] = _part(name).fit(data, own, part_of)
        except InvalidInput:
            if name != "content":
                raise
    return fitted


def _raw(parts: Mapping[str, Arrays], asked: Chosen, own: Params) -> np.ndarray:
    """(people, parts, items) scores as the parts give them; -inf for what has been chosen."""
    raw = np.stack([_part(name).scores(arrays, asked, own) for name, arrays in parts.items()], axis=1)
    raw[asked.user, :, asked.item] = -np.inf
    return raw


def standard(raw: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """z (people, parts, items); mean and deviation are those of unseen items that anybody chose.

    Where these do not differ (or there are none), of all unseen items; where those do not either, z is 0.
    """
    scored = np.isfinite(raw)
    root = np.sqrt(np.clip(np.where(scored, raw, 0), 0, None))
    counted = np.broadcast_to(scored.any(axis=1, keepdims=True) & (counts > 0), raw.shape)
    mean, spread = _moments(root, counted)
    same = spread <= SAME * np.abs(mean)
    if same.any():
        wider = _moments(root, scored)
        mean, spread = np.where(same, wider[0], mean), np.where(same, wider[1], spread)
        same = spread <= SAME * np.abs(mean)
    return np.where(same, 0, root - mean) / np.where(same, 1, spread)


def _moments(values: np.ndarray, picked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation along the last axis of what is picked; 0 and 0 of nothing."""
    number = np.maximum(picked.sum(axis=-1, keepdims=True), 1)
    mean = np.where(picked, values, 0).sum(axis=-1, keepdims=True) / number
    return mean, np.sqrt(np.where(picked, (values - mean) ** 2, 0).sum(axis=-1, keepdims=True) / number)


def _long(asked: Chosen) -> np.ndarray:
    """(people,) 1 for a long history, 0 for a short one."""
    return (asked.counts() > FEW).astype(int)


def _blend(fitted: Arrays, parts: Sequence[str], raw: np.ndarray, z: np.ndarray, asked: Chosen) -> np.ndarray:
    """(people, items)."""
    long, untouched = _long(asked), fitted["counts"] == 0
    found = np.einsum("upi,up->ui", z, fitted["weights"][long])
    found[~np.isfinite(raw).any(axis=1)] = -np.inf
    if untouched.any():
        a, b = fitted["cold"][long].T
        content = parts.index("content") if "content" in parts else None
        cold = (
            np.full(found.shape, -np.inf)
            if content is None
            else np.where(np.isfinite(raw[:, content]), a[:, None] + b[:, None] * z[:, content], -np.inf)
        )
        found[:, untouched] = cold[:, untouched]
    return found


def _weigh(parts: Mapping[str, Arrays], asked: Chosen, last: np.ndarray, own: Params) -> Arrays:
    """Weights and lines for short and long histories, from what was held back of the people asked for."""
    counts = np.bincount(asked.item, minlength=asked.items)
    weights, cold = [], []
    for people in (asked.newest(ASKED_WITH).as_strangers(), asked):
        raw = _raw(parts, people, own)
        unseen = np.isfinite(raw).any(axis=1)
        z = standard(raw, counts).astype(np.float32)
        weights.append(likeliest(z, unseen, last))
        cold.append(_line(z, weights[-1], unseen, counts, list(parts)))
    return {"weights": np.stack(weights), "cold": np.stack(cold)}


def likeliest(z: np.ndarray, unseen: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The weights g >= 0 under which `last` is likeliest. z (people, parts, items), unseen (people, items)."""
    people = np.arange(len(last))
    useful = unseen[people, last]
    right = z[people, :, last]
    hidden = np.where(unseen, 0, -np.inf)

    def loss(g: np.ndarray) -> tuple[float, np.ndarray]:
        s = np.einsum("upi,p->ui", z, g.astype(np.float32)) + hidden
        s -= s.max(axis=1, keepdims=True)
        p = np.exp(s)
        total = p.sum(axis=1)
        gap = np.log(total) - s[people, last]
        pull = np.einsum("upi,ui->up", z, (p / total[:, None]).astype(np.float32)) - right
        return gap[useful].mean() + PENALTY * g @ g, pull[useful].mean(axis=0) + 2 * PENALTY * g

    if not useful.any():
        return np.ones(z.shape[1])
    from scipy.optimize import minimize  # takes longer to import than a fit without interactions, which needs it not

    start = np.full(z.shape[1], 0.2)
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start)).x


def _line(
    z: np.ndarray, weights: np.ndarray, unseen: np.ndarray, counts: np.ndarray, parts: Sequence[str]
) -> np.ndarray:
    """a and b: what content says of the blend, among the rarest of the items that anybody chose."""
    if "content" not in parts:
        return np.array([0.0, 0.0])
    rare = (counts > 0) & (counts <= np.quantile(counts[counts > 0], RARE))
    pick = unseen[:, rare]
    if not pick.any():  # everybody weighed has chosen all that anybody chose
        return np.array([0.0, 1.0])
    content = z[:, parts.index("content"), rare][pick]
    blend = np.einsum("upi,p->ui", z[:, :, rare], weights)[pick]
    spread = content.var()
    b = max(0.0, float(np.mean((content - content.mean()) * (blend - blend.mean())) / spread)) if spread > 0 else 0.0
    return np.array([blend.mean() - b * content.mean(), b])


def _some(users: np.ndarray, items: int, seed: int) -> np.ndarray:
    """As many as memory allows, drawn."""
    most = max(1, NUMBERS // (items * len(PARTS)))
    return users if len(users) <= most else np.sort(np.random.default_rng(seed).choice(users, most, replace=False))


def _flat(parts: Mapping[str, Arrays]) -> dict[str, np.ndarray]:
    return {f"{name}/{key}": value for name, arrays in parts.items() for key, value in arrays.items()}


def _grouped(fitted: Arrays) -> dict[str, dict[str, np.ndarray]]:
    """The parts that there are, in their order."""
    grouped = {
        name: {key.partition("/")[2]: value for key, value in fitted.items() if key.startswith(name + "/")}
        for name in PARTS
    }
    return {name: arrays for name, arrays in grouped.items() if arrays}
