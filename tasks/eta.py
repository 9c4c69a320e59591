"""Estimates from measured durations when a waiting job starts, when a running one ends, and when a batch is done.

    until_start(ahead, slots, measured)     quantiles of the seconds until the job behind these starts
    until_end(slot, measured)               ... until the job in this slot ends

The slots are played ROUNDS times: each is free after what is left of its job, the next job in line takes the slot
that is free first, and so on. Durations are drawn from those measured; the next one may be longer than all of n with
a chance of 1 / (n + 1) (Hill 1968, assumption A(n)), then with a Pareto tail. What is left of a running job is drawn
from the durations longer than it has run. Of many jobs only the first are played, the rest is a sum: work / slots,
normally distributed. Many slots are played as SLOTS of them with as much less before them. Jobs that come later,
retries and cancels are left out. The same facts give the same numbers. It asks nobody.
"""

import bisect
import heapq
import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.durations import Durations

ROUNDS = 41
"""A prime: each line gets the same errors in another order."""
ERRORS = [statistics.NormalDist().inv_cdf((i + 0.5) / ROUNDS) for i in range(ROUNDS)]
"""Errors of a mean in its deviations, one a round: even parts of the normal distribution."""
SLOTS = 16
"""Slots that a round plays, at most."""
SIMULATED, A_SLOT = 12, 2
"""Waiting jobs that a round plays one by one, at least, and for each slot."""
LOW, HIGH = 0.05, 0.95
"""Quantiles that are told: nine of ten times lie between them, were all measured durations like those to come."""
TAIL, LINDY = 2.0, 1.0
"""Indexes of Pareto tails: of durations behind the longest measured, and of a job that has run longer than that, which
goes on as long as it has with a chance of a half (Lindy's law)."""
LEAST_SPREAD = 0.3
"""Coefficient of variation of durations, at least: a few that are alike prove little."""
LEAST_ERROR = 0.25
"""Relative error of a mean, at least: coming jobs are never quite like those measured; one may hold a slot of four."""
TURN_S = 0.1
"""Seconds that a start or an end may be late for other reasons than those played: bells, a busy machine."""
SEED = 6


class Eta(BaseModel):
    """Estimated seconds from now, from measured durations of the models and the slots that live. Nine times of ten the
    truth lies from `low` to `high` where coming jobs are like those measured; jobs that are submitted later and go
    first, by priority or their tenant's share, come on top."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"until": "start", "low": 11.8, "likely": 17.2, "high": 26.1}]}
    )
    until: Literal["start", "end"] = Field(
        description="`start` of a queued job; `end` of a running one, or of a batch's last job"
    )
    low: float = Field(ge=0, description="seconds; 1 time in 20 it takes less")
    likely: float = Field(ge=0, description="seconds; the median")
    high: float = Field(ge=0, description="seconds; 1 time in 20 it takes more")


@dataclass(frozen=True)
class Slot:
    """A slot that lives. `line`: of the job that has it, '' where it is free; for how long, s. `loading`: that job
    still has to load its model."""

    process: str = ""
    line: str = ""
    for_s: float = 0
    loading: bool = False


@dataclass
class _Line:
    """Durations of one line, ready to be drawn."""

    runs: list[float]
    loads: list[float]
    processes: Mapping[str, int]
    mean: float = field(init=False)
    deviation: float = field(init=False)
    error: float = field(init=False)

    def __post_init__(self) -> None:
        self.runs.sort()
        self.mean = statistics.fmean(self.runs)
        spread = math.sqrt(statistics.fmean([(run - self.mean) ** 2 for run in self.runs]))
        self.deviation = max(LEAST_SPREAD * self.mean, spread)
        error = self.deviation / max(self.mean, 1e-6) / math.sqrt(len(self.runs))
        self.error = min(1.0, max(LEAST_ERROR, error))

    def factor(self, place: int) -> float:
        """The error of the mean, the same for all jobs of a round."""
        return math.exp(ERRORS[place % ROUNDS] * self.error)

    def draws(self, count: int, factor: float, rng: random.Random) -> list[float]:
        """Durations of so many jobs: of those measured and one of the tail."""
        return [run * factor for run in rng.choices([*self.runs, _longer(self.runs[-1], rng)], k=count)]

    def left(self, for_s: float, rng: random.Random) -> float:
        """Seconds that are left of a job that has run so long."""
        first = bisect.bisect_right(self.runs, for_s)
        place = first + int(rng.random() * (len(self.runs) - first + 1))
        if place < len(self.runs):
            return self.runs[place] - for_s
        return (_longer(for_s, rng, LINDY) if for_s >= self.runs[-1] else _longer(self.runs[-1], rng)) - for_s

    def load(self, rng: random.Random) -> float:
        return rng.choice(self.loads) * math.exp(rng.gauss(0, LEAST_SPREAD)) if self.loads else 0.0


def until_start(
    ahead: Mapping[str, float], slots: Sequence[Slot], measured: Mapping[str, Durations], own: str = ""
) -> Eta | None:
    """The seconds until the next job starts, or with `own` its line, until all of these have ended.

    `ahead`: waiting jobs before it, by line; shares of a job count. None where no slot lives, or the durations of a
    line before it are not known.
    """
    ahead = {line: count for line, count in ahead.items() if count > 0}
    lines = {line: _Line(list(one.run_s), one.load_s, one.processes) for line, one in measured.items() if one.run_s}
    if not slots or any(line not in lines for line in (*ahead, *([own] if own else ()))):
        return None
    if not lines and not any(not slot.line for slot in slots):
        return None  # nothing tells how long the running ones take
    played, share = _fewer(slots)
    rng = random.Random(SEED)
    waiting = {line: count * share for line, count in ahead.items()}
    return _eta(
        [_play(number, waiting, played, lines, own, rng) for number in range(ROUNDS)], "end" if own else "start"
    )


def until_end(slot: Slot, measured: Mapping[str, Durations]) -> Eta | None:
    """The seconds until the job that has the slot ends; None where its line's durations are not known."""
    known = measured.get(slot.line)
    if known is None or not known.run_s:
        return None
    line, rng = _Line(list(known.run_s), known.load_s, known.processes), random.Random(SEED)
    return _eta([_left(slot, {slot.line: line}, rng) for _ in range(ROUNDS)], "end")


def latest(etas: Sequence[Eta]) -> Eta | None:
    """The estimate of the last of several ends; None where there are none."""
    if not etas:
        return None
    low, likely, high = (max(getattr(eta, name) for eta in etas) for name in ("low", "likely", "high"))
    return Eta(until="end", low=low, likely=likely, high=high)


def _fewer(slots: Sequence[Slot]) -> tuple[list[Slot], float]:
    """SLOTS of the slots at most, evenly taken by how long each has had its job, and their share of all."""
    if len(slots) <= SLOTS:
        return list(slots), 1.0
    ordered = sorted(slots, key=lambda slot: (slot.line, slot.for_s, slot.process))
    return [ordered[i * len(ordered) // SLOTS] for i in range(SLOTS)], SLOTS / len(slots)


def _play(
    number: int,
    waiting: Mapping[str, float],
    slots: Sequence[Slot],
    lines: Mapping[str, _Line],
    own: str,
    rng: random.Random,
) -> float:
    """One round: the seconds until the next job starts, or until the last of all has ended."""
    free = [(_left(slot, lines, rng) if slot.line else 0.0, i) for i, slot in enumerate(slots)]
    heapq.heapify(free)
    loaded = {(slot.process, slot.line): 0.0 for slot in slots}
    one_by_one = min(1.0, max(SIMULATED, A_SLOT * len(slots)) / max(1.0, sum(waiting.values())))
    played: list[tuple[str, float]] = []
    later = 0.0
    for place, (name, count) in enumerate(waiting.items()):
        line, rest = lines[name], count * (1 - one_by_one)
        factor = line.factor(number * (place % (ROUNDS - 1) + 1))
        played += [(name, run) for run in line.draws(_whole(count * one_by_one, rng), factor, rng)]
        if rest:
            later += max(0.0, rng.gauss(rest * line.mean * factor, math.sqrt(rest) * line.deviation)) / len(slots)
    if len(waiting) > 1:
        rng.shuffle(played)
    if own:
        played.append((own, lines[own].draws(1, 1.0, rng)[0]))
    last = 0.0
    for name, run in played:
        at, i = free[0]
        line, process = lines[name], slots[i].process
        if line.loads and process not in line.processes:
            at = max(at, loaded.setdefault((process, name), at + line.load(rng)))
        at += run
        if at > last:
            last = at
        heapq.heapreplace(free, (at, i))
    return (last if own else free[0][0]) + later


def _left(slot: Slot, lines: Mapping[str, _Line], rng: random.Random) -> float:
    """Seconds until the slot's job ends. One whose model was never measured goes on as long as it has, or any other."""
    line = lines.get(slot.line)
    if line is None:
        likely = statistics.median(one.mean for one in lines.values()) if lines else 0.0
        return _longer(max(slot.for_s, likely), rng, LINDY) - slot.for_s
    if slot.loading:
        return max(0.0, line.load(rng) - slot.for_s) + line.left(0.0, rng)
    return line.left(slot.for_s, rng)


def _longer(than_s: float, rng: random.Random, index: float = TAIL) -> float:
    """A duration of the tail: longer than this, by Pareto's law."""
    return than_s / math.pow(1 - rng.random(), 1 / index)


def _whole(count: float, rng: random.Random) -> int:
    """The count, its part of a job by chance."""
    return int(count) + (rng.random() < count % 1)


def _eta(seconds: list[float], until: Literal["start", "end"]) -> Eta:
    seconds.sort()
    low, likely, high = (seconds[round(share * (len(seconds) - 1))] for share in (LOW, 0.5, HIGH))
    return Eta(until=until, low=_told(low), likely=_told(likely), high=_told(high + TURN_S))


def _told(seconds: float) -> float:
    """Three digits: more would be a pretence."""
    return float(f"{round(seconds, 3):.3g}")
