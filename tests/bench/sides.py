"""The two sides that are compared, each with servers and data of its own: Backlot as it is shipped, and the naive app.

Both have the same verbs, so that a measurement is written once:

    with Backlot() as side:
        side.start_worker(slots=2)
        job = side.submit()
"""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from deploy.local.programs import programs
from deploy.local.state import Ports
from deploy.local.state import Stack as LocalStack
from tasks.ledger import keys
from tasks.pools import DEFAULT
from tasks.request import parse
from tasks.service.jobs import Jobs
from tasks.settings import Settings
from tests.bench.naive import queue_at
from tests.bench.work import BODY, INPUT, fill, fixed
from tests.stack import ROOT, Process, RedisServer, S3Server, environment, free_port, make_settings, make_storage, until

KEY, TENANT = "bl_a-key-for-the-benchmark", "bench"
WARM_UP_JOBS = 20


class Side(ABC):
    """One way to run jobs. `start_*` return once the process is ready; leaving the `with` ends all processes."""

    name: str

    def __enter__(self) -> "Side":
        self._stack = contextlib.ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="backlot-bench-")))
        self._processes: list[Process] = []
        self.redis = self._ended_with_us(RedisServer(self.folder))
        self._prepare()
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    @abstractmethod
    def _prepare(self) -> None: ...

    @abstractmethod
    def start_worker(self, slots: int) -> Process:
        """A worker of processes (prefork), warm: it has run jobs."""

    @abstractmethod
    def fill(self, count: int) -> None:
        """That many no-op jobs, from this process, as fast as this side can take them in."""

    @abstractmethod
    def ended(self) -> int:
        """How many jobs have ended so far, warm-up included."""

    def held(self, worker: Process) -> contextlib.AbstractContextManager[list[float]]:
        """The worker takes nothing inside; gives the moment from which it does again."""
        return stopped(worker)

    def run_process(self, name: str, argv: list[str], env: dict[str, str]) -> Process:
        return self._ended_with_us(Process(name, argv, self.folder, env))

    def warm_up(self, **fill) -> None:
        before = self.ended()
        self.fill(WARM_UP_JOBS, **fill)
        until(lambda: self.ended() >= before + WARM_UP_JOBS, 120, "the worker has run its first jobs")

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far of each server and its children that are alive, by name."""
        return {process.name: sum(map(cpu_s, family(process))) for process in self._processes if process.alive}

    def _ended_with_us(self, process: Process) -> Process:
        self._processes.append(process)
        self._stack.callback(process.stop)
        return process


class Service(Side):
    """A side with an API, whose jobs can be followed one by one."""

    headers: dict[str, str] = {}

    @abstractmethod
    def start_api(self) -> Process:
        """Two processes; Backlot as it ships, the naive app on gunicorn; `.port` is where it answers."""

    @abstractmethod
    def submit(self) -> str:
        """One job, from this process; its id."""

    @abstractmethod
    def started_ns(self, job: str) -> int | None:
        """When the job's code started; None while it has not ended."""

    def run_api(self, command: Callable[[int], list[str]], env: dict[str, str]) -> Process:
        """What `command` makes of a free port."""
        port = free_port()
        process = self.run_process("api", command(port), env)
        process.port = port
        process.until_up(lambda: httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code > 0, 60)
        until(lambda: len(serving(process)) >= 2, 30, "both processes of the API")
        return process

    def load(self, api: Process, count: int, connections: int) -> dict[str, float]:
        """POST from a process of its own."""
        return load(api, self.headers, count, connections)


class Backlot(Service):
    """Redis, S3, keeper, API and a cpu worker: all that `make up` starts but the gpu pool."""

    name = "backlot"
    headers = {"Authorization": f"Bearer {KEY}"}
    models = Path(__file__).with_name("models.toml")
    pools = DEFAULT

    def _prepare(self) -> None:
        s3 = self._ended_with_us(S3Server(self.folder))
        self.settings = make_settings(self.redis.url(), s3, "bench", self.folder, models=self.models, pools=self.pools)
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        self.settings.keys_file.write_text(json.dumps({"keys": [{"sha256": digest, "tenant": TENANT}]}))
        self.storage = make_storage(self.settings)
        self.keeper = self.run_process("keeper", [sys.executable, "-m", "worker", "keeper"], self._env())
        client = self.redis.client()
        self.keeper.until_up(lambda: client.get(keys.EPOCH) == client.info("server")["run_id"], 60)
        self.jobs = Jobs.of(self.settings)
        self._probe = parse(json.dumps({**json.loads(BODY), "model": "cpu-probe"}))

    def add_tenant(self, key: str, tenant: str) -> None:
        """Another caller, whose key the API finds at its next look."""
        kept = json.loads(self.settings.keys_file.read_text())
        kept["keys"].append({"sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": tenant})
        self.settings.keys_file.write_text(json.dumps(kept))

    def start_api(self) -> Process:
        process = self.run_api(shipped, self._env())
        until(lambda: process.log().count("Started worker-") == 2, 30, "both listen: connections made before go to one")
        return process

    def start_api_on_gunicorn(self) -> Process:
        """Flask without the bridge, as the naive app runs."""
        return self.run_api(lambda port: gunicorn("api:create_app()", port), self._env())

    def start_worker(self, slots: int, pool: str = "cpu") -> Process:
        env = self._env(**({"cpu_slots": slots} if pool == "cpu" else {}))
        process = self.run_process(f"worker-{pool}", [sys.executable, "-m", "worker", pool], env)
        self.warm_up(pool=pool)
        return process

    def submit(self) -> str:
        return self.jobs.submit(TENANT, self._probe).job.id

    def started_ns(self, job: str) -> int | None:
        record = self.jobs.ledger.record(job)
        assert record["status"] not in ("failed", "canceled", "expired"), record
        return int(json.loads(record["result"])["text"]) if record["status"] == "succeeded" else None

    def fill(self, count: int, pool: str = "cpu") -> None:
        """Lists of submits; then the bells that the last of them would have rung."""
        fill(self.jobs.ledger, count, pool)
        self.jobs.broker.ring(fixed(0, pool).queue, times=min(count, self.settings.bells))

    def ended(self) -> int:
        return self.jobs.ledger.redis.zcard(keys.RETAINED)

    def succeeded(self) -> int:
        """How many of the records say so."""
        client = self.jobs.ledger.redis
        ids = client.zrange(keys.RETAINED, 0, -1)
        with client.pipeline(transaction=False) as pipeline:
            for job in ids:
                pipeline.hget(keys.job(job), "status")
            return pipeline.execute().count("succeeded")

    def recorded(self) -> bool:
        """Whether the keeper has written the journal's last entry. Segments are no measure: they are compacted."""
        client = self.jobs.ledger.redis
        return client.get(keys.WRITTEN) == client.xinfo_stream(keys.JOURNAL)["last-generated-id"]

    def records(self) -> int:
        """How many jobs have their job.json in the bucket."""
        return sum(found.key.endswith("/job.json") for found in self.storage.list("tenants/"))

    def left_in_redis(self) -> int:
        """Entries of the journal that have yet to be trimmed."""
        return self.jobs.ledger.redis.xlen(keys.JOURNAL)

    def environment(self) -> dict[str, str]:
        """Variables of a process that is not the side's own, with which it finds this side's servers."""
        return {**os.environ, **self._env()}

    def keeper_metrics(self) -> str:
        """The text of the keeper's /metrics."""
        port = until(lambda: re.search(r"on port (\d+)", self.keeper.log()), 20, "the keeper says its port")[1]
        return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text

    def _env(self, **settings) -> dict[str, str]:
        return environment(self.settings.model_copy(update=settings))


class Naive(Service):
    """naive.py: an API and a Celery worker on Redis."""

    name = "naive"

    def _prepare(self) -> None:
        url = self.redis.url().removesuffix("/0")
        self._env = {"NAIVE_REDIS_URL": url}
        self._app = queue_at(url)
        self._stack.callback(self._app.close)
        self._results = self.redis.client(1)

    def start_api(self) -> Process:
        return self.run_api(lambda port: gunicorn("tests.bench.naive:app", port), self._env)

    def start_worker(self, slots: int) -> Process:
        process = self.run_process(
            "worker-cpu",
            [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "tests.bench.naive:queue",
                "worker",
                "--pool",
                "prefork",
                "--concurrency",
                str(slots),
            ],
            self._env,
        )
        self.warm_up()
        return process

    def submit(self) -> str:
        return self._send().id

    def started_ns(self, job: str) -> int | None:
        told = self._results.get(f"celery-task-meta-{job}")
        return int(json.loads(told)["result"]) if told else None

    def fill(self, count: int) -> None:
        for _ in range(count):
            self._send()

    def ended(self) -> int:
        return self._results.dbsize()

    def _send(self):
        return self._app.tasks["noop"].apply_async(args=[INPUT["prompt"]])


def shipped(port: int) -> list[str]:
    """The command of the local stack."""
    listed = programs(LocalStack(ports=Ports(api=port)), Settings())
    return next(program.command for program in listed if program.name == "api")


def gunicorn(app: str, port: int) -> list[str]:
    """Two processes of 16 threads, each with a listener of its own."""
    return [
        sys.executable,
        "-m",
        "gunicorn",
        "--bind",
        f"127.0.0.1:{port}",
        "--reuse-port",
        "--workers",
        "2",
        "--worker-class",
        "gthread",
        "--threads",
        "16",
        "--no-control-socket",
        app,
    ]


def load(api: Process, headers: dict[str, str], count: int, connections: int) -> dict[str, float]:
    """POST from a process of its own to `api.port`; `least_share` is how much of the work the idler process had."""
    asked = {"host": "127.0.0.1", "port": api.port, "path": "/v1/jobs", "headers": headers, "body": BODY}
    before = {child.pid: cpu_s(child) for child in serving(api)}
    told = subprocess.run(
        [sys.executable, "-m", "tests.bench.load", str(count), str(connections)],
        check=False,
        cwd=ROOT,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
    )
    if told.returncode:
        raise RuntimeError(f"the load generator failed:\n{told.stderr[-2000:]}\n{api.log()[-2000:]}")
    used = [cpu_s(child) - before[child.pid] for child in serving(api)]
    return {**json.loads(told.stdout), "least_share": min(used) / sum(used)}


def serving(api: Process) -> list[psutil.Process]:
    """The processes of an API that answer, in the order of their ids."""
    return sorted(
        (
            child
            for child in psutil.Process(api.pid).children()
            if not any("resource_tracker" in word for word in child.cmdline())
        ),
        key=lambda child: child.pid,
    )


def family(process: Process) -> list[psutil.Process]:
    """The process and all below it, parents first."""
    top = psutil.Process(process.pid)
    return [top, *top.children(recursive=True)]


@contextlib.contextmanager
def stopped(process: Process):
    """All processes of a worker are stopped (SIGSTOP) inside, and go on after; gives the moment they do."""
    members = family(process)
    for member in members:
        member.send_signal(signal.SIGSTOP)
    moment: list[float] = []
    try:
        yield moment
    finally:
        moment.append(time.perf_counter())
        for member in members:
            member.send_signal(signal.SIGCONT)


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of one process so far."""
    spent = process.cpu_times()
    return spent.user + spent.system
