"""Workers of both pools with the models of tests/models, kept up for a whole module: starting one costs seconds."""

import sys
import types
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tasks.broker import Broker
from tasks.bucket.storage import Storage
from tasks.ids import new_id
from tasks.job import Fixed, Job
from tasks.ledger import Ledger
from tasks.registry import Model
from tests.models import noop
from tests.stack import Process, RedisServer, S3Server, Stack, make_settings, make_storage, until

MODELS = Path(__file__).parent.parent / "models" / "models.toml"
ENDS_S = 60
"""A deadline for what takes a second on a quiet machine."""


@dataclass
class House:
    """The stack without its API: jobs are submitted through the ledger and looked at through the record."""

    stack: Stack
    ledger: Ledger
    broker: Broker
    storage: Storage
    workers: dict[str, Process]
    marks: dict[str, Path] = field(default_factory=dict)

    def submit(self, model: str, prompt: str, tenant: str = "acme", **limits) -> str:
        """`prompt` as the model in tests/models reads it; those that take their time also make a mark when they run."""
        mark = self.stack.folder / new_id("mark")
        takes_time = model.partition("-")[2] in ("sleep", "sleep-hasty", "rows", "deaf", "gil", "hog")
        prompt = f"{prompt} {mark}" if takes_time else prompt
        usual = {"queue_ttl_s": 600, "run_timeout_s": 60, "retention_s": 3600, "max_attempts": 3}
        fixed = Fixed(
            id=new_id("job"),
            tenant=tenant,
            kind="generate",
            model=model,
            pool=model[:3],
            input={"prompt": prompt},
            params={},
            **{**usual, **limits},
        )
        if self.ledger.submit(fixed).bell:
            self.broker.ring(fixed.queue)
        self.marks[fixed.id] = mark
        return fixed.id

    def job(self, job_id: str) -> Job:
        return Job.of_record(self.ledger.record(job_id))

    def claimed(self, job_id: str) -> None:
        """Wait until a slot holds it."""
        until(lambda: self.job(job_id).status == "running", ENDS_S, f"{job_id} is claimed")

    def started(self, job_id: str) -> int:
        """Wait until the model runs, for the first time; the id of the process that runs it."""
        until(self.marks[job_id].exists, ENDS_S, f"the model of {job_id} runs")
        return int(self.ledger.record(job_id)["slot"].split(":")[1])

    def ended(self, job_id: str) -> Job:
        until(lambda: self.job(job_id).done, ENDS_S, f"{job_id} has ended")
        return self.job(job_id)

    def ended_after_its_process(self, job_id: str) -> Job:
        """The job once it has ended; fails if the process that ran it was there for a moment longer."""
        pid = self.started(job_id)
        born = psutil.Process(pid).create_time()
        until(lambda: self.job(job_id).done, ENDS_S, f"{job_id} has ended")
        assert not is_there(pid, born), f"{job_id} has ended, but its process {pid} still runs"
        return self.job(job_id)


def celery_of(parent: int) -> psutil.Process:
    """The Celery process: the parent's child that has a session of its own (the other is Python's resource tracker)."""
    return next(child for child in psutil.Process(parent).children() if "spawn_main" in " ".join(child.cmdline()))


def is_there(pid: int, born: float) -> bool:
    """Whether the process that was born then still runs; one that only waits to be reaped does not."""
    try:
        process = psutil.Process(pid)
        return process.create_time() == born and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def house(redis_server: RedisServer, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Keeper, a cpu worker of two processes and a gpu worker of four threads."""
    folder = tmp_path_factory.mktemp("house")
    settings = make_settings(
        redis_server.for_a_stack(),
        s3_server,
        f"house-{uuid.uuid4().hex[:12]}",
        folder,
        models=MODELS,
        cpu_slots=2,
        gpu_slots=4,
        grace_s=2,
        retry_s=0.2,
        models_mb=200,
    )
    storage = make_storage(settings)
    stack = Stack(settings, folder)
    with stack.keeper(), stack.worker("cpu") as cpu, stack.worker("gpu") as gpu:
        yield House(stack, Ledger(settings), Broker(settings), storage, {"cpu": cpu, "gpu": gpu})


def counting(name: str, algorithm: str = "counting") -> Model:
    return Model(kind="generate", name=name, algorithm=f"test_loaded.{algorithm}")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A module `test_loaded.counting` whose model notes the device of each load."""
    noted: list[str] = []

    class Counting(noop.Model):
        @classmethod
        def load(cls, weights, device):
            noted.append(device)
            return cls()

    for name in ("test_loaded", "test_loaded.counting"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["test_loaded.counting"].Model = Counting
    return noted


@pytest.fixture(params=["cpu", "gpu"])
def pool(request: pytest.FixtureRequest) -> str:
    """Every test that asks for it runs on both pools."""
    return request.param
