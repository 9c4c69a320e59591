"""The jobs of the benchmark: one small request, and ways to put many of it into the ledger."""

import json

from tasks.job import Fixed, new_id
from tasks.ledger import Ledger, connect

TENANTS = 50
PIPELINE = 500
PATIENT_S = 30
"""How long Redis may take over a pipeline, or stand still while it rewrites its log."""
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


class Piped(Ledger):
    """Its submits queue their scripts on a pipeline; the answers come when that is executed."""

    def _ask(self, verbs, texts, independent):
        super()._ask(verbs, texts, independent)
        return [(0, [1, "", 0, 0, 0])]  # accepted, as `fill` looks up afterwards


def fill(ledger: Ledger, count: int, pool: str = "cpu", tenants: int = TENANTS) -> None:
    """So many waiting jobs, by pipelined `submit` scripts; each answer is looked at."""
    client = connect(ledger.settings, read_timeout_s=PATIENT_S)
    for start in range(0, count, PIPELINE):
        with client.pipeline(transaction=False) as pipeline:
            piped = Piped(ledger.settings, pipeline)
            for number in range(start, min(start + PIPELINE, count)):
                piped.submit(fixed(number, pool, tenants))
            answers = pipeline.execute()
        assert all(answer[0] == 1 for ((_, answer),) in answers), answers[:3]
    client.close()
