"""Ended jobs that only the bucket knows: their retention ends too, and their tombstones go after a month.

After Redis was lost whole nothing in it says which jobs have ended and until when they are kept; the bucket is then
looked through once, a little in every round.
"""

import itertools
import json
import time
from collections.abc import Iterator
from datetime import datetime

import redis

from tasks.archive import Tombstone
from tasks.ledger import keys
from tasks.storage import Object, Storage, job_json_key, job_prefix

A_FEW = 200
TOMBSTONE_MS = 30 * 24 * 3600 * 1000


class Stock:
    """One keeper's. Errors of everything: RedisError, StorageUnavailable."""

    def __init__(self, client: redis.Redis, storage: Storage) -> None:
        self.redis, self.storage = client, storage
        self._left: Iterator[Object] | None = None

    def round(self) -> None:
        self.take_stock()
        for tenant, job_id in self._until_now(keys.ARCHIVED):
            self.redis.zadd(keys.TRASH, {job_prefix(tenant, job_id): _now_ms()})
        for tenant, job_id in self._until_now(keys.TOMBSTONES):
            self.storage.delete_prefix(job_prefix(tenant, job_id))

    def bury(self, prefix: str) -> None:
        """A tombstone, where the prefix that was emptied is a whole job's."""
        _, tenant, what, job_id, *rest = prefix.split("/")
        if what == "jobs" and rest == [""]:
            self.storage.put_bytes(job_json_key(tenant, job_id), Tombstone.of(job_id), "application/json")
            self.redis.zadd(keys.TOMBSTONES, {f"{tenant}/{job_id}": _now_ms() + TOMBSTONE_MS})

    def take_stock(self) -> None:
        """A part of the bucket, if it is to be looked through."""
        if self._left is None and self.redis.exists(keys.STOCK):
            self._left = self.storage.list("tenants/")
        if self._left is None:
            return
        part = list(itertools.islice(self._left, A_FEW))
        for seen in part:
            if seen.key.endswith("/job.json"):
                self._note(seen)
        if len(part) < A_FEW:
            self._left = None
            self.redis.delete(keys.STOCK)

    def _note(self, seen: Object) -> None:
        _, tenant, _, job_id, _ = seen.key.split("/")
        if self.redis.exists(keys.job(job_id)):
            return
        found = json.loads(self.storage.get_bytes(seen.key))
        if "erased_at" in found:
            self.redis.zadd(keys.TOMBSTONES, {f"{tenant}/{job_id}": _now_ms() + TOMBSTONE_MS}, nx=True)
        else:
            until = datetime.fromisoformat(found["retained_until"]).timestamp() * 1000
            self.redis.zadd(keys.ARCHIVED, {f"{tenant}/{job_id}": until})

    def _until_now(self, key: str) -> Iterator[tuple[str, str]]:
        """Tenant and id of what is due; each leaves the list once its duty is done."""
        for member in self.redis.zrangebyscore(key, "-inf", _now_ms(), start=0, num=A_FEW):
            tenant, _, job_id = member.partition("/")
            yield tenant, job_id
            self.redis.zrem(key, member)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
