"""How many submits a second the API takes, and how long each is under way: nobody working, and workers draining.

A run whose keep-alive connections all went to one process of the API says nothing of the code, and is run again.
"""

from tests.bench.figures import Figure, Target, cpu_figures, cpu_us, figure, in_turns
from tests.bench.load import WARM_UP
from tests.bench.plan import Plan
from tests.bench.sides import Service

CONNECTIONS = 32
LEAST_SHARE = 0.2
TRIES = 3
COUNT, QUICK_COUNT = 5000, 300


def measure(plan: Plan) -> list[Figure]:
    """POSTs over 32 connections."""
    figures, count = [], plan.size(COUNT, QUICK_COUNT)
    for case, slots in (("workers stopped", 0), ("2 workers draining", 2)):
        plan.say(f"submit, {case}: {count:,} POSTs over {CONNECTIONS} connections")
        runs = in_turns(plan.pairs, lambda side, slots=slots: _run(side, count, slots), plan.say)
        figures += [
            figure(f"submit, {case}", "1/s", runs, "per_s", Target(2, at_least=True), Target(2.5, at_least=True)),
            figure("- p50", "ms", runs, "p50_ms"),
            figure("- p99", "ms", runs, "p99_ms", Target(0.6), Target(0.4)),
            figure("- share of the idler process of the API", "", runs, "least_share", compared=False),
        ]
        figures += cpu_figures(runs, {"api": "API", "redis": "Redis"})
        if slots:
            figures.append(figure("- jobs left waiting at the end", "", runs, "left", compared=False))
    return figures


def _run(side: Service, count: int, slots: int) -> dict[str, float]:
    if slots:
        side.start_worker(slots)
    for _ in range(TRIES):
        api = side.start_api()
        before, spent, sent = side.ended(), side.cpu_s(), count + WARM_UP * CONNECTIONS
        told = side.load(api, count, CONNECTIONS)
        told |= cpu_us(spent, side.cpu_s(), sent)
        if slots:
            told["left"] = sent - (side.ended() - before)
        api.stop()
        if told["least_share"] >= LEAST_SHARE:
            return told
    raise RuntimeError(f"one process of the API had {1 - told['least_share']:.0%} of the work in each of {TRIES} runs")
