"""How long a lone job waits on an idle worker: from just before its submit to the first line of its code.

One job at a time, each after the one before has ended: soon after, so that a slot of Backlot still lingers, and after
a rest, when it is back in Celery and must be rung for.
"""

import random
import time

from tests.bench.figures import Figure, Target, figure, in_turns
from tests.bench.plan import Plan
from tests.bench.sides import Service
from tests.stack import until

COUNT, QUICK_COUNT = 300, 20
RESTED, QUICK_RESTED = 8, 1
"""Jobs after a rest."""
SLOTS = 2
GAP_S = (0.005, 0.025)
REST_S = 1.3


def measure(plan: Plan) -> list[Figure]:
    count, rested = plan.size(COUNT, QUICK_COUNT), plan.size(RESTED, QUICK_RESTED)
    plan.say(f"pickup: {count} jobs one at a time, {rested} after {REST_S} s of rest")
    runs = in_turns(plan.pairs, lambda side: _run(side, count, rested), plan.say)
    return [
        figure("pickup, one job at a time, p50", "ms", runs, "p50_ms", Target(0.5)),
        figure("- p99", "ms", runs, "p99_ms"),
        figure(f"- after {REST_S} s of rest, p50", "ms", runs, "rested_p50_ms", Target(1)),
    ]


def _run(side: Service, count: int, rested: int) -> dict[str, float]:
    side.start_worker(SLOTS)
    soon = sorted(_pickup_ms(side, random.uniform(*GAP_S)) for _ in range(count))
    late = sorted(_pickup_ms(side, REST_S) for _ in range(rested))
    return {"p50_ms": soon[count // 2], "p99_ms": soon[int(count * 0.99)], "rested_p50_ms": late[rested // 2]}


def _pickup_ms(side: Service, rest_s: float) -> float:
    time.sleep(rest_s)
    submitted = time.time_ns()
    job = side.submit()
    until(lambda: side.started_ns(job), 30, "the job has run")
    return (side.started_ns(job) - submitted) / 1e6
