"""A whole deployment on this machine, for faults to strike: Redis and an S3 server behind gates, API, keeper, workers.

Who would supervise the processes in production starts them again; here that is `mend()`.
"""

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import redis
from pydantic import SecretStr

from api import keyfile
from tasks.bucket.layout import job_prefix
from tasks.bucket.storage import Storage
from tasks.ledger import Ledger, keys
from tasks.settings import Settings
from tests.faults.accounts import Books
from tests.faults.gate import Gate
from tests.faults.receiver import Receiver, receiving
from tests.stack import Process, RedisServer, S3Server, Stack, make_settings, make_storage, until
from tests.worker.conftest import celery_of

MODELS = Path(__file__).parent.parent / "models" / "models.toml", Path(__file__).parent / "models.toml"
FAST = {"lease_s": 3, "retry_s": 0.2, "max_retry_s": 2, "grace_s": 4, "watchdog_s": 3}
"""Shorter than the defaults, so that hundreds of faults fit an hour; RESULTS.md says so."""


class Place:
    """`books` are those of a caller of the tenant acme. Processes reach Redis and S3 by the gates; the suite does not.

    workers   those that run, by a name such as 'cpu-1'
    revision  that 10f upgrades from; '': the one before the ledger's scripts last changed
    """

    def __init__(self, folder: Path, stack: contextlib.ExitStack, **settings) -> None:
        self.folder, self._stack, self.revision = folder, stack, ""
        self.redis, self.s3 = RedisServer(folder), S3Server(folder)
        stack.callback(self.s3.stop)
        stack.callback(self.redis.stop)
        self.redis_gate: Gate = stack.enter_context(Gate(self.redis.port))
        self.s3_gate: Gate = stack.enter_context(Gate(self.s3.port))
        models = folder / "models.toml"
        models.write_text("\n".join(part.read_text() for part in MODELS))
        inside = make_settings(
            self.redis.url(),
            self.s3,
            f"faults-{uuid.uuid4().hex[:8]}",
            folder,
            models=models,
            cpu_slots=2,
            gpu_slots=4,
            models_mb=1000,
            **{**FAST, **settings},
        )
        self.storage: Storage = make_storage(inside)
        self.ledger = Ledger(inside)
        self.settings: Settings = inside.model_copy(
            update={
                "redis_url": SecretStr(self.redis.url(port=self.redis_gate.port)),
                "s3_endpoint_url": f"http://127.0.0.1:{self.s3_gate.port}",
                "s3_public_endpoint_url": self.s3.url,
            }
        )
        self.key = keyfile.add(self.settings.keys_file, "acme")
        self.stack = Stack(self.settings, folder)
        self.processes: dict[str, Process] = {}
        self._started = 0
        self.start("keeper", self.stack.keeper())
        self.api = self.start("api", self.stack.api())
        self.books = Books(self.api.url, self.key)
        made = self.books.insist("POST", "/v1/webhooks/secret").json()
        self.receiver: Receiver = stack.enter_context(receiving(made["data"][0]["secret"]))

    def start(self, name: str, starting) -> Process:
        process = self.processes[name] = self._stack.enter_context(starting)
        return process

    def add_worker(self, pool: str, **settings) -> str:
        """One more worker of the pool; its name."""
        self._started += 1
        name = f"{pool}-{self._started}"
        self.start(name, self.stack.worker(pool, **settings))
        return name

    def workers(self, pool: str) -> list[str]:
        return [name for name, process in self.processes.items() if name.startswith(pool + "-") and process.alive]

    def new_books(self, tenant: str = "acme") -> Books:
        """A fresh account; of another tenant with a key of its own."""
        key = self.key if tenant == "acme" else keyfile.add(self.settings.keys_file, tenant)
        books = Books(self.api.url, key)
        until(lambda: books.once("GET", "/v1/jobs")[1] not in (401, 403), 20, "the API has seen the new key")
        return books

    @contextlib.contextmanager
    def otherwise(self, **how: Any) -> Iterator[None]:
        """What starts meanwhile gets that `env` beside, or runs the code of the tree `root`."""
        usual, folder = self.stack, self.folder / f"otherwise-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        self.stack = Stack(self.settings, folder, **how)
        try:
            yield
        finally:
            self.stack = usual

    # -- what to strike at

    def running(self, job_id: str) -> dict:
        """The record once the job runs."""

        def record() -> dict | None:
            seen = self.ledger.redis.hgetall(keys.job(job_id))
            return seen if seen.get("phase") == "running" and "token" in seen else None

        return until(record, 60, f"{job_id} runs")

    def celery(self, name: str) -> psutil.Process:
        """Celery's main process of a worker, once it has one: on the gpu pool the one that runs the models."""

        def process() -> psutil.Process | None:
            with contextlib.suppress(StopIteration, psutil.Error):  # it is being replaced just now
                return celery_of(self.processes[name].pid)

        return until(process, 60, f"{name} has its Celery process")

    def children(self, name: str) -> list[psutil.Process]:
        """The prefork children of a cpu worker."""
        with contextlib.suppress(psutil.Error):
            return self.celery(name).children()
        return []

    def held(self, pid: int | None = None, name: str | None = None) -> list[str]:
        """Jobs whose attempt runs in that process, or anywhere in that worker."""
        parent = None if pid else psutil.Process(self.processes[name].pid)
        family = {child.pid for child in parent.children(recursive=True)} if parent else {pid}
        found, client = [], self.ledger.redis
        for lease in ("cpu", "gpu"):
            for job_id in client.zrange(keys.leases(lease), 0, -1):
                slot = client.hget(keys.job(job_id), "slot") or ":0:0:0"
                if int(slot.split(":")[1]) in family and client.hexists(keys.job(job_id), "token"):
                    found.append(job_id)
        return found

    # -- how to strike

    def kill(self, pid: int, what: str, held: list[str] | None = None) -> list[str]:
        """SIGKILL; the jobs that ran there."""
        hit = self.held(pid=pid) if held is None else held
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.books.struck(what, [one for one in hit if one in self.books.entries])
        return hit

    def kill_shared(self, name: str, what: str) -> list[str]:
        """SIGKILL to what runs a gpu worker's models; the jobs that ran there. None, and nothing happens, where a
        suspect runs there alone: by the ledger's rule it would be guilty of the second such end, failed for good."""
        process = self.celery(name)
        with contextlib.suppress(psutil.Error):
            process.suspend()  # it claims nothing meanwhile
        hit = self.held(name=name)
        if any(self.ledger.redis.hexists(keys.job(one), "suspect") for one in hit):
            with contextlib.suppress(psutil.Error):
                process.resume()
            return []
        return self.kill(process.pid, what, hit)

    def kill_worker(self, name: str, what: str) -> list[str]:
        """The parent alone; the rest of its family must follow by itself."""
        hit = self.held(name=name)
        self.processes[name].kill()
        self.books.struck(what, [one for one in hit if one in self.books.entries])
        return hit

    def mend(self) -> None:
        """Start again what is dead, as a supervisor would, and wait until the API answers."""
        for process in self.processes.values():
            if not process.alive:
                process.start()
        for server in (self.redis, self.s3):
            if not server.alive:
                server.start()
        until(lambda: self.books.once("GET", "/readyz")[1] == 200, 90, "/readyz says ready")

    def stop_process(self, name: str) -> None:
        """For good: SIGTERM, and no longer mended."""
        self.processes.pop(name).stop(grace_s=60)

    # -- what the bucket says

    def committed(self, job_id: str) -> set[str]:
        """The folders of a job's attempts that hold objects."""
        prefix = job_prefix("acme", job_id)
        rests = [seen.key.removeprefix(prefix) for seen in self.storage.list(prefix)]
        return {rest.partition("/")[0] for rest in rests if "/" in rest and not rest.startswith("checkpoints/")}

    def sweep_trash(self) -> None:
        """Have the keeper empty the trash now, not in a minute: what lies there may be deleted from this moment on."""
        client = self.redis.client()

        def empty() -> bool:
            for prefix in client.zrange(keys.TRASH, 0, -1):
                client.zadd(keys.TRASH, {prefix: time.time() * 1000 - 1}, xx=True)
            return client.zcard(keys.TRASH) == 0

        until(empty, 60, "the trash is empty")

    def client(self) -> redis.Redis:
        """Redis itself, past the gate."""
        return self.redis.client()


@contextlib.contextmanager
def place(folder: Path, workers: dict[str, int] | None = None, **settings) -> Iterator[Place]:
    """Two workers a pool, if not told otherwise; all ends with the `with`."""
    with contextlib.ExitStack() as stack:
        made = Place(folder, stack, **settings)
        for pool, count in ({"cpu": 2, "gpu": 2} if workers is None else workers).items():
            for _ in range(count):
                made.add_worker(pool)
        yield made
