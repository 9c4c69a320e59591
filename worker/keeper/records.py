"""An hour after its end an ended job's record shrinks: what is large of it is told by its job.json from then on.

Small fields stay, so that lists, tokens, retention and retries need no bucket. The request of a job that did not
succeed stays whole: a person may yet retry it.
"""

import json
import time

from tasks.bucket.layout import job_json_key
from tasks.bucket.storage import Storage
from tasks.job import Fixed, Status, now_ms
from tasks.ledger import Ledger, Record, keys
from worker.keeper.skipped import Skipped

WHOLE_S = 3600
"""A record stays whole for so long after the end."""
LARGE = 1024
"""Characters of a field that is large."""
FIELDS, PARTS = ("result", "outputs"), ("input", "params", "metadata")
AGAIN_S, A_FEW = 60, 200
"""When one is looked at again whose job.json is not there yet, and records that one look at Redis gets."""


class Records:
    """One keeper's. Two may do the same at the same time."""

    def __init__(self, ledger: Ledger, storage: Storage, skipped: Skipped | None = None) -> None:
        self.ledger, self.storage, self.skipped = ledger, storage, skipped or Skipped("records")

    def shrink(self, for_s: float) -> int:
        """Those that are due, for so many seconds; how many. Errors: NotReady, StorageUnavailable."""
        until, over = time.monotonic() + for_s, self._now_ms() - WHOLE_S * 1000
        due = self.ledger.redis.zrangebyscore(keys.WHOLE, "-inf", over, start=0, num=A_FEW)
        for done, job_id in enumerate(due):
            if time.monotonic() > until:
                return done
            again_ms = self.skipped.handle(job_id, lambda job_id=job_id: self._shrink(job_id, over))
            if again_ms:
                self.ledger.redis.zadd(keys.WHOLE, {job_id: over + again_ms}, xx=True)
        return len(due)

    def _shrink(self, job_id: str, over: float) -> None:
        record = self.ledger.record(job_id)
        if not record:
            self.ledger.redis.zrem(keys.WHOLE, job_id)
            return
        large = [name for name in FIELDS if len(record.get(name, "")) > LARGE]
        small = _small(record)
        if (large or small) and self.storage.head(job_json_key(record["tenant"], job_id)) is None:
            self.ledger.redis.zadd(keys.WHOLE, {job_id: over + AGAIN_S * 1000}, xx=True)
        else:
            self.ledger.shrink(job_id, small, large)

    def _now_ms(self) -> float:
        return self.ledger.clock() or now_ms()


def _small(record: Record) -> Fixed | None:
    """What never changes, without what is large of it; None where nothing is, or it may be needed whole."""
    if record["status"] != Status.SUCCEEDED or len(record["fixed"]) <= LARGE:
        return None
    fixed = Fixed.model_validate_json(record["fixed"])
    large = {name: {} for name in PARTS if len(json.dumps(getattr(fixed, name))) > LARGE}
    return fixed.model_copy(update={**large, "shrunk": True}) if large else None
