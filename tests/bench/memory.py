"""Memory of the processes at rest and of a waiting job in Redis; and how long the API's imports take.

Of a process: rss counts shared pages in full, pss in part, uss not at all. Each has done a little work before. MB is
10^6 bytes.
"""

import subprocess
import sys
from collections.abc import Callable

import psutil

from tasks.ledger import keys
from tests.bench.figures import Figure, Target
from tests.bench.plan import Plan
from tests.bench.sides import Backlot, Naive, Service, Side, family
from tests.bench.work import fill
from tests.stack import Process

MB = 10**6
WAITING, QUICK_WAITING = 10_000, 500
"""Jobs in Redis."""
REQUESTS, CONNECTIONS = 200, 16
IMPORTS, QUICK_IMPORTS = 9, 3
"""Fresh processes that import an API."""
TIMED = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def measure(plan: Plan) -> list[Figure]:
    jobs = plan.size(WAITING, QUICK_WAITING)
    plan.say(f"memory: processes at rest, {jobs:,} jobs waiting")
    with Backlot() as side:
        ours = _api(side)
        workers = [
            line
            for pool, slots in (("cpu", 1), ("gpu", 0))
            for line in _tree(f"{pool} worker", side.start_worker(slots, pool), _role)
        ]
        workers += _tree("keeper", side.keeper, lambda *_: "alone")
    with Naive() as side:
        theirs = _api(side)
        worker = _tree("naive worker", side.start_worker(1), lambda _, depth: ("main", "child")[min(depth, 1)])
    imports = _imports(plan.size(IMPORTS, QUICK_IMPORTS))
    figures = [*_beside(ours, theirs), imports, *workers, *worker, *_waiting_job(jobs)]
    for figure in figures:
        plan.say(f"  {figure.name}: {figure.backlot[0]:,.1f} {figure.unit}")
    return figures


def _api(side: Service) -> dict[str, float]:
    """Of the largest process after some requests, MB, and of all of them."""
    api = side.start_api()
    side.load(api, REQUESTS, CONNECTIONS)
    master, *children = family(api)
    infos = [member.memory_full_info() for member in (master, *children)]
    foreign = {name for child in children for name in ("torch", "numpy") if _has_mapped(child, name)}
    found = {
        "rss": max(i.rss for i in infos) / MB,
        "pss": max(i.pss for i in infos) / MB,
        "uss": max(i.uss for i in infos) / MB,
        "all_pss": sum(i.pss for i in infos) / MB,
        "foreign": len(foreign),
    }
    api.stop()
    return found


def _beside(ours: dict[str, float], theirs: dict[str, float]) -> list[Figure]:
    below, aim, none = (Target(limit, of_ratio=False) for limit in (100, 80, 0))
    rows = [
        ("API process, rss", "rss", "MB", below, aim),
        ("- pss", "pss", "MB", None, None),
        ("- uss", "uss", "MB", None, None),
        ("- all its processes, pss", "all_pss", "MB", None, None),
        ("- torch and numpy in it", "foreign", "", none, None),
    ]
    return [Figure(name, unit, [ours[key]], [theirs[key]], target, aim) for name, key, unit, target, aim in rows]


def _imports(count: int) -> Figure:
    """What a process of each API imports before it can answer, in `count` fresh interpreters each, in turns."""
    ours, theirs = [], []
    for _ in range(count):
        theirs.append(_import_s("tests.bench.naive"))
        ours.append(_import_s("api.server.bridge"))
    return Figure("- its imports in a fresh process", "s", ours, theirs, Target(0.5, of_ratio=False))


def _import_s(module: str) -> float:
    """Wall seconds of the import alone, without the start of Python."""
    argv = [sys.executable, "-c", TIMED.format(module)]
    return float(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def _tree(name: str, process: Process, role: Callable[[psutil.Process, int], str]) -> list[Figure]:
    """A worker's processes, each with its three sizes."""
    lines = []
    depths = {psutil.Process(process.pid).ppid(): -1}
    for member in family(process):
        depth = depths[member.pid] = depths[member.ppid()] + 1
        info = member.memory_full_info()
        label = f"{name}, {role(member, depth)}"
        lines += [Figure(f"{label}, {size}", "MB", [getattr(info, size) / MB]) for size in ("rss", "pss", "uss")]
    total = sum(line.backlot[0] for line in lines if line.name.endswith("pss"))
    return [*lines, Figure(f"- all of the {name}, pss", "MB", [total])]


def _role(member: psutil.Process, depth: int) -> str:
    """parent -> Celery's main process (and Python's resource tracker) -> a child for each slot."""
    if depth == 0:
        return "parent"
    if any("resource_tracker" in part for part in member.cmdline()):
        return "resource tracker"
    return "Celery main" if depth == 1 else "child"


def _has_mapped(process: psutil.Process, library: str) -> bool:
    return any(f"/{library}/" in mapped.path for mapped in process.memory_maps())


def _waiting_job(jobs: int) -> list[Figure]:
    """Redis' own used_memory, before and after; the capped event stream is part of both."""
    with Backlot() as side:
        side.keeper.stop()  # it would trim the journal
        ledger = side.jobs.ledger
        fill(ledger, 1)  # Redis keeps the library of verbs from the first call on
        used = [_used(side)]
        fill(ledger, jobs)
        used.append(_used(side))
        ledger.redis.xtrim(keys.JOURNAL, maxlen=0, approximate=False)
        used.append(_used(side))
        events = ledger.redis.memory_usage(keys.EVENTS, samples=0)
    with Naive() as side:
        before = _used(side)
        side.fill(jobs)
        naive = (_used(side) - before) / jobs
    record, journal = (used[2] - used[0]) / jobs, (used[1] - used[2]) / jobs
    return [
        Figure(
            "Redis, a waiting job",
            "bytes",
            [record],
            [naive],
            *(Target(limit, of_ratio=False) for limit in (1100, 1000)),
        ),
        Figure("- of it the stream of events, capped at 10,000", "bytes", [events / jobs]),
        Figure("- its entry in the journal until that is in the bucket, besides", "bytes", [journal]),
    ]


def _used(side: Side) -> int:
    """Bytes, without the slow log: its 128 entries at most are lists of many submits, and no job's."""
    client = side.redis.client()
    client.slowlog_reset()
    return client.info("memory")["used_memory"]
