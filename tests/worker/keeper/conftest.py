"""A Redis that comes back with an older memory."""

from collections.abc import Iterator

import pytest
import redis

from tasks.ledger import keys


@pytest.fixture
def memory(settings) -> Iterator:
    """memory() remembers Redis as it is now, and gives what brings it back: an older memory."""
    raw = redis.Redis.from_url(settings.redis_url.get_secret_value())  # a dump is no text

    def remember():
        kept = {key: raw.dump(key) for key in raw.keys("*")}

        def bring_back() -> None:
            raw.flushdb()
            for key, value in kept.items():
                raw.restore(key, 0, value)
            raw.set(keys.EPOCH, "of the start before")

        return bring_back

    yield remember
    raw.close()
