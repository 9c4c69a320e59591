"""Measured durations of a model's jobs, as the keeper keeps them and the API reads them. It asks nobody.

A line is `<pool>.<kind>:<model>`, so that a model that moved to another pool is measured anew there.
"""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

RUNS_KEPT = 128
"""Durations of a line that are kept."""
LOADS_KEPT = 16
"""Loading times of a line that are kept: the newest."""
PROCESSES_KEPT = 256
"""Processes of a line that are known to have loaded its model: those of the newest ends."""
RUNS_A_ROUND = 4
"""Durations that one round adds to a full list, so that it spans half a minute at least, whatever the rate."""
LOADS_S = 0.01
"""Seconds from which an attempt has loaded its model, rather than found it loaded."""


class Ended(NamedTuple):
    """An attempt that ended: for how long it had its slot, and how much of that was loading; s, and ms since 1970."""

    process: str
    slot_s: float
    load_s: float
    ended_ms: int


@dataclass
class Durations:
    """Durations of one line. `run_s`: times for which attempts had their slot, without loading, in no order. `load_s`:
    loading times of processes that had not loaded the model; 0 where it was preloaded. `processes`: when an attempt
    last ended in each, ms."""

    run_s: list[float] = field(default_factory=list)
    load_s: list[float] = field(default_factory=list)
    processes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> "Durations":
        """Reads what `as_json` wrote; none where there is nothing or it cannot be read."""
        try:
            told = json.loads(text or "{}")
            runs, loads = ([float(one) for one in told[name] if float(one) >= 0] for name in ("run_s", "load_s"))
            return cls(runs, loads, {str(name): int(ms) for name, ms in told["processes"].items()})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return cls()

    def as_json(self) -> str:
        return json.dumps(vars(self), separators=(",", ":"))

    def add(self, ends: Iterable[Ended]) -> None:
        """Adds the attempts of one round. In a full list each takes the place of one at random (reservoir sampling
        with replacement: an old duration leaves it with the same chance at each)."""
        ends = sorted(ends, key=lambda end: end.ended_ms)
        for end in ends:
            if end.load_s >= LOADS_S or end.process not in self.processes:
                self.load_s = [*self.load_s, round(end.load_s, 4)][-LOADS_KEPT:]
            self.processes[end.process] = end.ended_ms
        newest = sorted(self.processes.items(), key=lambda seen: -seen[1])
        self.processes = dict(newest[:PROCESSES_KEPT])
        most = max(RUNS_A_ROUND, RUNS_KEPT - len(self.run_s))
        for end in random.sample(ends, min(most, len(ends))):
            run_s = round(max(0.0, end.slot_s - end.load_s), 4)
            if len(self.run_s) < RUNS_KEPT:
                self.run_s.append(run_s)
            else:
                self.run_s[random.randrange(RUNS_KEPT)] = run_s


def plain(line: str) -> str:
    """The line without the form of its records (`@v`)."""
    return line.partition("@")[0]
