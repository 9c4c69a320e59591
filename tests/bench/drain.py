"""How fast two processes work off a full queue of no-op jobs.

The worker is up and warm, then all its processes are stopped (SIGSTOP) while the queue is filled; the clock runs
from the moment they go on (SIGCONT) until the last job has ended. taskiq's worker cannot be stopped so (peers.py).
"""

import time

from tests.bench.figures import Figure, Target, cpu_figures, cpu_us, figure, in_turns
from tests.bench.peers import Dramatiq, Taskiq
from tests.bench.plan import Plan
from tests.bench.sides import Backlot, Naive, Side
from tests.stack import until

COUNT, QUICK_COUNT = 10_000, 300
SLOTS = 2
STALLED_S = 20
"""Without an end, after which a side has lost its other jobs; taskiq leaves a few unacknowledged."""
REST_S = 1.5
"""After which an idle slot has gone back to Celery, and none is stopped in the middle of something."""


def measure(plan: Plan) -> list[Figure]:
    count = plan.size(COUNT, QUICK_COUNT)
    plan.say(f"drain: {count:,} no-op jobs, {SLOTS} processes")
    runs = in_turns(plan.pairs, lambda side: _run(side, count), plan.say, (Naive, Dramatiq, Taskiq, Backlot))
    return [
        figure(
            f"drain of {count:,} jobs, 2 processes",
            "1/s",
            runs,
            "per_s",
            Target(3, at_least=True),
            Target(5, at_least=True),
        ),
        *cpu_figures(runs, {"worker-cpu": "the worker", "redis": "Redis", "keeper": "the keeper", "s3": "S3"}),
        figure("- until the last record is in the bucket, after the last end", "s", runs, "recorded_s"),
        figure("- entries not yet trimmed from Redis", "", runs, "left_in_redis"),
        figure("drain (beside: dramatiq)", "1/s", runs, "per_s", aim=Target(1, at_least=True), beside="dramatiq"),
        figure("- CPU a job, the worker (beside: dramatiq)", "us", runs, "cpu_us_worker-cpu", beside="dramatiq"),
        figure("- CPU a job, Redis (beside: dramatiq)", "us", runs, "cpu_us_redis", beside="dramatiq"),
        figure("drain (beside: taskiq)", "1/s", runs, "per_s", beside="taskiq"),
    ]


def _run(side: Side, count: int) -> dict[str, float]:
    worker = side.start_worker(SLOTS)
    time.sleep(REST_S)
    before = side.ended()
    with side.held(worker) as went_on:
        side.fill(count)
        assert side.ended() == before, "a stopped worker ended jobs"
        spent = side.cpu_s()
    ended_at, done = _last_end(side, before + count)
    assert done == before + count or not isinstance(side, Backlot | Naive), f"{before + count - done} jobs did not end"
    told = {"per_s": (done - before) / (ended_at - went_on[0]), **cpu_us(spent, side.cpu_s(), count)}
    if done < before + count:
        told["not_ended"] = before + count - done
    if isinstance(side, Backlot):
        assert side.succeeded() == before + count, "not every job succeeded"
        until(side.recorded, 60 + count / 50, "the whole journal is in the bucket")
        told |= {"recorded_s": time.perf_counter() - ended_at, "left_in_redis": side.left_in_redis()}
        assert side.records() == before + count, "not every job has its job.json"
    return told


def _last_end(side: Side, wanted: int) -> tuple[float, int]:
    """The moment of the last end, and how many have ended: all, or those that had when none did for STALLED_S."""
    done, moment = side.ended(), time.perf_counter()
    while done < wanted and time.perf_counter() < moment + STALLED_S:
        time.sleep(0.01)
        if (now := side.ended()) > done:
            done, moment = now, time.perf_counter()
    return moment, done
