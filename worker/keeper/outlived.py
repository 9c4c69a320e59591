"""Ends the jobs that an older memory of Redis holds as living, though their job.json says that they ended.

Compaction drops the end of a job from the journal once its job.json is written, so that segments alone do not tell.
It knows records and job.json; not when a memory is old, nor the journal.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice

from tasks.bucket.layout import job_json_key
from tasks.bucket.storage import ObjectRefused, Storage
from tasks.errors import NotFound
from tasks.ids import now_ms
from tasks.job import Fixed
from tasks.ledger import Ledger, Record, keys
from tasks.service.archive import Ended
from worker.keeper.skipped import Skipped

GET_THREADS = 32
"""Threads that ask the bucket for job.json."""
JOBS_A_LOOK = 200
"""Records read from Redis at once, and job.json held in memory at once."""
OF_ATTEMPTS = {"id", "token", "phase", "phase_ms", "batching", "retry_ms", "checkpoint", "message", "progress", "waits"}
"""Fields of a living record that are not carried over; its attempts and their tokens are not either."""
DAMAGE = (ValueError, KeyError, TypeError, OverflowError, RecursionError)


def conclude(ledger: Ledger, storage: Storage, token: str, skipped: Skipped) -> int:
    """Conclude each living job whose job.json exists; returns their number. `token` fences the writes.

    An erased job ends as canceled and past its retention, so that the keeper forgets it.
    Errors: NotReady, StorageUnavailable.
    """

    def ask(record: Record) -> bytes | None:
        key = job_json_key(record["tenant"], Fixed.model_validate_json(record["fixed"]).id)
        try:
            return storage.get_bytes(key)
        except NotFound:
            return None
        except ObjectRefused as error:
            skipped.add(key, error)
            return None

    done = 0
    with ThreadPoolExecutor(GET_THREADS) as pool:
        ids = _ids(ledger)
        while some := list(islice(ids, JOBS_A_LOOK)):
            living = _living(ledger, some)
            for job_id, job_json in zip(living, pool.map(_guarded(ask, skipped), living.values()), strict=True):
                if job_json is None:
                    continue
                try:
                    ended = _ended(living[job_id], job_json)
                except DAMAGE as error:
                    skipped.add(f"job.json of {job_id}", error)
                else:
                    done += ledger.conclude(job_id, ended, token)
    return done


def _ids(ledger: Ledger) -> Iterator[str]:
    prefix = keys.job("")
    return (key.removeprefix(prefix) for key in ledger.redis.scan_iter(match=prefix + "*", count=1000))


def _living(ledger: Ledger, ids: list[str]) -> dict[str, Record]:
    """The readable records among these that have not ended."""
    with ledger.redis.pipeline(transaction=False) as together:
        for job_id in ids:
            together.hgetall(keys.job(job_id))
        records = together.execute(raise_on_error=False)
    return {
        job_id: record
        for job_id, record in zip(ids, records, strict=True)
        if isinstance(record, dict) and "ended_ms" not in record and {"fixed", "tenant"} <= record.keys()
    }


def _guarded(ask: Callable[[Record], bytes | None], skipped: Skipped) -> Callable[[Record], bytes | None]:
    """A damaged record stops no other."""

    def asked(record: Record) -> bytes | None:
        try:
            return ask(record)
        except DAMAGE as error:
            skipped.add("a living record", error)
            return None

    return asked


def _ended(living: Record, job_json: bytes) -> Record:
    """The record of the job as it ended. Errors: DAMAGE."""
    kept = {name: value for name, value in living.items() if name not in OF_ATTEMPTS and name[:2] != "t:"}
    kept = {name: value for name, value in kept.items() if not name.startswith("attempt:")}
    content = json.loads(job_json)
    if "erased_at" in content:
        now = str(now_ms())
        return {**kept, "starts": "0", "status": "canceled", "ended_ms": now, "retained_ms": now}
    job = Ended.model_validate({**content, "tenant": living["tenant"]})
    if job.completed_at is None or job.retained_until is None:
        raise ValueError("a job.json without its end")
    record = {
        **kept,
        "status": job.status.value,
        "starts": str(max((attempt.number for attempt in job.attempts), default=0)),
        "ended_ms": _ms(job.completed_at),
        "retained_ms": _ms(job.retained_until),
        "outputs": json.dumps([output.model_dump(mode="json") for output in job.outputs]),
        "metrics": job.metrics.model_dump_json(exclude={"queued_s"}, exclude_none=True),
        "queued_ms": str(round((job.metrics.queued_s or 0) * 1000)),
    }
    if job.started_at:
        record["started_ms"] = _ms(job.started_at)
    if job.result is not None:
        record["result"] = json.dumps(job.result)
    if job.error:
        record["error"] = job.error.model_dump_json()
    if job.progress is not None:
        record["progress"] = str(job.progress)
    if job.message:
        record["message"] = job.message
    for attempt in job.attempts:
        entry = {
            "number": attempt.number,
            "worker": attempt.worker,
            "started_ms": int(_ms(attempt.started_at)),
            "ended_ms": int(_ms(attempt.ended_at)) if attempt.ended_at else None,
            "outcome": attempt.outcome,
            "error": attempt.error.model_dump(mode="json") if attempt.error else None,
        }
        record[f"attempt:{attempt.number}"] = json.dumps({k: v for k, v in entry.items() if v is not None})
    if job.folder:  # its name ends with the token's last characters, which is all that finds the outputs
        record["t:" + job.folder.partition("-")[2]] = "succeeded"
    return record


def _ms(at: datetime) -> str:
    return str(round(at.timestamp() * 1000))
