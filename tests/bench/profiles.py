"""Where the time goes: the parts of a submit in the API; the lane, or a worker's loop, in this process under
cProfile; and the scripts' share.

Its seconds are CPU time of the one thread, so that waiting for Redis is not in them and a busy machine does no harm.
The profiler slows Python several times over: they compare functions with each other and nothing else. What a submit or
a job takes without it is told before, and what Redis spent on it.
"""

import cProfile
import pstats
import time
from collections.abc import Callable

import redis

from api import create_app
from api.server.lane import Lane, Post
from tasks.ledger import Worker
from tasks.service.submits import Wanted
from tests.bench import parts
from tests.bench.sides import KEY, TENANT, Backlot
from tests.bench.work import BODY, fill
from worker.run import Runner

JOBS, FEW_JOBS = 2000, 200
TOP = 25
LIST = 10
"""Submits of a list of the lane, as many as it has at 32 connections."""


def submit(jobs: int = JOBS) -> None:
    """POST /v1/jobs: by parts in the API's processes (parts.py), then the lane's lists, as its thread answers them."""
    parts.show(jobs)
    with Backlot() as side:
        log = str(side.folder / "audit.jsonl")
        services = create_app(side.settings.model_copy(update={"audit_log": log})).services
        lane, key = Lane(services), services.keys.find(KEY)
        post = Post(Wanted(TENANT, BODY.encode(), None, None), key, "127.0.0.1", None, 0)
        _profile(side, jobs, "submits", lambda count: [_answer(lane, [post] * LIST) for _ in range(count // LIST)])


def drain(jobs: int = JOBS) -> None:
    """A slot's loop over a full line, as in a worker's child; the model's own thread is not in the profile."""
    with Backlot() as side:
        settings = side.settings.model_copy(update={"linger_s": 0})
        worker = Worker("bench", "cpu", ["cpu.generate"], ["cpu.generate:cpu-noop", "cpu.generate:cpu-probe"])
        runner = Runner(settings, worker, side.folder / "scratch", settings.registry())

        def serve(count: int) -> None:
            before = side.ended()
            runner.serve("bench:0")
            assert side.ended() == before + count

        _profile(side, jobs, "jobs", serve, lambda count: fill(side.jobs.ledger, count))


def _answer(lane: Lane, posts: list[Post]) -> None:
    for answer in lane._answer_all(posts):
        assert answer.status == 202, answer.body


def _profile(
    side: Backlot,
    jobs: int,
    what: str,
    run: Callable[[int], object],
    prepare: Callable[[int], None] = lambda count: None,
) -> None:
    """Once to warm up, once with a clock and Redis' own, once under the profiler."""
    client = side.redis.client()
    side.keeper.stop()
    prepare(jobs)
    run(jobs)
    prepare(jobs)
    client.config_resetstat()
    wall, cpu = time.perf_counter(), time.process_time()
    run(jobs)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{jobs:,} {what}: {1e6 * wall / jobs:,.0f} us each, {1e6 * cpu / jobs:,.0f} us of it CPU of this process")
    _show_scripts(client, what, jobs)
    prepare(jobs)
    profiler = cProfile.Profile(time.thread_time)
    profiler.runcall(run, jobs)
    for order in ("tottime", "cumulative"):
        pstats.Stats(profiler).strip_dirs().sort_stats(order).print_stats(TOP)


def _show_scripts(client: redis.Redis, what: str, jobs: int) -> None:
    """What Redis spent on each command; those inside a script are counted under it as well."""
    stats = client.info("commandstats")
    for name, spent in sorted(stats.items(), key=lambda item: -item[1]["usec"])[:8]:
        print(
            f"  Redis {name.removeprefix('cmdstat_'):12} {spent['calls'] / jobs:6.2f} a {what[:-1]}, "
            f"{spent['usec_per_call']:6.1f} us each"
        )
