"""Measures how much of this machine is idle, so that work that can wait leaves its cores to work that cannot.

It knows the clocks of the machine and of this process, and nothing of what the idle time is used for.
"""

import time

import psutil


class Idle:
    """The cores that nobody has used since the last look, apart from this process. For one thread."""

    def __init__(self) -> None:
        self._before = _clocks()

    def cores(self) -> float:
        """Idle cores since the last look; what this process has used counts as idle. 0 where no time has passed."""
        before, self._before = self._before, _clocks()
        passed_s, spare_s = (now - then for now, then in zip(self._before, before, strict=True))
        return max(0.0, spare_s / passed_s) if passed_s > 0 else 0.0


def _clocks() -> tuple[float, float]:
    """Seconds of this machine's clock, and of its cores' idle time and this process's CPU time together."""
    cpus = psutil.cpu_times()
    return time.monotonic(), cpus.idle + getattr(cpus, "iowait", 0.0) + time.process_time()
