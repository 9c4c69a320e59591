"""1. Processes die: by SIGKILL, at every place of a worker's family; or stand still until their lease is over."""

import os
import random
import signal
import time

import psutil

from tests.faults import work
from tests.faults.place import Place
from tests.faults.scenario import scenario
from tests.stack import until


def _load(place: Place, pool: str, size: int, seconds: float = 0.5) -> list[str]:
    """Jobs of that length, a part of which make outputs."""
    return place.books.submit_all(
        [work.sleep(pool, seconds) if n % 3 else work.files(pool, f"text {n}") for n in range(size)]
    )


def _busy_children(place: Place) -> list[int]:
    """Those whose job has an attempt left after this one: chance must not take all three of one job's."""
    children = [child.pid for name in place.workers("cpu") for child in place.children(name)]
    hits = [one for fault in place.books.faults for one in fault.hit]
    return [pid for pid in children if (held := place.held(pid=pid)) and hits.count(held[0]) < 2]


def _busy_worker(place: Place, pool: str) -> str:
    """A worker that has a job, once there is one."""
    return until(lambda: next((name for name in place.workers(pool) if place.held(name=name)), None), 60, "one is busy")


@scenario("1a", "a prefork child is killed (kill -9) mid-job", short=True)
def child(place: Place, size: int) -> None:
    _load(place, "cpu", size, 1.0)
    for _ in range(max(1, size // 8)):
        victim = random.choice(until(lambda: _busy_children(place), 60, "a child runs a job"))
        place.kill(victim, "child killed")
        until(lambda pid=victim: not psutil.pid_exists(pid), 20)


@scenario("1b", "Celery's main process of a cpu worker is killed")
def main_process(place: Place, size: int) -> None:
    _load(place, "cpu", size)
    for _ in range(max(1, size // 16)):
        name = _busy_worker(place, "cpu")
        place.kill(place.celery(name).pid, "Celery killed", place.held(name=name))
        place.celery(name)


@scenario("1c", "the gpu process is killed with all that it runs", short=True)
def gpu_process(place: Place, size: int) -> None:
    _load(place, "gpu", size)
    for _ in range(max(1, size // 16)):
        until(lambda: place.kill_shared(_busy_worker(place, "gpu"), "gpu process killed"), 90, "no suspect runs there")


def _parents(place: Place, pool: str, size: int) -> None:
    """A few jobs at a time, so that the other worker has slots free: what is measured is the lease, not the line."""
    for _ in range(max(1, size // 8)):
        jobs = place.books.submit_all([work.sleep(pool, 2.0) for _ in range(2)])
        for one in jobs:
            place.running(one)
        place.kill_worker(_busy_worker(place, pool), "parent killed")
        place.mend()
        place.books.wait(jobs, 60)


@scenario("1d", "the parent of a cpu worker is killed: the lease lapses", short=True)
def cpu_parent(place: Place, size: int) -> None:
    _parents(place, "cpu", size)


@scenario("1e", "the parent of a gpu worker is killed: the lease lapses")
def gpu_parent(place: Place, size: int) -> None:
    _parents(place, "gpu", size)


@scenario("1f", "a worker stands still (SIGSTOP) past its lease and comes back with finished work", short=True)
def zombie(place: Place, size: int) -> str:
    """What it made meanwhile must neither be committed nor stay in the bucket, and the new owner goes on unhurt."""
    mark = place.folder / f"zombie-{time.monotonic_ns()}"
    jobs = place.books.submit_all([work.late_files("cpu", 2, 64, str(mark)) for _ in range(4)])
    name = until(lambda: next((n for n in place.workers("cpu") if len(place.held(name=n)) == 2), None), 60, "two run")
    for held in place.held(name=name):
        place.running(held)
    family = [psutil.Process(place.processes[name].pid)]
    family += family[0].children(recursive=True)
    hit = place.held(name=name)
    for process in family:
        os.kill(process.pid, signal.SIGSTOP)
    place.books.struck("stopped", hit)
    place.books.wait(hit, 90)
    for process in reversed(family):
        os.kill(process.pid, signal.SIGCONT)
    place.books.wait(jobs, 90)
    until(lambda: not place.held(name=name), 60, "the zombie is through")
    place.sweep_trash()
    folders = [place.committed(job_id) for job_id in jobs]
    assert all(len(one) == 1 for one in folders), f"objects of attempts that were not committed: {folders}"
    return f"the model ran {len(mark.read_text().splitlines())} times for {len(jobs)} jobs"
