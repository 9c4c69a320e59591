"""Draws jobs over time: each a line, with its phases as its worker measured them.

It knows jobs as a caller sees them, and nothing of how they were run.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from tasks.job import Job

PHASES = {
    "fetch_s": ("fetching", "tab:blue"),
    "load_s": ("loading", "tab:purple"),
    "batch_s": ("waiting for the model", "lightgrey"),
    "run_s": ("running", "tab:green"),
    "upload_s": ("uploading", "tab:orange"),
}
"""Metric of each phase, in the order in which a job has them, with its name and colour."""
RUNNING = list(PHASES).index("run_s")
ENDS = ("committing", "tab:red")
"""What is left until the record's end."""


def draw(path: Path, runs: Mapping[str, Sequence[Job]]) -> None:
    """A PNG with a panel a run: the jobs on as many lines as were at work at once."""
    figure = Figure(figsize=(14, 4 * len(runs)), layout="constrained")
    for axes, (name, jobs) in zip(figure.subplots(len(runs), squeeze=False)[:, 0], runs.items(), strict=True):
        spans = sorted((times(job) for job in jobs), key=lambda times: times[0])
        lines = _lines(spans)
        first = spans[0][0]
        for number, (words, colour) in enumerate([*PHASES.values(), ENDS]):
            begun = [times[number] - first for times in spans]
            took = [times[number + 1] - times[number] for times in spans]
            axes.barh(lines, took, left=begun, height=1.0, color=colour, label=words)
        axes.set(title=f"{name}: {len(jobs)} jobs", xlabel="seconds", ylabel="slot")
        axes.legend(loc="upper right", ncols=len(PHASES) + 1)
    figure.savefig(path, dpi=100)


def times(job: Job) -> list[float]:
    """Seconds since 1970 at which the job's phases began, and its end."""
    attempt = job.attempts[-1]
    assert attempt.ended_at
    times = [attempt.started_at.timestamp()]
    for metric in PHASES:
        times.append(times[-1] + (getattr(job.metrics, metric) or 0.0))
    return [*times, max(times[-1], attempt.ended_at.timestamp())]


def _lines(spans: Sequence[Sequence[float]]) -> list[int]:
    """A line for each job, free when it starts."""
    free: list[float] = []
    lines = []
    for times in spans:
        line = next((n for n, until in enumerate(free) if until <= times[0]), len(free))
        free[line : line + 1] = [times[-1]]
        lines.append(line)
    return lines
