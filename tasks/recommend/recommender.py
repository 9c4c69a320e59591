"""What all models of the kind have in common: fit once, keep what was fitted, score, rank, give reasons.

It knows in which order a call goes through these steps; the mathematics stand in the algorithms' own files, who
is asked for in people.py, what is written in answers.py.
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from tasks.algorithm import Algorithm, Call, Result
from tasks.errors import BacklotError, Canceled, InvalidInput
from tasks.recommend import NOT_GIVEN, Params, answers, catalogue, doubts, interactions, needed, people, tables
from tasks.recommend.catalogue import Title
from tasks.recommend.chosen import Chosen
from tasks.recommend.cleaning import Cleaning
from tasks.recommend.cold import Cold
from tasks.recommend.columns import INTERACTIONS
from tasks.recommend.data import Arrays, Data, Step, blocks, top
from tasks.recommend.evaluate import evaluation
from tasks.recommend.people import Asked

VERSION = 3
"""Of what is kept of a fit: another number, and old ones are passed over."""


class Recommender(Algorithm):
    """A model that learns from each job's own data; nothing is loaded. Subclasses say how to fit and to score."""

    name: ClassVar[str]
    needs_interactions: ClassVar[bool] = True

    @classmethod
    def load(cls, weights: Path | None = None, device: str = "cpu") -> "Recommender":
        return cls()

    @abstractmethod
    def fit(self, data: Data, params: Params, step: Step) -> Arrays:
        """What is learned, as arrays: they are kept, and serve every job on the same data with the same params."""

    @abstractmethod
    def scores(self, fitted: Arrays, asked: Chosen, params: Params) -> np.ndarray:
        """(people, items) for people with a history: higher is better, -inf for what cannot be recommended."""

    @abstractmethod
    def reasons(
        self, fitted: Arrays, asked: Chosen, items: Sequence[Sequence[int]], titles: Sequence[Title], params: Params
    ) -> list[list[str]]:
        """Why each of these items, a list of them for each person."""

    def relevant(self, params: Params) -> dict:
        """The params that a fit depends on."""
        return {}

    def run(self, calls: Sequence[Call]) -> list[Result | BacklotError]:
        """At most k titles for each person, best first, none that is in the history; equal scores stand in the order
        of the catalogue.

        Errors: those of catalogue.read, interactions.read and people.find; InvalidInput where the model cannot do
        without what is missing.
        """
        return [self._answer(call) for call in calls]

    def _answer(self, call: Call) -> Result | BacklotError:
        try:
            return self._recommend(call)
        except BacklotError as error:
            return error

    def _recommend(self, call: Call) -> Result:
        read = [Cleaning("catalogue")]
        _check_columns(call)
        titles = catalogue.read(
            call.inputs["catalogue"],
            lambda n: _step(call, 0.2, f"{n:,} titles read"),
            read[0],
            call.params.columns,
            tables.header(call.inputs.get("interactions")),
        )
        _step(call, 0.2, f"{len(titles):,} titles read")
        data = Data(titles, self._interactions(call, titles, read))
        asked = people.find(call.inputs, titles, data.chosen)
        cold = Cold.of(titles, data.chosen, asked.tags)
        if not asked.chosen.counts().all():
            cold.check(asked.tags)
        fitted = self._fitted(call, data)
        _step(call, 0.8, f"{self.name} is ready")
        measured = self._evaluation(call, data) if call.params.evaluate else None
        result = answers.write(call, titles, asked, self._ranked(call, fitted, asked, titles, cold))
        files = [*result.files, *answers.report(call.workdir, read, asked), *(measured.files if measured else ())]
        _tell(call, asked, result)
        warnings = doubts.of(read, asked, result.value, self.name)
        measures = measured.value["models"] if measured else None
        return Result({**result.value, "evaluation": measures, "warnings": warnings}, files)

    def _interactions(self, call: Call, titles: Sequence[Title], read: list[Cleaning]) -> Chosen | None:
        path = call.inputs.get("interactions")
        if path is None:
            if self.needs_interactions:
                raise InvalidInput(needed(self.name))
            if call.params.evaluate:
                raise InvalidInput(f"params.evaluate holds back some {NOT_GIVEN}")
            return None
        read.append(Cleaning("interactions"))
        chosen = interactions.read(
            path,
            titles,
            lambda n: _step(call, 0.3, f"{n:,} interactions read"),
            read[1],
            call.params.columns,
            tables.header(call.inputs["catalogue"]),
        )
        _step(call, 0.3, f"{len(chosen.item):,} interactions of {len(chosen.users):,} users")
        return chosen

    def _fitted(self, call: Call, data: Data) -> Arrays:
        """Fitted now, or by an earlier job on the same data."""

        def make(folder: Path) -> None:
            arrays = self.fit(data, call.params, lambda done, said: _step(call, 0.3 + 0.5 * done, said))
            np.savez(folder / "fitted.npz", allow_pickle=False, **arrays)

        with np.load(
            call.artefact(self._artefact(self.name, data, self.relevant(call.params)), make) / "fitted.npz",
            allow_pickle=False,
        ) as kept:
            return dict(kept)

    def _artefact(self, what: str, data: Data, params: dict) -> str:
        said = json.dumps([VERSION, data.digest(), params], sort_keys=True)
        return f"recommend-{what}-v{VERSION}-{hashlib.sha256(said.encode()).hexdigest()[:48]}"

    def _evaluation(self, call: Call, data: Data) -> Result:
        wanted = call.params.model_dump(exclude={"evaluate", "columns"})
        return evaluation(
            call,
            data,
            self._artefact("evaluation", data, wanted),
            self.name,
            lambda done, said: _step(call, 0.8 + 0.15 * done, said),
        )

    def _ranked(
        self, call: Call, fitted: Arrays, asked: Asked, titles: Sequence[Title], cold: Cold
    ) -> Iterator[list[tuple[int, float, str]]]:
        """(item, score, reason) of each person's k best."""
        pieces = blocks(len(asked.chosen.users), len(titles))
        for done, people_ in enumerate(pieces):
            if done:
                _step(call, 0.95, f"{people_[0]:,} of {len(asked.chosen.users):,} users answered")
            yield from self._block(call.params, fitted, asked.chosen.select(people_), titles, cold)

    def _block(
        self, params: Params, fitted: Arrays, block: Chosen, titles: Sequence[Title], cold: Cold
    ) -> Iterator[list[tuple[int, float, str]]]:
        known = block.counts() > 0
        scores = np.empty((len(known), len(titles)))
        if known.any():
            scores[known] = self.scores(fitted, block.select(np.flatnonzero(known)), params)
        scores[block.user, block.item] = -np.inf
        best = [top(scores[person], params.k) for person in np.flatnonzero(known)]
        why = self.reasons(fitted, block.select(np.flatnonzero(known)), best, titles, params) if best else []
        reasoned = iter(zip(best, why, strict=True))
        for person, knows in enumerate(known):
            if knows:
                items, reasons = next(reasoned)
                yield list(zip(items, scores[person, items].tolist(), reasons, strict=True))
            else:
                yield [(item, float(cold.scores[item]), cold.reason(item)) for item in top(cold.scores, params.k)]


def _check_columns(call: Call) -> None:
    """Errors: InvalidInput where params.columns names a column of interactions that are not given."""
    theirs = [role for role in call.params.columns if role in INTERACTIONS]
    if theirs and call.inputs.get("interactions") is None:
        raise InvalidInput(f"params.columns names {theirs[0]}, a column {NOT_GIVEN}")


def _step(call: Call, progress: float, message: str) -> None:
    if call.canceled():
        raise Canceled("the recommendation was canceled")
    call.report(progress, message)


def _tell(call: Call, asked: Asked, result: Result) -> None:
    many = result.value.get("many")
    said = f"{many['rows']:,} titles for {many['users']:,} users" if many else f"{len(result.value['items'])} titles"
    call.report(1.0, "; ".join([said, *asked.notes]))
