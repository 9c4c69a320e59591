"""The jobs of the benchmark: one small request, and ways to put many of it into the ledger."""

import json

from tasks.ids import new_id
from tasks.job import Fixed
from tasks.ledger import Ledger
from tasks.ledger.shapes import Submitted

TENANTS = 50
JOBS_AT_ONCE = 500
PATIENT_S = 30
"""How long Redis may stand still while it rewrites its log."""
INPUT, PARAMS = {"prompt": "Once upon a midnight dreary, while I pondered"}, {"max_tokens": 64, "temperature": 0.7}
METADATA = {"order": "A-1017", "customer": "c-20260731"}
BODY = json.dumps({"kind": "generate", "input": INPUT, "params": PARAMS, "metadata": METADATA})


def fixed(number: int, pool: str = "cpu", tenants: int = TENANTS) -> Fixed:
    """The request of BODY as the API records it, of one of so many tenants."""
    return Fixed(
        id=new_id("job"),
        tenant=f"tenant-{number % tenants}",
        kind="generate",
        model=f"{pool}-noop",
        pool=pool,
        input=INPUT,
        params=PARAMS,
        metadata=METADATA,
        queue_ttl_s=86_400,
        run_timeout_s=900,
        retention_s=7 * 86_400,
        max_attempts=3,
    )


def fill(ledger: Ledger, count: int, pool: str = "cpu", tenants: int = TENANTS) -> None:
    """So many waiting jobs, by lists of submits, many a trip; each outcome is looked at."""
    filling = Ledger(ledger.settings, read_timeout_s=PATIENT_S)
    for start in range(0, count, JOBS_AT_ONCE):
        jobs = [fixed(number, pool, tenants) for number in range(start, min(start + JOBS_AT_ONCE, count))]
        outcomes = filling.submit_many([(job, filling.submit_call(job)) for job in jobs])
        assert all(isinstance(outcome, Submitted) for outcome in outcomes), outcomes[:3]
    filling.redis.close()
