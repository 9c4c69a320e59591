"""Tells a difference from noise by the ratios of pairs of runs. It knows no measurement."""

import math
import statistics
from dataclasses import dataclass

from scipy.stats import t

CERTAINTY = 0.99
"""Of an interval; high, since a table has a dozen of them and one in twenty would be wrong otherwise."""


@dataclass(frozen=True)
class Ratio:
    """New / old, as the geometric mean over pairs, and its interval by Student's t on the logarithms."""

    middle: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether the difference is beyond the noise: the interval leaves out 1."""
        return self.low > 1 or self.high < 1


def ratio(old: list[float], new: list[float]) -> Ratio | None:
    """Of runs in pairs, at least two; None where one of them is not above zero."""
    if min(*old, *new) <= 0:
        return None
    logs = [math.log(after / before) for before, after in zip(old, new, strict=True)]
    middle = statistics.fmean(logs)
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    reach = float(t.ppf((1 + CERTAINTY) / 2, len(logs) - 1)) * error
    return Ratio(math.exp(middle), math.exp(middle - reach), math.exp(middle + reach))
