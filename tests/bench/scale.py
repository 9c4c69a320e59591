"""Redis' costs of everything that grows with an installation, for docs/scaling.md: its CPU, memory, bytes and log.

One Redis and one process that plays a thousand workers of sixteen slots: jobs submitted, claimed, renewed and committed
by the ledger's own verbs, one trip each; and idle connections that block. Then a whole stack, for a job's way with
the keeper. CPU is `used_cpu_*` of Redis itself, so a busy machine does little harm.
"""

import re
import selectors
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import redis

from tasks.ledger import Ledger, Worker, keys
from tasks.ledger.shapes import Claimed
from tasks.settings import Settings
from tests.bench.figures import Figure
from tests.bench.plan import Plan
from tests.bench.sides import Backlot
from tests.bench.work import PATIENT_S, fixed
from tests.stack import PASSWORD, RedisServer, until

WORKERS, QUICK_WORKERS = 1000, 20
SLOTS = 16
ROUNDS = 3
"""Rounds in which each worker renews once."""
JOBS, QUICK_JOBS = 4000, 200
"""Jobs that one slot works off, each commit with the next claim in one trip."""
CONNECTIONS, QUICK_CONNECTIONS = 1000, 50
READERS, QUICK_READERS = 50, 5
"""Connections that read the event stream, one for each process of an API."""
BLOCKED_S, QUICK_BLOCKED_S = 5, 2
LINE = "cpu.generate:cpu-noop"
RESULT = {"text": "x", "finish_reason": "stop", "usage": {"prompt_tokens": 0, "completion_tokens": 0}}
MB = 10**6
IDS = re.compile(rb"\r\n(\d{13}-\d+)\r\n")
NIL, NIL_3 = b"*-1\r\n", b"_\r\n"
"""An answer without anything, in both forms of the protocol."""
Spent = dict[str, float]


def measure(plan: Plan) -> list[Figure]:
    workers, jobs = plan.size(WORKERS, QUICK_WORKERS), plan.size(JOBS, QUICK_JOBS)
    plan.say(f"scale: {workers:,} workers of {SLOTS} slots, {jobs:,} jobs, idle connections")
    with tempfile.TemporaryDirectory(prefix="backlot-bench-") as folder:
        server = RedisServer(Path(folder))
        try:
            told = _Scale(server, plan.say).measure(workers, jobs, plan)
            told |= _restarted(server)
        finally:
            server.kill()
    told |= _whole_way(jobs)
    figures = [Figure(words, unit, [told[key]]) for key, (words, unit) in rows(workers * SLOTS).items()]
    for figure in figures:
        plan.say(f"  {figure.name}: {figure.backlot[0]:,.4g} {figure.unit}")
    return figures


def rows(slots: int) -> dict[str, tuple[str, str]]:
    """The figures by key: what people call each, and its unit."""
    return {
        "whole_us": ("Redis, a job's whole way, keeper and doorbells included", "us"),
        "submit_us": ("- a submit alone", "us"),
        "claim_us": ("- a claim alone", "us"),
        "commit_us": ("- a commit alone", "us"),
        "next_us": ("- a commit with the next claim", "us"),
        "renew_us": (f"Redis, a renewal of {SLOTS} leases, {slots:,} held", "us"),
        "renew_idle_us": ("- of a worker that holds none", "us"),
        "renew_max_ms": ("- the slowest, at the worker", "ms"),
        "renew_bytes": ("- bytes over the network", "bytes"),
        "sweep_us": ("Redis, a sweep that finds nothing", "us"),
        "event_us": ("Redis, an event to one more reader", "us"),
        "blocked_us": ("Redis, a blocking read of a second", "us"),
        "connection_bytes": ("- memory of its connection", "bytes"),
        "waiting_bytes": ("Redis, memory of a waiting job", "bytes"),
        "running_bytes": ("- a running job", "bytes"),
        "ended_bytes": ("- an ended job", "bytes"),
        "network_bytes": ("- a job's whole way over the network, both directions", "bytes"),
        "log_bytes": ("- its lines in the append-only file", "bytes"),
        "restart_mb_s": ("Redis, replay of the append-only file at a restart", "MB/s"),
    }


class _Scale:
    """The measurements against one Redis, in an order in which each finds what it needs."""

    def __init__(self, server: RedisServer, say: Callable[[str], None]) -> None:
        self._server, self._say = server, say
        self._ledger = Ledger(Settings(redis_url=server.url()), read_timeout_s=PATIENT_S)
        self._ledger.set_epoch()
        self._info = server.client()
        self._token = time.time_ns()

    def measure(self, workers: int, jobs: int, plan: Plan) -> Spent:
        names = [f"{number:04d}" for number in range(workers)]
        held, told = [f"{name}:{slot}" for name in names for slot in range(SLOTS)], {}
        told |= self._blocked(plan.size(CONNECTIONS, QUICK_CONNECTIONS), plan.size(BLOCKED_S, QUICK_BLOCKED_S))
        empty = self._used()
        spent = self._spent(lambda: [self._submit(number) for number in range(len(held))], len(held))
        told |= {"submit_us": spent["us"], "waiting_bytes": (self._used() - empty) / len(held)}
        network, log = spent["network"], spent["log"]
        claimed: list = []
        spent = self._spent(lambda: claimed.extend(map(self._claim, held)), len(held))
        told |= {"claim_us": spent["us"], "running_bytes": (self._used() - empty) / len(held)}
        network, log = network + spent["network"], log + spent["log"]
        told |= self._renewals(names)
        told["sweep_us"] = self._spent(lambda: [self._ledger.sweep("cpu") for _ in range(10)], 10)["us"]
        spent = self._spent(lambda: list(map(self._commit, claimed)), len(held))
        told |= {"commit_us": spent["us"], "ended_bytes": (self._used() - empty) / len(held)}
        told |= {"network_bytes": network + spent["network"], "log_bytes": log + spent["log"]}
        told["event_us"] = self._events(plan.size(READERS, QUICK_READERS), jobs)
        told["next_us"] = self._spent(lambda: self._work_off(2 * jobs), 2 * jobs)["us"]
        return told

    def _submit(self, number: int) -> None:
        self._ledger.submit(fixed(number))

    def _claim(self, slot: str) -> Claimed:
        self._token += 1
        claimed = self._ledger.claim(_worker(slot.partition(":")[0]), slot, f"{self._token:032x}")
        assert claimed is not None, "no job waits"
        return claimed

    def _commit(self, claimed: Claimed) -> None:
        assert self._ledger.commit(claimed.fixed.id, claimed.token, RESULT, [], {}) == "succeeded"

    def _work_off(self, jobs: int) -> None:
        """By one slot, each commit with the next claim."""
        worker, slot, claimed = _worker("last"), "last:0", self._claim("last:0")
        for _ in range(jobs):
            assert claimed is not None, "no job waits"
            self._token += 1
            ended = (claimed.fixed.id, claimed.token, RESULT, [], {}, claimed.number)
            status, claimed = self._ledger.commit_and_claim(*ended, worker, slot, f"{self._token:032x}")
            assert status == "succeeded", status
        assert claimed is None, "jobs are left"

    def _renewals(self, names: list[str]) -> Spent:
        """Each worker of its own renews in turn, a round a second in an installation; then as many idle ones."""
        seconds: list[float] = []

        def renew(name: str, rows: int) -> None:
            start = time.perf_counter()
            held = self._ledger.renew(_worker(name))[1]
            seconds.append(time.perf_counter() - start)
            assert len(held) == rows and all(one.state == "running" for one in held), held

        count = ROUNDS * len(names)
        full = self._spent(lambda: [renew(name, SLOTS) for _ in range(ROUNDS) for name in names], count)
        slowest = max(seconds)
        idle = self._spent(lambda: [renew(f"idle-{name}", 0) for _ in range(ROUNDS) for name in names], count)
        return {
            "renew_us": full["us"],
            "renew_bytes": full["network"],
            "renew_max_ms": 1000 * slowest,
            "renew_idle_us": idle["us"],
        }

    def _blocked(self, count: int, seconds: int) -> Spent:
        """Connections that each read a list that stays empty for a second, again and again."""
        before = self._used()
        with _Readers(self._server, count, lambda number, _: ["BLPOP", f"bl:wake:bench-{number}", "1"]) as readers:
            time.sleep(1.5)
            memory, asked = self._used() - before, readers.asked
            spent = self._spent(lambda: time.sleep(seconds), 1)
            return {"blocked_us": spent["us"] / (readers.asked - asked), "connection_bytes": memory / count}

    def _events(self, count: int, jobs: int) -> float:
        """The cost of an event to one more reader: submits with so many readers of the stream, and without."""
        without = self._spent(lambda: list(map(self._submit, range(jobs))), jobs)["us"]

        def read(_: int, last: str) -> list[str]:
            return ["XREAD", "COUNT", "1000", "BLOCK", "1000", "STREAMS", keys.EVENTS, last]

        with _Readers(self._server, count, read) as readers:
            time.sleep(1.5)
            seen = readers.answers
            beside = self._spent(lambda: list(map(self._submit, range(jobs))), jobs)["us"]
            assert readers.answers > seen, "the readers saw nothing"
        return (beside - without) / count

    def _used(self) -> float:
        """Bytes of Redis' memory without the two streams: the keeper trims one, the other has a cap."""
        self._info.xtrim(keys.JOURNAL, maxlen=0, approximate=False)
        events = self._info.memory_usage(keys.EVENTS, samples=0) or 0
        return self._info.info("memory")["used_memory"] - events

    def _spent(self, work: Callable[[], object], count: int) -> Spent:
        """What one of `count` pieces of the work cost Redis: CPU in us, bytes over the network, bytes of its log."""
        before = _told(self._info)
        work()
        return {name: (value - before[name]) / count for name, value in _told(self._info).items()}


class _Readers:
    """Connections that ask, read the answer and ask again, all in one thread."""

    def __init__(self, server: RedisServer, count: int, command: Callable[[int, str], list[str]]) -> None:
        """`command` is made of the connection's number and of the newest id of a stream that it has read."""
        self._server, self._count, self._command = server, count, command
        self.asked = self.answers = 0
        self._over = threading.Event()

    def __enter__(self) -> "_Readers":
        self._selector = selectors.DefaultSelector()
        for number in range(self._count):
            connection = socket.create_connection(("127.0.0.1", self._server.port))
            connection.sendall(_packed("AUTH", PASSWORD))
            assert connection.recv(100) == b"+OK\r\n"
            self._selector.register(connection, selectors.EVENT_READ, number)
            self._ask(connection, number, "$")
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()

    def _read(self) -> None:
        while not self._over.is_set():
            for key, _ in self._selector.select(0.1):
                answer = key.fileobj.recv(1 << 20)
                self.answers += answer not in (NIL, NIL_3)
                found = IDS.findall(answer)
                self._ask(key.fileobj, key.data, found[-1].decode() if found else "$")

    def _ask(self, connection: socket.socket, number: int, last: str) -> None:
        connection.sendall(_packed(*self._command(number, last)))
        self.asked += 1


def _packed(*words: str) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)


def _told(client: redis.Redis) -> Spent:
    told = client.info("everything")
    return {
        "us": 1e6 * (told["used_cpu_sys"] + told["used_cpu_user"]),
        "network": told["total_net_input_bytes"] + told["total_net_output_bytes"],
        "log": told["aof_current_size"],
    }


def _worker(name: str) -> Worker:
    return Worker(name, "cpu", ["cpu.generate"], [LINE])


def _restarted(server: RedisServer) -> Spent:
    """Megabytes of the log that a start replays in a second."""
    size = server.client().info("persistence")["aof_current_size"]
    server.stop()
    start = time.perf_counter()
    server.start()
    server.until_up(lambda: bool(server.client().ping()), 300)
    return {"restart_mb_s": size / MB / (time.perf_counter() - start)}


def _whole_way(jobs: int) -> Spent:
    """Redis' CPU for a job from its submit by one connection to its record in the bucket, the bells among it."""
    with Backlot() as side:
        side.start_worker(2)
        until(side.recorded, 60, "the warm-up is in the bucket")
        client, before = side.redis.client(), side.ended()
        spent = _told(client)["us"]
        for number in range(jobs):
            submitted = side.jobs.ledger.submit(fixed(number))
            if submitted.bell:
                side.jobs.broker.ring(fixed(number).queue)
        until(lambda: side.ended() >= before + jobs, 300, f"{jobs} jobs done")
        until(
            lambda: side.recorded() and side.records() >= before + jobs, 60 + jobs / 50, "all records are in the bucket"
        )
        return {"whole_us": (_told(client)["us"] - spent) / jobs}
