"""From nothing to a first result, by parts: a worker is started while a job waits for it.

Each part lies between two times that the worker's own processes wrote: into their log, or into the job's record.
"""

import re
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from api import create_app
from api.client import Client
from deploy.local.samples import SAMPLES
from tasks.job import Job
from tests.bench.figures import Figure, Target
from tests.bench.plan import Plan
from tests.bench.sides import KEY, Backlot, cpu_s, family
from tests.stack import Process, until

ENDS_S = 120
NUMBERS = count()
STAMP = r"^(\S+ \S+) \w+ \S+ "
LOADED = re.compile(STAMP + r"loaded (\S+) in ([\d.]+) s \(imports ([\d.]+) s\)", re.MULTILINE)
RECOMMEND, GENERATE = ({sample.kind: sample for sample in SAMPLES}[kind] for kind in ("recommend", "generate"))


@dataclass(frozen=True)
class Case:
    """A worker's pool, and the job that waits for it."""

    name: str
    pool: str
    kind: str
    model: str
    target_s: float


CASES = (
    Case("cpu pool without torch (recommend)", "cpu", "recommend", "hybrid", 2),
    Case("cpu pool with torch (generate)", "cpu", "generate", "on-cpu", 5),
    Case("gpu pool, on CPU threads (generate)", "gpu", "generate", "on-gpu", 5),
)
PARTS = {
    "parent_s": "start of Python, imports of the parent",
    "process_s": "the process that runs jobs: spawn, imports, fork, connections",
    "claim_s": "Celery takes the bell; claim",
    "fetch_s": "fetch",
    "imports_s": "load: imports",
    "weights_s": "load: the rest, weights",
    "run_s": "run, with what only a first run needs",
    "end_s": "upload, commit, and what lies between the phases",
}


class Cold(Backlot):
    """Backlot with a client in place of an API process; `warm` is a pool of threads whose one model is preloaded."""

    models = Path(__file__).with_name("cold.toml")
    pools = {"cpu": "cpu", "gpu": "gpu", "warm": "gpu"}

    def _prepare(self) -> None:
        super()._prepare()
        self.client = Client("http://bench", KEY, transport=httpx.WSGITransport(create_app(self.settings)))

    def start(self, pool: str) -> Process:
        """A worker that has yet to start."""
        return self.run_process(f"{pool}-{next(NUMBERS)}", [sys.executable, "-m", "worker", pool], self._env())

    def send(self, kind: str, model: str) -> str:
        """Submit the kind's sample; its job's id."""
        sample = {"recommend": RECOMMEND, "generate": GENERATE}[kind]
        return self.client.submit(kind, sample.inputs, model=model, params=sample.params)["id"]

    def ended(self, job_id: str) -> Job:  # type: ignore[override]
        """The job, once it has succeeded."""

        def done() -> Job | None:
            job = Job.of_record(self.jobs.ledger.record(job_id))
            return job if job.done else None

        job: Job = until(done, ENDS_S, "the job has ended")
        assert job.status == "succeeded", job.error
        return job


def measure(plan: Plan) -> list[Figure]:
    """So many starts of each case, and of a worker that preloads."""
    starts = plan.size(full=5, quick=1)
    plan.say(f"cold: {starts} starts of a worker a case, its files in the page cache")
    figures = []
    with Cold() as side:
        for case in CASES:
            figures += _figures(case, [_start(side, case) for _ in range(starts)])
        warm = [_warm(side) for _ in range(starts)]
    figures.append(Figure("gpu pool, preloaded before the job: submit to result", "s", warm))
    for figure in figures:
        plan.say(f"  {figure.name}: {', '.join(f'{value:.3g}' for value in figure.backlot)} {figure.unit}")
    return figures


def _figures(case: Case, runs: list[dict[str, float]]) -> list[Figure]:
    def of(key: str) -> list[float]:
        return [run[key] for run in runs]

    return [
        Figure(f"first result, {case.name}", "s", of("all_s"), target=Target(case.target_s, of_ratio=False)),
        *(Figure(f"- {words}", "s", of(key)) for key, words in PARTS.items()),
        Figure("- CPU of all its processes until then", "s", of("cpu_s")),
        Figure("- a second job like it, submit to result", "s", of("second_s")),
    ]


def _start(side: Cold, case: Case) -> dict[str, float]:
    job_id, begun = side.send(case.kind, case.model), time.time()
    worker = side.start(case.pool)
    job = side.ended(job_id)
    spent = sum(map(cpu_s, family(worker)))
    second = _submit_to_result(side, case.kind, case.model)
    worker.stop()
    return {**_parts(worker.log(), job, begun), "cpu_s": spent, "second_s": second}


def _warm(side: Cold) -> float:
    worker = side.start("warm")
    until(lambda: LOADED.search(worker.log()), ENDS_S, "the model is preloaded")
    took = _submit_to_result(side, "generate", "preloaded")
    worker.stop()
    return took


def _submit_to_result(side: Cold, kind: str, model: str) -> float:
    begun = time.time()
    return _seconds(side.ended(side.send(kind, model)).completed_at) - begun


def _parts(log: str, job: Job, begun: float) -> dict[str, float]:
    """Seconds of each part; together they are `all_s`."""
    parent, process = (_logged(log, words) for words in (r"worker \S+: ", "process .* is up"))
    _, _, loading, imports = LOADED.search(log).groups()  # type: ignore[union-attr]
    claimed, ended = _seconds(job.attempts[0].started_at), _seconds(job.completed_at)
    metrics = job.metrics
    parts = {
        "parent_s": parent - begun,
        "process_s": process - parent,
        "claim_s": claimed - process,
        "fetch_s": metrics.fetch_s or 0,
        "imports_s": float(imports),
        "weights_s": float(loading) - float(imports),
        "run_s": metrics.run_s or 0,
    }
    return {**parts, "end_s": ended - begun - sum(parts.values()), "all_s": ended - begun}


def _logged(log: str, words: str) -> float:
    """When the first line of the log with these words was written, seconds since 1970."""
    found = re.search(STAMP + words, log, re.MULTILINE)
    assert found, log[-3000:]
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f").timestamp()


def _seconds(moment: Any) -> float:
    return moment.timestamp()
