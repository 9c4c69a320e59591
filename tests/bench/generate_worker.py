"""The same calls through a real worker: Redis, S3, keeper and one gpu worker of 32 threads, on this machine.

Jobs one at a time, each submitted when the one before has ended; then 32 at once.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tasks.job import Job
from tasks.request import parse
from tasks.service.jobs import Jobs
from tests.stack import RedisServer, S3Server, Stack, make_settings, make_storage, until

TENANT, MODEL, TOGETHER, ALONE, TOKENS = "bench", "stories", 32, 4, 64
ENDS_S = 300


def table(prompts: Sequence[str]) -> list[str]:
    """Rows for GENERATE.md."""
    with tempfile.TemporaryDirectory(prefix="backlot-bench-") as folder:
        redis, s3 = RedisServer(Path(folder)), S3Server(Path(folder))
        try:
            settings = make_settings(redis.url(), s3, "bench", Path(folder), gpu_slots=TOGETHER, bells=TOGETHER)
            make_storage(settings)
            stack = Stack(settings, Path(folder))
            with stack.keeper(), stack.worker("gpu"):
                return measured(Jobs.of(settings), prompts)
        finally:
            redis.stop()
            s3.stop()


def measured(jobs: Jobs, prompts: Sequence[str]) -> list[str]:
    def submit(seed: int) -> str:
        asked = {
            "kind": "generate",
            "model": MODEL,
            "input": {"prompt": prompts[seed % len(prompts)]},
            "params": {"seed": seed, "max_tokens": TOKENS},
        }
        return jobs.submit(TENANT, parse(json.dumps(asked))).job.id

    def ended(ids: Sequence[str]) -> list[Job]:
        until(lambda: all(jobs.get(TENANT, job).done for job in ids), ENDS_S, "the jobs have ended")
        return [jobs.get(TENANT, job) for job in ids]

    ended([submit(0)])  # loads the model
    start = time.perf_counter()
    alone = [ended([submit(seed)])[0] for seed in range(ALONE)]
    middle = time.perf_counter()
    together = ended([submit(seed) for seed in range(TOGETHER)])
    slow, fast = tokens(alone) / (middle - start), tokens(together) / (time.perf_counter() - middle)
    same = sum(a.result["text"] == b.result["text"] for a, b in zip(alone, together, strict=False))
    return [
        "| through a worker | one at a time, tokens/s | 32 at once, tokens/s | times | same texts |",
        "|---|---|---|---|---|",
        f"| {MODEL} | {slow:.0f} | {fast:.0f} | {fast / slow:.1f} | {same} of {ALONE} |",
    ]


def tokens(ended: Sequence[Job]) -> int:
    return sum(job.result["usage"]["completion_tokens"] for job in ended)
