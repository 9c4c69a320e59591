"""What a measurement gives: figures of both sides, with the target each is held against; and how sides take turns."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench.sides import Backlot, Naive, Side

Runs = list[dict[str, float]]


@dataclass(frozen=True)
class Target:
    """`limit` is held against the ratio Backlot / naive where `of_ratio`, else against Backlot's own figure."""

    limit: float
    at_least: bool = False
    of_ratio: bool = True

    def met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.limit:,g}{'x' if self.of_ratio else ''}"


@dataclass(frozen=True)
class Figure:
    """One line of the results. The lists have one value a run, in order; what is shown is their median."""

    name: str
    unit: str
    backlot: list[float]
    naive: list[float] = field(default_factory=list)
    target: Target | None = None
    aim: Target | None = None
    compared: bool = True

    @property
    def ratios(self) -> list[float]:
        """Backlot / naive of each pair of runs; none of figures that are only told side by side."""
        if not self.compared:
            return []
        return [ours / theirs for ours, theirs in zip(self.backlot, self.naive, strict=bool(self.naive)) if theirs]

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return self._meets(self.target)

    @property
    def aim_met(self) -> bool | None:
        """Whether the aim, which is past the target, is met; None where there is none."""
        return self._meets(self.aim)

    def _meets(self, target: Target | None) -> bool | None:
        if target is None:
            return None
        return target.met(self.ratio if target.of_ratio else statistics.median(self.backlot))


def in_turns(
    pairs: int,
    measure: Callable[[Any], dict[str, float]],
    say: Callable[[str], None],
    sides: Sequence[type[Side]] = (Naive, Backlot),
) -> dict[str, Runs]:
    """Naive, Backlot, naive, Backlot, ...: each run with fresh servers and data; what they gave, by side."""
    runs: dict[str, Runs] = {kind.name: [] for kind in sides}
    for pair in range(pairs):
        for kind in sides:
            with kind() as side:
                runs[side.name].append(measure(side))
            say(
                f"  {pair + 1}/{pairs} {side.name:8}"
                + ", ".join(
                    f"{name} {value:,.3g}" if value < 100 else f"{name} {value:,.0f}"
                    for name, value in runs[side.name][-1].items()
                )
            )
    return runs


def figure(
    name: str,
    unit: str,
    runs: dict[str, Runs],
    key: str,
    target: Target | None = None,
    aim: Target | None = None,
    compared: bool = True,
    beside: str = "naive",
) -> Figure:
    """The figure `key` of the runs of Backlot and the side named; one that only Backlot has is Backlot's alone."""
    return Figure(
        name,
        unit,
        *([run[key] for run in runs[side] if key in run] for side in ("backlot", beside)),
        target,
        aim,
        compared,
    )


def cpu_us(before: dict[str, float], after: dict[str, float], count: int) -> dict[str, float]:
    """CPU microseconds of each server for one of `count` jobs."""
    return {f"cpu_us_{name}": 1e6 * (spent - before[name]) / count for name, spent in after.items() if name in before}


def cpu_figures(runs: dict[str, Runs], parts: dict[str, str]) -> list[Figure]:
    """A line for each of `parts`, a server's name -> what people call it."""
    return [figure(f"- CPU a job, {words}", "us", runs, f"cpu_us_{name}") for name, words in parts.items()]
