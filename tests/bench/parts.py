"""CPU time of a submit by parts, in the API's own processes under load: `python -m tests.bench --profile submit`.

A part is one or more functions of the API, which are wrapped in a clock of the CPU time of their thread; the time of a
part that another calls counts for itself alone. Nobody has a clock in granian and in the event loop: they are the rest
of the process's CPU time, with the threads' handing over of Python's lock. So the table adds up. The clocks themselves
take time; the line below it has the CPU time without them.

    python -m tests.bench.parts --port 8080     the API with clocks; SIGUSR1 writes the times to its folder
"""

import functools
import importlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from api import __main__ as server
from tests.bench.load import WARM_UP
from tests.bench.sides import Backlot, cpu_s, serving, shipped
from tests.stack import Process, until

FOLDER = "BENCH_PARTS"
"""Environment variable of the folder to which an API with clocks writes."""
CONNECTIONS = 32
BRIDGE, LANE, AUDIT = "bridge: head, key, body, sending", "lane: lists, headers", "audit log"
PARSE, SERVICE, VIEW = "body: parsed and validated", "service: model, limits, inputs, id", "view of the job"
VIEW_JSON, LEDGER, REDIS = "view as JSON", "ledger: the call's words", "redis-py: its own way"
PACK, SEND, READ = "redis-py: packing", "redis-py: sending", "redis-py: reading the answer"
BELL, REST = "doorbell", "the rest: granian, event loop, Python's lock"
FUNCTIONS = {
    "api.server.lane:Lane._answer_all": LANE,
    "api.server.lane:line_of": AUDIT,
    "api.request_logs:Logs.write": AUDIT,
    "tasks.service.submits:Submits.submit": SERVICE,
    "tasks.service.submits:Submits._parse": PARSE,
    "tasks.service.submits:Submits._show": VIEW,
    "tasks.job:Job.model_dump_json": VIEW_JSON,
    "tasks.service.submits:Submits._make_call": LEDGER,
    "tasks.ledger.bulk:Bulk.submit_many": LEDGER,
    "redis.connection:AbstractConnection.send_command": REDIS,
    "redis.connection:HiredisRespSerializer.pack": PACK,
    "redis.connection:AbstractConnection.send_packed_command": SEND,
    "redis.connection:AbstractConnection.read_response": READ,
    "tasks.broker:Broker.ring": BELL,
}
"""Functions with a clock, beside the bridge's coroutine."""
IN_ORDER = (BRIDGE, LANE, AUDIT, PARSE, SERVICE, VIEW, VIEW_JSON, LEDGER, REDIS, PACK, SEND, READ, BELL)


class Clocks:
    """CPU time of this process's threads by part, in ns."""

    def __init__(self) -> None:
        self._of_thread = threading.local()
        self._all: list[Counter[str]] = []

    def times(self) -> dict[str, int]:
        return dict(sum(list(self._all), Counter()))

    def wrap(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The function with a clock."""

        @functools.wraps(function)
        def clocked(*args: Any, **kwargs: Any) -> Any:
            self._start()
            try:
                return function(*args, **kwargs)
            finally:
                self._stop(part)

        return clocked

    def wrap_coroutine(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The coroutine function with a clock that stands while it waits."""

        @functools.wraps(function)
        async def clocked(*args: Any) -> Any:
            return await _Steps(self, function(*args), part)

        return clocked

    def _start(self) -> None:
        here = self._of_thread
        if not hasattr(here, "stack"):
            here.stack, here.times = [], Counter()
            self._all.append(here.times)
        here.stack.append([time.thread_time_ns(), 0])

    def _stop(self, part: str) -> None:
        here = self._of_thread
        start, inside = here.stack.pop()
        spent = time.thread_time_ns() - start
        here.times[part] += spent - inside
        if here.stack:
            here.stack[-1][1] += spent


class _Steps:
    """Awaits a coroutine with a clock on each of its steps."""

    def __init__(self, clocks: Clocks, coroutine: Any, part: str) -> None:
        self._clocks, self._coroutine, self._part = clocks, coroutine, part

    def __await__(self) -> Generator[Any, Any, Any]:
        go_on, given = self._coroutine.send, None
        while True:
            self._clocks._start()
            try:
                waits_for = go_on(given)
            except StopIteration as end:
                return end.value
            finally:
                self._clocks._stop(self._part)
            try:
                go_on, given = self._coroutine.send, (yield waits_for)
            except BaseException as error:
                go_on, given = self._coroutine.throw, error


def timed() -> Any:
    """The API's ASGI app with clocks, for granian."""
    from api.server import bridge

    clocks = Clocks()
    for name, part in FUNCTIONS.items():
        module, _, path = name.partition(":")
        *owner, attribute = path.split(".")
        holder = functools.reduce(getattr, owner, importlib.import_module(module))
        setattr(holder, attribute, clocks.wrap(getattr(holder, attribute), part))
    bridge.Bridge.__call__ = clocks.wrap_coroutine(bridge.Bridge.__call__, BRIDGE)
    made = bridge.bridge()
    file = Path(os.environ[FOLDER], str(os.getpid()))
    signal.signal(signal.SIGUSR1, lambda *_: file.write_text(json.dumps(clocks.times())))
    return made


def show(count: int) -> None:
    """Prints the table of `count` submits."""
    with Backlot() as side:
        plain = _plain(side, count)
        side.folder.joinpath("parts").mkdir()
        env = {**side._env(), FOLDER: str(side.folder / "parts")}
        api = side.run_api(lambda port: _clocked(shipped(port)), env)
        times, all_us = _load(side, api, count)
    table = Table("part of a submit", "CPU, us", "share")
    rows = {part: times.pop(part, 0.0) for part in IN_ORDER}
    assert not times, f"without a line in the table: {times}"
    rows[REST] = all_us - sum(rows.values())
    for part, us in rows.items():
        table.add_row(part, f"{us:,.0f}", f"{us / all_us:.0%}")
    table.add_section()
    table.add_row("all, with the clocks", f"{all_us:,.0f}", "100%")
    table.add_row("all, without them", f"{plain:,.0f}", "")
    Console(width=100, highlight=False).print(table)


def _clocked(command: list[str]) -> list[str]:
    """The command of an API, with clocks."""
    return ["tests.bench.parts" if word == "api" else word for word in command]


def _plain(side: Backlot, count: int) -> float:
    """CPU us a submit of the API as it ships."""
    api = side.start_api()
    side.load(api, WARM_UP, CONNECTIONS)
    before = side.cpu_s()["api"]
    side.load(api, count, CONNECTIONS)
    spent = side.cpu_s()["api"] - before
    api.stop()
    return spent / (count + WARM_UP * CONNECTIONS) * 1e6


def _load(side: Backlot, api: Process, count: int) -> tuple[dict[str, float], float]:
    """CPU us a submit by part, and of the processes that answer in all."""
    side.load(api, WARM_UP, CONNECTIONS)  # builds validators, connects to Redis
    before, spent = _times(side, api), sum(map(cpu_s, serving(api)))
    side.load(api, count, CONNECTIONS)
    after, spent = _times(side, api), sum(map(cpu_s, serving(api))) - spent
    submits = count + WARM_UP * CONNECTIONS
    return {part: (after[part] - before[part]) / submits / 1000 for part in after}, spent / submits * 1e6


def _times(side: Backlot, api: Process) -> Counter[str]:
    """The times of all the API's processes."""
    told: Counter[str] = Counter()
    for process in serving(api):
        file = side.folder / "parts" / str(process.pid)
        file.unlink(missing_ok=True)
        process.send_signal(signal.SIGUSR1)
        told += Counter(json.loads(until(lambda file=file: file.exists() and file.read_text(), 10)))
    return told


if __name__ == "__main__":
    server.APP = "tests.bench.parts:timed"
    server.main()
