"""Shrinks the record of an ended job an hour after its end: large fields go, as its job.json has them.

Small fields stay, so that lists, tokens, retention and retries need no bucket. The request of a job that did not
succeed stays whole: a person may still retry it. A result that may answer others (`cache`) stays too.
"""

import json
import time
from functools import partial

from tasks.bucket.layout import job_json_key
from tasks.bucket.storage import Storage
from tasks.ids import now_ms
from tasks.job import Fixed, Status
from tasks.ledger import Ledger, Record, keys
from worker.keeper.replies import texts
from worker.keeper.skipped import Skipped

WHOLE_S = 3600
"""Seconds after the end for which a record stays whole."""
LARGE_CHARACTERS = 1024
"""A field of more characters is large."""
FIELDS = ("result", "outputs")
"""Fields of a record that may be large."""
PARTS = ("input", "params", "metadata")
"""Parts of a request that may be large."""
RETRY_MS = 60_000
"""Delay until a record is looked at again whose job.json is not written yet."""
RECORDS_A_ROUND = 200


class Records:
    """The records of one keeper's Redis. Two keepers may shrink the same record."""

    def __init__(self, ledger: Ledger, storage: Storage, skipped: Skipped | None = None) -> None:
        self.ledger, self.storage, self.skipped = ledger, storage, skipped or Skipped("records")

    def shrink(self, for_s: float) -> int:
        """Shrink due records for `for_s` seconds. Returns their number. Errors: NotReady, StorageUnavailable."""
        until, over = time.monotonic() + for_s, self._now_ms() - WHOLE_S * 1000
        due = texts(self.ledger.redis.zrangebyscore(keys.WHOLE, "-inf", over, start=0, num=RECORDS_A_ROUND))
        for done, job_id in enumerate(due):
            if time.monotonic() > until:
                return done
            retry_ms = self.skipped.handle(job_id, partial(self._shrink, job_id, over))
            if retry_ms:
                self.ledger.redis.zadd(keys.WHOLE, {job_id: over + retry_ms}, xx=True)
        return len(due)

    def _shrink(self, job_id: str, over: float) -> None:
        record = self.ledger.record(job_id)
        if not record:
            self.ledger.redis.zrem(keys.WHOLE, job_id)
            return
        is_kept = self.ledger.is_citable(record, job_id)
        large = [] if is_kept else [name for name in FIELDS if len(record.get(name, "")) > LARGE_CHARACTERS]
        small = _small(record)
        if (large or small) and self.storage.head(job_json_key(record["tenant"], job_id)) is None:
            self.ledger.redis.zadd(keys.WHOLE, {job_id: over + RETRY_MS}, xx=True)
        else:
            self.ledger.shrink(job_id, small, large)

    def _now_ms(self) -> float:
        return self.ledger.clock() or now_ms()


def _small(record: Record) -> Fixed | None:
    """The request without its large parts; None where it has none, or may be needed whole."""
    if record["status"] != Status.SUCCEEDED or len(record["fixed"]) <= LARGE_CHARACTERS:
        return None
    fixed = Fixed.model_validate_json(record["fixed"])
    emptied: dict[str, object] = {
        name: {} for name in PARTS if len(json.dumps(getattr(fixed, name))) > LARGE_CHARACTERS
    }
    return fixed.model_copy(update={**emptied, "shrunk": True}) if emptied else None
