"""The figures of an earlier run, read from its results.json, to be set beside those of a later one."""

import json
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

BYTES = {"MiB": 2**20, "MB": 10**6}
"""Units that may be set beside one another: runs of before December 2026 told MiB."""


@dataclass(frozen=True)
class Earlier:
    """The median of one figure, and its ratio where it had one."""

    value: float
    unit: str
    ratio: float | None


class Before:
    """All figures of one run. A line that begins with '- ' belongs to the last one before it that does not."""

    def __init__(self, path: Path) -> None:
        told = json.loads(path.read_text())
        lines = told["figures"]
        self.machine: dict[str, str] = told["machine"]
        self._figures = {
            place: Earlier(statistics.median(line["backlot"]), line["unit"], line["ratio"])
            for place, line in zip(places(line["name"] for line in lines), lines, strict=True)
            if line["backlot"]
        }

    def find(self, place: tuple[str, str], unit: str) -> Earlier | None:
        """The figure of that place in the unit; None where there was none."""
        found = self._figures.get(place)
        if found is None or found.unit == unit:
            return found
        if {found.unit, unit} <= BYTES.keys():
            return Earlier(found.value * BYTES[found.unit] / BYTES[unit], unit, found.ratio)
        return None


def places(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each name with that of its heading, since many figures have a '- p99'."""
    heading = ""
    for name in names:
        heading = heading if name.startswith("- ") else name
        yield heading, name
