"""The folder of a model's weights: finds its files and judges them before a network is made, in sentences for callers.

It knows files and their formats; it knows no network. No sentence of it names a path of the server.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from tasks import text
from tasks.errors import BacklotError, ModelFailed

CONFIG = "config.json"
TENSORS = "model.safetensors"
COPY_AGAIN = "copy the folder again from where it was made"
POINTER = b"version https://git-lfs.github.com/spec/"
"""The first bytes of a Git LFS pointer, which stands in a clone for a file that was not fetched."""
WORDS_MAX = 240
"""Characters of a library's own words that a sentence repeats."""


def unusable(finding: str, step: str) -> ModelFailed:
    """The error of weights that can never be served as they are: what was found, and what an operator does next."""
    return ModelFailed(f"the model's weights cannot be used: {finding}; {step}")


def require(folder: Path | None, *names: str) -> Path:
    """The folder, once all these files lie in it, each with bytes of its own; errors: ModelFailed."""
    if folder is None:
        needed = " and ".join(names or (CONFIG, TENSORS))
        raise unusable("models.toml names no folder for them", f"set `weights` to a folder with {needed}")
    if not folder.is_dir():
        raise unusable("the folder that models.toml names is not on this worker", "copy it there, or correct `weights`")
    for name in names:
        path = folder / name
        if not path.is_file():
            empty = "" if any(folder.iterdir()) else " (it is empty)"
            raise unusable(f"the folder has no {name}{empty}", COPY_AGAIN)
        check_bytes(path)
    return folder


def check_bytes(path: Path) -> None:
    """Errors: ModelFailed, of a file that is empty, cannot be opened, or is a Git LFS pointer."""
    try:
        with path.open("rb") as file:
            first = file.read(len(POINTER))
    except OSError as error:
        raise unusable(
            f"{path.name} cannot be opened ({error.strerror})", "let the worker's user read the folder"
        ) from error
    if first == POINTER:
        raise unusable(
            f"{path.name} is a Git LFS pointer, not the file itself", "run `git lfs pull` in the clone it came from"
        )
    if not first:
        raise unusable(f"{path.name} is empty", COPY_AGAIN)


def read_json(path: Path) -> dict[str, Any]:
    """Errors: ModelFailed, of what is no JSON object."""
    check_bytes(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise unusable(f"{path.name} is not JSON", COPY_AGAIN) from error
    if not isinstance(found, dict):
        raise unusable(f"{path.name} is not a JSON object", COPY_AGAIN)
    return found


def tensor_types(path: Path) -> dict[str, str]:
    """Name and type (F32, BF16, I8, ...) of each tensor of a safetensors file; errors: ModelFailed, of one that is
    damaged or not whole."""
    check_bytes(path)
    try:
        with safe_open(path, "numpy") as file:
            names: list[str] = file.keys()
            return {name: file.get_slice(name).get_dtype() for name in names}
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise unusable(f"{path.name} ({size:,} bytes) is cut short or no safetensors file", COPY_AGAIN) from error


@contextmanager
def judged(finding: str, step: str, folder: Path) -> Iterator[None]:
    """Turns whatever reading a folder raises into `finding`, with the library's words; memory errors pass."""
    try:
        yield
    except BacklotError:
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it
            raise
        raise unusable(f"{finding} ({words(error, folder)})", step) from error


@contextmanager
def trained(folder: Path | None, algorithm: str, *names: str) -> Iterator[Path]:
    """The folder of weights that Backlot trained, while they are read: all these files are there, those of safetensors
    whole and of finite numbers. Errors: ModelFailed, for whatever reading them raises too."""
    found = require(folder, *names)
    for name in names:
        if name.endswith(".safetensors"):
            _check_finite(found / name)
    with judged(f"they are no weights of {algorithm}, or of another release", COPY_AGAIN, found):
        yield found


def _check_finite(path: Path) -> None:
    tensor_types(path)
    with safe_open(path, "numpy") as file:
        names: list[str] = file.keys()
        odd = [name for name in names if not np.isfinite(file.get_tensor(name)).all()]
    if odd:
        raise unusable(f"{listed(odd, 1)} has a number that is not finite (NaN or infinity)", COPY_AGAIN)


def words(error: BaseException, folder: Path) -> str:
    """A library's words in one line, without the paths of this machine."""
    said = str(error)
    for place in (folder, folder.resolve()):
        said = said.replace(str(place), "the folder")
    named = type(error).__name__
    return text.line(f"{named}: {text.without_paths(said)}" if said.strip() else named, WORDS_MAX)


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
