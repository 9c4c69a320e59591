"""Ended jobs that Redis no longer knows (it was restored from the journal), read from the bucket by their ids."""

from tasks.errors import NotFound
from tasks.job import Job
from tasks.ledger import Ledger, _away, keys
from tasks.storage import Storage, job_json_key, job_prefix


class Archive:
    """The job.json of each ended job, as the keeper wrote it. Errors of everything: NotFound, StorageUnavailable."""

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self.ledger, self.storage = ledger, storage

    def get(self, tenant: str, job_id: str) -> Job:
        """The tenant's job as it ended; one that was erased is not found, though its objects may still be there."""
        with _away():
            erased = self.ledger.redis.zscore(keys.TRASH, job_prefix(tenant, job_id)) is not None
        if erased:
            raise NotFound(f"there is no job {job_id}")
        try:
            return Job.model_validate_json(self.storage.get_bytes(job_json_key(tenant, job_id)))
        except NotFound as error:
            raise NotFound(f"there is no job {job_id}") from error

    def output_key(self, tenant: str, job: Job, name: str) -> str | None:
        """Where an output lies: under the prefix of the attempt that succeeded. None where there is none."""
        numbers = [attempt.number for attempt in job.attempts if attempt.outcome == "succeeded"]
        if not numbers or name not in {output.name for output in job.outputs}:
            return None
        found = self.storage.list(f"{job_prefix(tenant, job.id)}{numbers[-1]}-")
        return next((seen.key for seen in found if seen.key.endswith(f"/{name}")), None)

    def erase(self, tenant: str, job_id: str, now_ms: int) -> None:
        """Its objects are trash."""
        self.get(tenant, job_id)
        with _away():
            self.ledger.redis.zadd(keys.TRASH, {job_prefix(tenant, job_id): now_ms})
