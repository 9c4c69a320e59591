"""Asks, once a job's inputs are fetched, whether another has done the same work or does it now (`cache`).

It computes the digest of the work by what lies here; the ledger decides, and the model is not touched.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tasks import errors, registry, same_work
from tasks.ledger import Ledger
from tasks.registry import ELSEWHERE, Model
from worker.attempt import Attempt
from worker.insist import insist


class Settled(errors.Stopped):
    """The attempt has ended without its model: it was cited, or waits for the job that does its work. `end`: the
    answer of Ledger.cite."""

    def __init__(self, end: str) -> None:
        super().__init__(f"another job does the same work: {end}")
        self.end = end


class SameWork:
    """Judges the attempts of one process. `locate`: the folder of a model's weights on this machine."""

    def __init__(self, ledger: Ledger, locate: Callable[[Model], Path | None]) -> None:
        self._ledger, self._locate = ledger, locate

    def judge(self, attempt: Attempt, model: Model, fetched: Mapping[str, Any]) -> None:
        """Ends the attempt where its model need not run. Errors: Settled; those of `locate`."""
        fixed = attempt.fixed
        of_kind = registry.contract(fixed.kind).inputs
        contents = {name: _content(of_kind, name, fetched[name]) for name in fixed.input if fetched[name] is not None}
        digest = same_work.digest(fixed.kind, fixed.model, self._version(model), fixed.params, contents)
        end = insist(partial(self._ledger.cite, fixed.id, digest, attempt.claimed.token))
        if end != "leads":
            raise Settled(end)

    def _version(self, model: Model) -> str:
        """The version of the weights as they are here."""
        known = same_work.of_weights(model)
        if known is not None:
            return known
        folder = self._locate(model)
        if folder is None:
            return "none"
        # a folder that was fetched is named by its commit or its objects
        return folder.name if ELSEWHERE.match(model.weights or "") else same_work.of_folder(folder)


def _content(of_kind: Any, name: str, value: Any) -> str:
    if not isinstance(value, Path):
        return same_work.of_value(of_kind, name, value)
    return same_work.of_file(same_work.hashed(value))
