"""Measures a job for its metrics: the bytes of its inputs, and the amounts that its result tells of.

The counters of usage add them up (tasks/usage.py); people see them in the result.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks.job import Fixed

PICTURES = {"caption": 1}
"""Pictures that one job of a kind looks at; of the other kinds, none."""


def of_inputs(folder: Path, fetched: Iterable[str]) -> dict[str, float]:
    """`bytes_in` of the inputs that were fetched into the folder, each a file of its name."""
    size = sum((folder / name).stat().st_size for name in fetched)
    return {"bytes_in": size} if size else {}


def of_result(fixed: Fixed, value: Mapping[str, Any]) -> dict[str, float]:
    """`prompt_tokens`, `completion_tokens`, `sound_s` and `pictures`, where the kind has them."""
    found: dict[str, float] = {}
    usage = value.get("usage")
    if isinstance(usage, Mapping):
        found |= {name: usage[name] for name in ("prompt_tokens", "completion_tokens") if name in usage}
    if "duration_s" in value:
        found["sound_s"] = value["duration_s"]
    if fixed.kind in PICTURES:
        found["pictures"] = PICTURES[fixed.kind]
    return found
