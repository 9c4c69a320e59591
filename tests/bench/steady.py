"""python -m tests.bench.steady RATE SECONDS: submits no-op jobs at a steady rate, claims and commits each at once.

One process in place of API and workers, so that the keeper is what is measured. It prints JSON: the jobs, and the
seconds they took; a machine that is too slow for the rate takes longer.
"""

import json
import sys
import time

from tasks.ledger import Ledger, Worker
from tasks.settings import Settings
from tests.bench.work import fill, fixed

TICK_S = 0.05
"""Seconds between two batches of jobs."""
WORKER = Worker("bench", "cpu", [fixed(0).queue], [fixed(0).line])
RESULT = {"text": "Once upon a midnight dreary, while I pondered", "finish_reason": "stop"}


def run(ledger: Ledger, rate: float, seconds: float) -> dict[str, float]:
    """Jobs come by the clock, so that a late batch is a larger one."""
    start, done, count = time.perf_counter(), 0, round(rate * seconds)
    while done < count:
        due = min(count, int((time.perf_counter() - start) * rate)) - done
        if due:
            fill(ledger, due)
            for _ in range(due):
                end_one(ledger)
            done += due
        time.sleep(TICK_S if due < rate * TICK_S * 2 else 0)
    return {"jobs": done, "seconds": time.perf_counter() - start}


def end_one(ledger: Ledger) -> None:
    """Claim the next waiting job and commit it."""
    token = f"{time.time_ns():032x}"  # tokens of one slot ascend
    claimed = ledger.claim(WORKER, "bench:0", token)
    ended = ledger.commit(claimed.fixed.id, token, RESULT, [], {"run_s": 0.1})
    assert ended == "succeeded", ended


if __name__ == "__main__":
    print(json.dumps(run(Ledger(Settings()), *map(float, sys.argv[1:]))))
