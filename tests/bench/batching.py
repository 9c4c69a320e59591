"""Jobs of one model through the whole system, beside the same model called offline in batches by one process.

Redis, S3, the keeper and a worker of the gpu sort are up and warm; all requests are submitted through the service
while the worker's processes are stopped (SIGSTOP); the clock runs from the moment they go on until the last job has
ended. Offline and whole take turns, with as many torch threads each; a core is left to the servers, as a GPU leaves it.
"""

import json
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

from tasks.job import Job
from tasks.ledger import keys
from tasks.request import parse
from tasks.service.intake import File
from tasks.service.jobs import Jobs
from tests.bench import batching_offline as offline
from tests.bench import timeline
from tests.bench.batching_models import Asked, Subject, subjects
from tests.bench.figures import Figure, Target
from tests.bench.plan import Plan
from tests.bench.sides import cpu_s, family, stopped
from tests.stack import Process, RedisServer, S3Server, Stack, make_settings, make_storage, until

TENANT = "bench"
ENDS_S = 1200
REST_S = 1.5
"""After which an idle slot has gone back to Celery."""
AT_ONCE_S = 0.02
TARGET = Target(0.9, at_least=True)


def measure(plan: Plan) -> list[Figure]:
    """A line a model, and batching.png: the last run of each, job by job."""
    plan.say("batching: each model through the whole system, and offline")
    found, shown = [], {}
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) - 1))}
    with (
        mock.patch.dict(os.environ, threads),
        tempfile.TemporaryDirectory(prefix="backlot-bench-") as folder,
        ExitStack() as stack,
    ):
        measured = subjects(Path(folder) / "made", plan)
        models = Path(folder) / "models.toml"
        models.write_text("\n".join(subject.table() for subject in measured))
        system = _System(Path(folder), models, 2 * max(subject.batch for subject in measured), stack)
        process = stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
        for subject in measured:
            asked = list(subject.requests(Path(folder) / "made"))
            process.submit(offline.rates, models, asked[: subject.batch], subject.batch).result()  # loads the model
            system.run(asked[: subject.batch])
            rates: dict[str, list[float]] = {"whole": [], "offline": []}
            for pair in range(plan.pairs):
                alone = process.submit(offline.rates, models, asked, subject.batch).result()
                whole, shown[subject] = system.run(asked)
                rates["offline"].append(alone[0])
                rates["whole"].append(whole[0])
                plan.say(
                    f"  {pair + 1}/{plan.pairs} {subject.name}: offline {alone[0]:.3g}/s, {alone[1]:.3g} ms CPU each; "
                    f"whole {whole[0]:.3g}/s, {whole[1]:.3g} ms of the worker, "
                    f"{_together(shown[subject]):.3g} in a batch"
                )
            found.append(_figure(subject, rates))
    timeline.draw(plan.out / "batching.png", {subject.name: jobs for subject, jobs in shown.items()})
    return found


def _together(jobs: Sequence[Job]) -> float:
    """Jobs in a batch, on average: those that begin to run at once, as far as the worker's clocks can tell."""
    begun = sorted(timeline.times(job)[timeline.RUNNING] for job in jobs)
    return len(jobs) / (1 + sum(later - earlier > AT_ONCE_S for earlier, later in pairwise(begun)))


def _figure(subject: Subject, rates: dict[str, list[float]]) -> Figure:
    name = f"{subject.kind} by {subject.name}, {subject.jobs} jobs, batch {subject.batch}; offline in the column naive"
    return Figure(name, "1/s", rates["whole"], rates["offline"], TARGET)


class _System:
    """The stack without its API, and one worker of `slots` threads."""

    def __init__(self, folder: Path, models: Path, slots: int, stack: ExitStack) -> None:
        redis, s3 = RedisServer(folder), S3Server(folder)
        for server in (redis, s3):
            stack.callback(server.stop)
        settings = make_settings(redis.url(), s3, "bench", folder, models=models, gpu_slots=slots, bells=slots)
        make_storage(settings)
        started = Stack(settings, folder)
        stack.enter_context(started.keeper())
        self.worker: Process = stack.enter_context(started.worker("gpu"))
        self.jobs = Jobs.of(settings)

    def run(self, asked: Sequence[Asked]) -> tuple[tuple[float, float], list[Job]]:
        """Jobs a second and CPU milliseconds that the worker takes for one, and the jobs as they ended."""
        time.sleep(REST_S)
        before = self._ended()
        with stopped(self.worker) as went_on:
            ids = [self._submit(one) for one in asked]
            spent = self._cpu_s()
        until(lambda: self._ended() >= before + len(ids), ENDS_S, f"{len(ids)} jobs have ended")
        rate = len(ids) / (time.perf_counter() - went_on[0])
        cpu_ms = 1e3 * (self._cpu_s() - spent) / len(ids)
        jobs = [self.jobs.get(TENANT, job) for job in ids]
        assert all(job.status == "succeeded" for job in jobs), [job.error for job in jobs if job.error][:3]
        return (rate, cpu_ms), jobs

    def _submit(self, asked: Asked) -> str:
        """Through the service, as the API does; a file goes to the bucket first."""
        body: dict[str, Any] = {"kind": asked.kind, "model": asked.model, "input": asked.inputs, "params": asked.params}
        if asked.file is None:
            return self.jobs.submit(TENANT, parse(json.dumps(body))).job.id
        with asked.file.open("rb") as stream:
            file = File.of(asked.file.name, stream)
            body["input"] = {offline.FILE[asked.kind]: file.source}
            return self.jobs.submit(TENANT, parse(json.dumps(body)), files={file.upload_id: file}).job.id

    def _cpu_s(self) -> float:
        return sum(map(cpu_s, family(self.worker)))

    def _ended(self) -> int:
        return self.jobs.ledger.redis.zcard(keys.RETAINED)
