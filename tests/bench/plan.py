"""How much is asked of a measurement, and where it tells its progress. It knows no measurement."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """Each measurement is given one: `measure(plan) -> list[Figure]`."""

    pairs: int
    """Runs of each side, in turns."""
    quick: bool
    """Small numbers, which prove that the measurement runs and judge nothing."""
    waiting: int
    """Jobs waiting at most, where a measurement fills Redis step by step."""
    say: Callable[[str], None]
    out: Path
    """Where pictures go, beside the results."""

    def size(self, full: int, quick: int) -> int:
        """`full`, or `quick` in the quick form."""
        return quick if self.quick else full
