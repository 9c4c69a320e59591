"""What the bucket knows better than Redis: ended jobs without a record, and how much each tenant has there.

The bucket is looked through once a day, and after Redis has lost something, a little in every round. Ended jobs that
only it knows are listed by the end of their retention, and tombstones by theirs; what attempts left that nobody knows
any more is trash. What is committed, or named by a job, the scripts have counted already; here is counted what they
missed. Objects that are neither a job's nor an upload's, and a job whose job.json cannot be read, are left alone.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime

from tasks.bucket.layout import attempt_folder, job_json_key, job_prefix
from tasks.bucket.storage import Object, Storage
from tasks.errors import NotFound
from tasks.job import Status, now_ms
from tasks.ledger import Ledger, keys
from tasks.service.archive import committed_folder
from tasks.service.intake import UPLOAD_KEPT_S
from worker.keeper.skipped import Skipped

A_FEW = 200
STRAY_MS = 60_000
"""A worker that has lost its job may be writing yet."""
TOMBSTONE_MS = 30 * 24 * 3600 * 1000
EVERY_MS = 24 * 3600 * 1000
OWNER = re.compile(r"tenants/([^/]+)/(?:jobs/(?=job_)|uploads/(?=upload_))([^/]+)/")


class Stock:
    """One keeper's. Errors of everything: RedisError, NotReady, StorageUnavailable."""

    def __init__(self, ledger: Ledger, storage: Storage, skipped: Skipped | None = None) -> None:
        self.ledger, self.redis, self.storage = ledger, ledger.redis, storage
        self.skipped = skipped or Skipped("stock")
        self._left: Iterator[list[Object] | None] | None = None
        self._since: list[str | None] = []

    def take_stock(self) -> None:
        """A part of the bucket, if it is to be looked through. What this Redis was told is lost where it has lost
        something since the look began: then from the beginning."""
        (asked,) = self.ledger.at_once(lambda together: together.mget(keys.STOCK, keys.STOCK_TAKEN))
        if asked != self._since:
            self._left = None
        if self._left is None and _is_due(*asked):
            self._left, self._since = itertools.chain(_by_owner(self.storage.list("tenants/")), [None]), asked
        try:
            for seen in itertools.islice(self._left or (), A_FEW):
                if seen:
                    self.skipped.handle(seen[0].key, lambda seen=seen: self._look_at(seen))
                else:
                    self.ledger.write(("SET", keys.STOCK_TAKEN, now_ms()), ("DEL", keys.STOCK))
                    self._left = None
        except Exception:
            self._left = None  # a listing that broke off has no rest: from its beginning again
            raise

    def _look_at(self, seen: list[Object]) -> None:
        """All objects of an upload or of a job. Errors: ValueError where they are of neither."""
        placed = OWNER.match(seen[0].key)
        if placed is None:
            raise ValueError("neither a job's nor an upload's")
        tenant, name = placed.groups()
        if name.startswith("upload_"):
            self.redis.zadd(keys.UPLOADS, {f"{tenant}/{name}": now_ms() + UPLOAD_KEPT_S * 1000}, nx=True)
            if self.storage.head(seen[-1].key):  # it may have gone since it was listed
                self.ledger.count(tenant, name, sum(one.bytes for one in seen))
            return
        rests = [one.key.split("/")[4:] for one in seen]
        if ["job.json"] in rests:
            self._note(tenant, name, job_json_key(tenant, name))
        if folders := {rest[0] for rest in rests if len(rest) > 1}:
            self._clear(tenant, name, folders)

    def _clear(self, tenant: str, job_id: str, folders: set[str]) -> None:
        """Attempts' folders that lead nowhere are trash: a Redis that lost its memory has forgotten that they are."""
        (record,) = self.ledger.at_once(lambda together: together.hgetall(keys.job(job_id)))
        if record:
            listed = {output["key"].split("/")[4] for output in json.loads(record.get("outputs") or "[]")}
            stray = folders - listed - {committed_folder(record)}
            if "token" in record:
                stray.discard(attempt_folder(int(record["starts"]), record["token"]))
            if not Status(record["status"]).final:
                stray.discard("checkpoints")
        elif len(folders) > 1:  # one alone is taken for the committed: a look at each job.json would take long
            stray = folders - self._kept(tenant, job_id, folders)
        else:
            stray = set()
        for one in stray:
            self.redis.zadd(keys.TRASH, {f"{job_prefix(tenant, job_id)}{one}/": now_ms() + STRAY_MS}, nx=True)

    def _kept(self, tenant: str, job_id: str, folders: set[str]) -> set[str]:
        """Of a job that only the bucket knows; all of them where it does not say."""
        try:
            found = json.loads(self.storage.get_bytes(job_json_key(tenant, job_id)))
        except NotFound:
            return folders
        if "erased_at" in found or ("folder" not in found and found["outputs"]):
            return folders
        return {found.get("folder")}

    def _note(self, tenant: str, job_id: str, key: str) -> None:
        """An ended job. job.json is read where Redis does not know what it says."""
        member = f"{tenant}/{job_id}"
        with self.redis.pipeline(transaction=False) as together:
            together.hmget(keys.job(job_id), "status", "shrunk", "outputs")
            together.hexists(keys.stored(tenant), job_id)
            together.zscore(keys.ARCHIVED, member).zscore(keys.TOMBSTONES, member)
            (status, shrunk, outputs), counted, archived, tombstone = together.execute()
        if tombstone or (counted and (status or archived)) or (archived and not status):
            return
        if status and not (shrunk and outputs is None):
            self.ledger.count(tenant, job_id, _bytes(json.loads(outputs or "[]")))
            return
        try:
            found = json.loads(self.storage.get_bytes(key))
        except NotFound:
            return
        if "erased_at" in found:
            self.redis.zadd(keys.TOMBSTONES, {member: now_ms() + TOMBSTONE_MS}, nx=True)
            return
        self.ledger.count(tenant, job_id, _bytes(found["outputs"]))
        if not status:
            until = datetime.fromisoformat(found["retained_until"]).timestamp() * 1000
            self.redis.zadd(keys.ARCHIVED, {member: until})


def _is_due(asked: str | None, taken: str | None) -> bool:
    try:
        return asked is not None or float(taken or 0) + EVERY_MS < now_ms()
    except ValueError:
        return True


def _by_owner(objects: Iterable[Object]) -> Iterator[list[Object]]:
    """Those of one upload or of one job together: keys come in order."""
    for _, some in itertools.groupby(objects, key=lambda seen: seen.key.split("/")[:4]):
        yield list(some)


def _bytes(outputs: list[dict]) -> int:
    return sum(output["bytes"] for output in outputs)
