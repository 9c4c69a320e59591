"""The machine's load beside the benchmark: CPU time of all processes that are not ours, kernel threads included."""

import contextlib
import time
from collections.abc import Callable

import click
import psutil

MOST_OTHERS = 0.1
"""Cores that something else may take before a measurement."""
LOOK_S = 1.0
LOOKS = 10
"""Looks before the bench gives up: the kernel writes a measurement's files for some seconds after its end."""
NAMED = 4
"""Processes named at most."""
NAMED_FROM = 0.02
"""Cores from which a process is named."""


class Watch:
    """Cores that something else has taken since it was made. Children of ours count as ours once they have ended."""

    def __init__(self) -> None:
        self._start, self._others_s = time.monotonic(), _others_s()

    def cores(self) -> float:
        return max(0.0, _others_s() - self._others_s) / (time.monotonic() - self._start)


def require(say: Callable[[str], None], anyway: bool) -> bool:
    """Whether the machine is quiet. Errors: ClickException where it is not and nobody said `anyway`."""
    for _ in range(LOOKS):
        before = _by_process()
        watch = Watch()
        time.sleep(LOOK_S)
        others = watch.cores()
        if others <= MOST_OTHERS:
            say(f"load: something else takes {others:.2f} of a core")
            return True
        if anyway:
            break
    told = f"something else takes {others:.2f} cores ({_named(before)})"
    if not anyway:
        raise click.ClickException(f"{told}; end it, or go on with --anyway, which marks the report")
    say(f"load: {told}: the figures mean little")
    return False


def _others_s() -> float:
    """CPU seconds so far of all but this process and its children that have ended."""
    every, ours = psutil.cpu_times(), psutil.Process().cpu_times()
    busy = every.user + every.system + sum(getattr(every, name, 0.0) for name in ("nice", "irq", "softirq"))
    return busy - ours.user - ours.system - ours.children_user - ours.children_system


def _by_process() -> dict[psutil.Process, float]:
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            spent = process.cpu_times()
            found[process] = spent.user + spent.system
    return found


def _named(before: dict[psutil.Process, float]) -> str:
    """The busiest since `before`, about a look ago."""
    used = [(spent - before.get(process, 0.0), process) for process, spent in _by_process().items()]
    return ", ".join(
        f"{process.name()} {process.pid}: {seconds / LOOK_S:.2f}"
        for seconds, process in sorted(used, key=lambda item: -item[0])[:NAMED]
        if seconds >= NAMED_FROM * LOOK_S and process != psutil.Process()
    )
