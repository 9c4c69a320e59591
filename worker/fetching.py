"""Fetches the inputs of a job: file inputs as paths, text inputs as text, JSON inputs as values.

It knows the kind's inputs and the bucket; not the model.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, JsonValue, ValidationError

from tasks import errors, inputs, registry
from tasks.bucket import fetch
from tasks.bucket.storage import Storage
from tasks.job import Fixed
from tasks.ledger import Ledger
from tasks.registry import Model
from tasks.request import invalid
from tasks.service.archive import Archive
from tasks.service.chains import Chains
from tasks.settings import Settings
from worker.attempt import Attempt
from worker.patience import FETCH_S, patiently
from worker.slot import Slot


class Inputs:
    """Fetches for the slots of one process."""

    def __init__(self, settings: Settings, storage: Storage, ledger: Ledger) -> None:
        self.settings, self.storage, self.ledger = settings, storage, ledger
        self.chains = Chains(ledger, Archive(ledger, storage))

    def elsewhere(self, fixed: Fixed) -> list[str]:
        """The inputs that have to be fetched."""
        of_kind = registry.contract(fixed.kind).inputs
        return [name for name in fixed.input if _lies_elsewhere(fixed, of_kind, name)]

    def fetch(self, attempt: Attempt, model: Model, elsewhere: Sequence[str], slot: Slot) -> dict[str, Any]:
        """The inputs by name, as a Call has them; None for each that the caller left out. Files lie in the slot's
        folder of inputs.

        Errors: InvalidInput, InputUnreachable, StorageUnavailable; the attempt's own once it is asked to stop.
        """
        of_kind = registry.contract(attempt.fixed.kind).inputs
        fetched: dict[str, Any] = {**dict.fromkeys(of_kind.model_fields), **attempt.fixed.input}
        for name in elsewhere:
            target = slot.inputs / name
            self._fetch_one(attempt, model, of_kind, name, target)
            fetched[name] = target if inputs.is_file(of_kind, name) else _read(target, of_kind, name)
            if inputs.is_text(of_kind, name):
                _check(of_kind, {**attempt.fixed.input, name: fetched[name]})
        return fetched

    def _fetch_one(self, attempt: Attempt, model: Model, of_kind: type[BaseModel], name: str, target: Path) -> None:
        fixed = attempt.fixed
        source = _source(fixed.input[name], name)
        limits = inputs.limits_of(of_kind, name)
        find = partial(self._of_job, fixed.tenant) if source.startswith("job:") else None
        fetch_it = partial(
            fetch.fetch,
            source,
            target,
            tenant=fixed.tenant,
            max_bytes=limits.max_bytes if limits else fixed.uploads[source.removeprefix("upload:")].bytes,
            settings=self.settings,
            storage=self.storage,
            uploads=fixed.uploads,
            canceled=attempt.stopped,
            within_s=model.fetch_timeout_s,
            find=find,
        )
        patiently(attempt, f"give the input {name}", FETCH_S, self.ledger, fetch_it)

    def _of_job(self, tenant: str, source: str) -> tuple[str, int] | str:
        """The key and bytes of another job's output, or its text. Errors: InvalidInput where it is gone."""
        _, job_id, output = inputs.chained(source)
        return self.chains.output_key(tenant, job_id, output) if output else self.chains.text(tenant, job_id)


def _source(value: JsonValue, name: str) -> str:
    """The source in the record: a text, or {"url": text}. Errors: InvalidInput where the record has another value."""
    source = value["url"] if isinstance(value, dict) else value
    if not isinstance(source, str):
        raise errors.InvalidInput(f"{name} names no source")
    return source


def _lies_elsewhere(fixed: Fixed, of_kind: type[BaseModel], name: str) -> bool:
    """True where the record has a source in place of the input's value."""
    if inputs.is_text(of_kind, name):
        return not isinstance(fixed.input[name], str)
    return name in fixed.in_bucket or inputs.is_file(of_kind, name)


def _check(of_kind: type[BaseModel], given: dict[str, Any]) -> None:
    """Errors: InvalidInput where a text that was fetched is one that a submit would refuse."""
    try:
        of_kind.model_validate(given)
    except ValidationError as error:
        raise errors.InvalidInput(invalid(error, given).errors[0]["detail"]) from error


def _read(path: Path, of_kind: type[BaseModel], name: str) -> JsonValue:
    """A fetched text or JSON value. It is read as bytes: a file opened as text gives LF for CRLF."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise errors.InvalidInput(f"{name} is not UTF-8 text: byte {error.start}") from error
    if inputs.is_text(of_kind, name):
        return text
    value: JsonValue = json.loads(text)
    return value
