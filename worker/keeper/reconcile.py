"""Reconciles Redis with the bucket: ended jobs that only the bucket knows, bytes stored by each tenant, stray folders.

The bucket is listed once a day, and after Redis has lost something, a little in every round. Ended jobs without a
record are noted by the end of their retention, tombstones by theirs. A folder of an attempt that leads nowhere is
trash. The scripts count what is committed or named by a job; this duty counts what they missed. Objects that are
neither a job's nor an upload's, a job whose job.json cannot be read, and logs, which go with their job, are left alone.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

from tasks.bucket.layout import LOGS, attempt_folder, job_json_key, job_prefix
from tasks.bucket.storage import Object, Storage
from tasks.errors import NotFound
from tasks.ids import now_ms
from tasks.job import Status
from tasks.ledger import Ledger, Record, keys
from tasks.service.archive import committed_folder
from tasks.service.intake import UPLOAD_KEPT_S
from worker.keeper.retention import TOMBSTONE_KEPT_MS
from worker.keeper.skipped import Skipped

OWNERS_A_ROUND = 200
"""Jobs and uploads of one round."""
STRAY_MS = 60_000
"""Delay until a stray folder is deleted: a worker that has lost its job may still write."""
EVERY_MS = 24 * 3600 * 1000
"""Time between two listings of the bucket."""
OWNER = re.compile(r"tenants/([^/]+)/(?:jobs/(?=job_)|uploads/(?=upload_))([^/]+)/")


class Reconciler:
    """The listing of one keeper. Errors of everything: RedisError, NotReady, StorageUnavailable."""

    def __init__(self, ledger: Ledger, storage: Storage, skipped: Skipped | None = None) -> None:
        self.ledger, self.redis, self.storage = ledger, ledger.redis, storage
        self.skipped = skipped or Skipped("reconcile")
        self._left: Iterator[list[Object] | None] | None = None  # the rest of the listing; None ends it
        self._since: list[str | None] = []

    def reconcile(self) -> None:
        """Reconcile the next OWNERS_A_ROUND jobs and uploads, where a listing is due.

        The listing starts again where Redis has lost something since it began: its notes are lost too.
        """
        (asked,) = self.ledger.snapshot(lambda together: together.mget(keys.STOCK, keys.STOCK_TAKEN))
        if asked != self._since:
            self._left = None
        if self._left is None and _is_due(*asked):
            self._left, self._since = itertools.chain(_by_owner(self.storage.list("tenants/")), [None]), asked
        try:
            for seen in itertools.islice(self._left or (), OWNERS_A_ROUND):
                if seen:
                    self.skipped.handle(seen[0].key, partial(self._reconcile_one, seen))
                else:
                    self.ledger.write(("SET", keys.STOCK_TAKEN, now_ms()), ("DEL", keys.STOCK))
                    self._left = None
        except Exception:
            self._left = None  # a listing that broke off has no rest: from its beginning again
            raise

    def _reconcile_one(self, seen: list[Object]) -> None:
        """Reconcile all objects of one upload or one job. Errors: ValueError where they are of neither."""
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
        if folders := {rest[0] for rest in rests if len(rest) > 1 and rest[0] != LOGS}:
            self._trash_strays(tenant, name, folders)

    def _trash_strays(self, tenant: str, job_id: str, folders: set[str]) -> None:
        """Trash folders of attempts that lead nowhere: a Redis that lost its memory has forgotten that they are."""
        (record,) = self.ledger.snapshot(lambda together: together.hgetall(keys.job(job_id)))
        if record:
            stray = folders - _in_use(record)
        elif len(folders) > 1:  # one alone is taken for the committed: a look at each job.json would take long
            stray = folders - self._committed(tenant, job_id, folders)
        else:
            stray = set()
        for one in stray:
            self.redis.zadd(keys.TRASH, {f"{job_prefix(tenant, job_id)}{one}/": now_ms() + STRAY_MS}, nx=True)

    def _committed(self, tenant: str, job_id: str, folders: set[str]) -> set[str]:
        """The committed folder of a job that only the bucket knows; all folders where job.json does not say."""
        try:
            found = json.loads(self.storage.get_bytes(job_json_key(tenant, job_id)))
        except NotFound:
            return folders
        if "erased_at" in found or ("folder" not in found and found["outputs"]):
            return folders
        return {found.get("folder")}

    def _note(self, tenant: str, job_id: str, key: str) -> None:
        """Note an ended job. Its job.json is read where Redis does not know what it says."""
        member = f"{tenant}/{job_id}"
        with self.redis.pipeline(transaction=False) as together:
            together.hmget(keys.job(job_id), "status", "shrunk", "outputs", "cached_from")
            together.hexists(keys.stored(tenant), job_id)
            together.zscore(keys.ARCHIVED, member)
            together.zscore(keys.TOMBSTONES, member)
            (status, shrunk, outputs, cached_from), counted, archived, tombstone = together.execute()
        if tombstone or (counted and (status or archived)) or (archived and not status):
            return
        if status and cached_from:
            return  # its outputs are another's, which counts them
        if status and not (shrunk and outputs is None):
            self.ledger.count(tenant, job_id, _bytes(json.loads(outputs or "[]")))
            return
        try:
            found = json.loads(self.storage.get_bytes(key))
        except NotFound:
            return
        if "erased_at" in found:
            self.redis.zadd(keys.TOMBSTONES, {member: now_ms() + TOMBSTONE_KEPT_MS}, nx=True)
            return
        self.ledger.count(tenant, found.get("cached_from") or job_id, _bytes(found["outputs"]))
        if not status:
            self._list_outputs(tenant, job_id, found)
            until = datetime.fromisoformat(found["retained_until"]).timestamp() * 1000
            self.redis.zadd(keys.ARCHIVED, {member: until})

    def _list_outputs(self, tenant: str, job_id: str, found: dict[str, Any]) -> None:
        """Note that an ended job lists another's outputs."""
        owner, folder = found.get("cached_from"), found.get("folder")
        if owner and folder:
            self.ledger.write(
                ("SADD", keys.cited(tenant, owner), job_id), ("HSET", keys.citing(tenant), job_id, f"{owner}/{folder}")
            )


def _in_use(record: Record) -> set[str | None]:
    """The folders that a record needs: of its outputs, of the committed and the running attempt, of checkpoints."""
    used = {output["key"].split("/")[4] for output in json.loads(record.get("outputs") or "[]")}
    used.add(committed_folder(record))
    if "token" in record:
        used.add(attempt_folder(int(record["starts"]), record["token"]))
    if not Status(record["status"]).final:
        used.add("checkpoints")
    return used


def _is_due(asked: str | None, taken: str | None) -> bool:
    try:
        return asked is not None or float(taken or 0) + EVERY_MS < now_ms()
    except ValueError:
        return True


def _by_owner(objects: Iterable[Object]) -> Iterator[list[Object]]:
    """The objects of one upload or one job together: keys come in order."""
    for _, some in itertools.groupby(objects, key=lambda seen: seen.key.split("/")[:4]):
        yield list(some)


def _bytes(outputs: list[dict[str, Any]]) -> int:
    return sum(output["bytes"] for output in outputs)
