"""Other queues on the same Redis, as sides of a drain: dramatiq and taskiq in the obvious way, two processes each."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator

from tests.bench.sides import Side, family
from tests.bench.work import INPUT
from tests.stack import Process, until


class Dramatiq(Side):
    """with_dramatiq.py: its default of 8 threads a process. It keeps no results, so it does less for each job."""

    name = "dramatiq"

    def _prepare(self) -> None:
        from tests.bench.with_dramatiq import actor_at

        self._actor, self._sent = actor_at(self.redis.url()), 0
        self._stack.callback(self._actor.broker.close)
        self._client = self.redis.client()

    def start_worker(self, slots: int) -> Process:
        argv = ["-m", "dramatiq", "tests.bench.with_dramatiq", "--processes", str(slots)]
        process = self.run_process("worker-cpu", [sys.executable, *argv], {"PEER_REDIS_URL": self.redis.url()})
        self.warm_up()
        return process

    def fill(self, count: int) -> None:
        for _ in range(count):
            self._actor.send(INPUT["prompt"])
        self._sent += count

    def ended(self) -> int:
        """A message lies in the queue's hash until it is acknowledged."""
        return self._sent - self._client.hlen("dramatiq:default.msgs")


class Taskiq(Side):
    """with_taskiq.py: its default of 100 jobs at once a process, which asyncio runs in one thread."""

    name = "taskiq"

    def _prepare(self) -> None:
        self._url = self.redis.url().removesuffix("/0")
        self._runner = self._stack.enter_context(asyncio.Runner())
        self._results = self.redis.client(1)

    def start_worker(self, slots: int) -> Process:
        argv = ["-m", "taskiq", "worker", "tests.bench.with_taskiq:broker", "--workers", str(slots)]
        process = self.run_process("worker-cpu", [sys.executable, *argv], {"PEER_REDIS_URL": self._url})
        self._stack.callback(_kill, process)
        process.until_up(lambda: bool(self.redis.client().xinfo_groups("taskiq")), 60)  # it reads what comes after it
        self.warm_up()
        return process

    @contextlib.contextmanager
    def held(self, worker: Process) -> Iterator[list[float]]:
        """The worker is down inside. The moment is that of the first job's end after its start.

        Stopped by SIGSTOP for seconds its reads time out: its processes start again and leave a job unacknowledged.
        """
        _kill(worker)
        before, moment = self.ended(), list[float]()
        yield moment
        worker.start()
        until(lambda: self.ended() > before, 60, "the worker has run a job")
        moment.append(time.perf_counter())

    def fill(self, count: int) -> None:
        self._runner.run(self._send(count))

    def ended(self) -> int:
        return self._results.dbsize()

    async def _send(self, count: int) -> None:
        from tests.bench.with_taskiq import broker_at

        broker = broker_at(self._url)
        await broker.startup()
        task = broker.find_task("noop")
        for _ in range(count):
            await task.kiq(INPUT["prompt"])
        await broker.shutdown()


def _kill(worker: Process) -> None:
    """An idle worker and its processes: by SIGTERM they may not end for more than 15 s, and outlive their parent."""
    if worker.alive:
        for member in reversed(family(worker)):
            member.kill()
        worker.stop()
