"""Ended jobs that Redis no longer knows, read from the bucket by their ids, and the tombstones of erased ones."""

import contextlib
import json
import time
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from tasks import text
from tasks.bucket.layout import attempt_folder, job_json_key, job_prefix
from tasks.bucket.storage import Storage
from tasks.errors import Gone, NotFound, StorageUnavailable
from tasks.job import Job, output_path
from tasks.ledger import Ledger, Record, keys
from tasks.ledger.faults import away


class Ended(Job):
    """The content of job.json. `folder`: that of the successful attempt's outputs; releases before 0.2 left it out."""

    folder: str | None = None

    @staticmethod
    def written(job: Job, record: Record) -> bytes:
        """job.json of a job that has ended, and its record. It leaves the folder out where a damaged record
        does not name it."""
        try:
            folder = {"folder": committed_folder(record)}
        except (KeyError, ValueError):
            folder = {}
        try:
            shown = job.model_dump_json()
        except ValueError:  # a lone surrogate, which json writes as it came
            shown = json.dumps(job.model_dump(mode="json"))
        return (json.dumps(folder)[:-1] + (", " if folder else "") + shown[1:]).encode()


def committed_folder(record: Record) -> str | None:
    """The folder of the successful attempt's outputs, of a cited job's where this one lists them; None where no
    attempt succeeded.

    Errors: KeyError, ValueError where the record is damaged.
    """
    if "cited" in record:
        return record["cited"]
    token = next((name[2:] for name, word in record.items() if name.startswith("t:") and word == "succeeded"), None)
    return token and attempt_folder(int(record["starts"]), token)


class Tombstone(BaseModel):
    """The content of job.json once its job was erased, or is past its retention."""

    id: str
    erased_at: datetime

    @classmethod
    def of(cls, job_id: str) -> bytes:
        return cls(id=job_id, erased_at=datetime.now(UTC)).model_dump_json().encode()


class Damaged(StorageUnavailable):
    """The job.json cannot be parsed; a retry does not help, an operator must look at it."""

    retryable = False


class Archive:
    """The job.json of each ended job, as the keeper wrote it. Errors of everything: NotFound, Gone, Damaged,
    StorageUnavailable."""

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self.ledger, self.storage = ledger, storage

    def get(self, tenant: str, job_id: str) -> Job:
        """The tenant's job as it ended."""
        return Job.model_validate(self._ended(tenant, job_id).model_dump())

    def _ended(self, tenant: str, job_id: str) -> Ended:
        """job.json; fields that releases before 0.2 wrote differently are converted."""
        found = self._read(tenant, job_id)
        try:
            kept: Any = text.shown(json.loads(found))
            for output in kept["outputs"]:
                output["url"] = output_path(job_id, output["name"])
            return Ended.model_validate({**kept, "tenant": tenant})
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise Damaged(f"what is kept of job {job_id} cannot be read: its job.json is damaged") from error

    def _read(self, tenant: str, job_id: str) -> bytes:
        with away():
            erased = self.ledger.redis.zscore(keys.TRASH, job_prefix(tenant, job_id)) is not None
        if erased:
            raise Gone(f"job {job_id} was erased")
        try:
            found = self.storage.get_bytes(job_json_key(tenant, job_id))
        except NotFound as error:
            raise NotFound(f"there is no job {job_id}") from error
        if b'"erased_at"' in found[:100]:
            try:
                on = f" on {Tombstone.model_validate_json(found).erased_at:%Y-%m-%d}"
            except ValueError:
                on = ""
            raise Gone(f"job {job_id} was erased{on}, by its owner or at its retention's end")
        return found

    def output_key(self, tenant: str, job_id: str, name: str) -> str | None:
        """The key of an output, in the folder of the successful attempt; None where there is none."""
        job = self._ended(tenant, job_id)
        numbers = [attempt.number for attempt in job.attempts if attempt.outcome == "succeeded"]
        if not (numbers or job.cached_from) or name not in {output.name for output in job.outputs}:
            return None
        folder = f"{job.folder}/" if job.folder else f"{numbers[-1]}-"
        found = self.storage.list(job_prefix(tenant, job.cached_from or job_id) + folder)
        return next((seen.key for seen in found if seen.key.endswith(f"/{name}")), None)

    def erase(self, tenant: str, job_id: str) -> None:
        """Marks the job's objects for deletion and records it in the journal. Errors: Conflict where it is a source of
        a job that has not ended."""
        if self.ledger.is_needed(tenant, job_id):
            raise self.ledger.needed(tenant, job_id)
        with contextlib.suppress(Damaged):
            self._ended(tenant, job_id)
        self.ledger.write(
            ("ZADD", keys.TRASH, round(time.time() * 1000), job_prefix(tenant, job_id)),
            ("XADD", keys.JOURNAL, "*", "type", "forgotten", "id", job_id, "tenant", tenant),
        )
