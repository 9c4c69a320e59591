"""No-op jobs with taskiq and Redis, as the readme of taskiq-redis begins: a stream, acknowledgements, and results."""

import os
import time

from taskiq import AsyncBroker
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker


async def noop(prompt: str) -> str:
    """The job: answers when it started, ns since 1970, as naive.py's does."""
    return str(time.time_ns())


def broker_at(url: str) -> AsyncBroker:
    """The broker at the Redis of this URL (without a database), its results in database 1, with its one job."""
    broker = RedisStreamBroker(url=f"{url}/0").with_result_backend(RedisAsyncResultBackend(redis_url=f"{url}/1"))
    broker.register_task(noop, task_name="noop")
    return broker


broker = broker_at(os.environ.get("PEER_REDIS_URL", "redis://127.0.0.1:6379"))
