"""No-op jobs with dramatiq and Redis, as its guide begins: default settings, which keep no results.

Dramatiq is under the LGPL: only the benchmark imports it (docs/decisions.md).
"""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker


def actor_at(url: str) -> dramatiq.Actor:
    """The job, of the broker at this URL."""
    broker = RedisBroker(url=url)
    dramatiq.set_broker(broker)
    return dramatiq.actor(noop, broker=broker)


def noop(prompt: str) -> None:
    """The job."""


if "PEER_REDIS_URL" in os.environ:  # a worker's process
    actor_at(os.environ["PEER_REDIS_URL"])
