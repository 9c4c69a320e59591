"""The digest of a job's work: what must be equal for one job to be answered by the result of another (`cache`).

It knows contracts and weights on this machine; neither tenants, whose jobs are never compared, nor the ledger.
"""

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, JsonValue

from tasks import inputs
from tasks.registry import Model, contract

FORM = 1
"""The form of digests. Another one makes all older results unknown."""
COMMIT = re.compile(r"^hf://[^@]+@([0-9a-f]{40})$")
"""Weights at a commit of the hub, which never changes."""


def digest(kind: str, model: str, of_weights: str, params: Mapping[str, Any], contents: Mapping[str, str]) -> str:
    """SHA-256, in hexadecimal, of the work: the release, the model, its weights' version, the params with their
    defaults, and the contents of the inputs by name."""
    filled = contract(kind).params.model_validate(params).model_dump(mode="json")
    work = [FORM, version("backlot"), kind, model, of_weights, filled, dict(contents)]
    return hashlib.sha256(_canonical(work)).hexdigest()


def of_value(of_kind: type[BaseModel], name: str, value: JsonValue) -> str:
    """The content of a text input, whose value is the text, or of a JSON input."""
    if inputs.limits_of(of_kind, name) is None:
        return "json:" + hashlib.sha256(_canonical(value)).hexdigest()
    return of_file(hashlib.sha256(str(value).encode()).hexdigest())


def of_file(sha256: str) -> str:
    """The content of a file, or of a text that came as one: a text has the hash of its UTF-8."""
    return "file:" + sha256


def of_weights(model: Model) -> str | None:
    """The version of the model's weights, where it is the same on every machine of this release: named by hash or
    commit, shipped with the package, or none needed. None where only a worker can tell."""
    commit = COMMIT.match(model.weights or "")
    if model.sha256:
        return model.sha256
    if commit:
        return commit[1]
    folder = model.weights_path()
    if model.weights is None:
        return "none"
    if folder is None or Path(model.weights).is_absolute() or not folder.is_dir():
        return None
    return of_folder(folder)


def of_folder(folder: Path) -> str:
    """SHA-256 of the names and contents of a folder's files, computed again once one of them has changed."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = [(str(path), path.stat()) for path in files]
    return _hashed(tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats), folder)


@functools.lru_cache(maxsize=256)
def _hashed(files: tuple[tuple[str, int, int], ...], folder: Path) -> str:
    known = hashlib.sha256()
    for name, *_ in files:
        known.update(f"{Path(name).relative_to(folder)} {hashed(Path(name))}\n".encode())
    return known.hexdigest()


def hashed(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
