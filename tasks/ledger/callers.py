"""The verbs of callers: submit, cancel, forget, and what comes before a submit. A part of Ledger, which see."""

from tasks import errors
from tasks.job import Fixed
from tasks.ledger import keys
from tasks.ledger.connection import Connection, milliseconds
from tasks.ledger.idempotency import IDEMPOTENCY_MS, UPLOADING_MS, Idempotency
from tasks.ledger.shapes import Submitted

STILL_COMING = "a request with this Idempotency-Key is still being received; ask again in a moment"


class Callers(Connection):
    """Verbs that the API calls for a tenant."""

    def submit(
        self,
        fixed: Fixed,
        idempotency: Idempotency | None = None,
        restoring: str = "",
        replaying: bool = False,
        asking: bool = False,
    ) -> Submitted:
        """Record a job. Errors: Overloaded; RateLimited; QuotaExceeded; Conflict where the same key's inputs are still
        coming in.

        `replaying`: only if the job that this one retries is a dead letter yet. Errors then: Replayed.
        `asking`: nothing is recorded or paid, whether it would be is answered all the same.
        `restoring`: the keeper puts an accepted job back, before the epoch is set; its own clock says when it came.
        """
        start = "" if fixed.start_ms is None else fixed.start_ms
        deadline = "" if fixed.deadline_s is None else milliseconds(fixed.deadline_s)
        answer = self._run(
            "submit",
            [
                keys.job(fixed.id),
                keys.line(fixed.line),
                fixed.queue,
                keys.tenant_jobs(fixed.tenant),
                keys.idempotency(fixed.tenant, idempotency.digest if idempotency else "-"),
                keys.rate(fixed.tenant),
                *(keys.upload_jobs(fixed.tenant, upload) for upload in fixed.uploads),
            ],
            [
                fixed.id,
                fixed.model_dump_json(exclude_none=True),
                fixed.tenant,
                fixed.line,
                fixed.priority,
                start,
                milliseconds(fixed.queue_ttl_s),
                deadline,
                milliseconds(fixed.run_timeout_s),
                milliseconds(fixed.retention_s),
                fixed.max_attempts,
                self.settings.bells,
                idempotency.fingerprint if idempotency else "",
                IDEMPOTENCY_MS,
                "ask" if asking else restoring,
                self.settings.submits_per_minute,
                self.settings.max_waiting_jobs,
                self.settings.max_stored_bytes,
                fixed.retry_of or "",
                int(replaying),
                self.settings.max_record_bytes,
                fixed.v,
                *(upload.bytes for upload in fixed.uploads.values()),
            ],
        )
        match answer:
            case [1, job_id, bell, left, reset_ms]:
                return Submitted(job_id, bool(bell), left=left, reset_s=reset_ms / 1000)
            case [2, job_id, fingerprint]:
                return Submitted(job_id, replay_fingerprint=fingerprint)
            case [3, _]:
                raise errors.Conflict(STILL_COMING)
            case [-3, ms]:
                raise errors.RateLimited(self.settings.submits_per_minute, ms / 1000)
            case [-4, waiting]:
                raise errors.WaitingTooMany(waiting, self.settings.max_waiting_jobs)
            case [-5, stored]:
                raise errors.StoredTooMuch(stored, self.settings.max_stored_bytes)
            case [-7, held, most]:
                raise errors.RecordsTooLarge(held, most)
            case [-6]:
                raise errors.Replayed(f"job {fixed.retry_of} is no dead letter, or has been retried already")
            case [_, percent]:
                raise errors.Overloaded(
                    f"Redis is {percent} % full and takes no new jobs above 85 %; running jobs go on"
                )

    def reserve(self, tenant: str, idempotency: Idempotency, job_id: str) -> Submitted | None:
        """Hold a key while inputs are uploaded: None where it is ours now, else who has it. Errors: Conflict."""
        key = keys.idempotency(tenant, idempotency.digest)
        _, held = self.write(("SET", key, idempotency.held_by(job_id), "NX", "PX", UPLOADING_MS), ("GET", key))
        holder = held.split(" ")
        if len(holder) == 3 and holder[0] != job_id:
            raise errors.Conflict(STILL_COMING)
        return None if holder[0] == job_id else Submitted(holder[0], replay_fingerprint=holder[1])

    def upload(self, tenant: str, upload_id: str, size: int, kept_s: float, a_minute: int = 0) -> None:
        """Note a new upload, which goes after `kept_s` unless a job names it, and charge its `size`, 0 where it is not
        known. `a_minute`: uploads the tenant may begin, 0 for any number. Errors: UploadsLimited, StoredTooMuch."""
        most = self.settings.max_stored_bytes
        match self._run(
            "upload",
            [keys.UPLOADS, keys.upload_rate(tenant)],
            [tenant, upload_id, size, milliseconds(kept_s), a_minute, most],
        ):
            case [-3, ms]:
                raise errors.UploadsLimited(a_minute, ms / 1000)
            case [-5, stored]:
                raise errors.StoredTooMuch(stored, most, size)

    def cancel(self, tenant: str, job_id: str) -> str:
        """The status after asking. Errors: NotFound; Conflict where the job had ended otherwise."""
        match self._run("cancel", [keys.job(job_id)], [job_id, tenant]):
            case [1, status]:
                return status
            case [0, status]:
                raise errors.Conflict(f"job {job_id} has already {status}")
        raise errors.NotFound(f"there is no job {job_id}")

    def forget(self, fixed: Fixed) -> None:
        """Erase an ended job; its objects follow. Errors: NotFound; Conflict where it has not ended."""
        uploads = [keys.upload_jobs(fixed.tenant, upload) for upload in fixed.uploads]
        match self._run(
            "forget", [keys.job(fixed.id), keys.tenant_jobs(fixed.tenant), *uploads], [fixed.id, fixed.tenant]
        ):
            case 0:
                raise errors.NotFound(f"there is no job {fixed.id}")
            case 2:
                raise errors.Conflict(f"job {fixed.id} has not ended; cancel it first")

    def note_use(self, key_id: str) -> None:
        """An API key was used just now."""
        self._run("note_use", [keys.KEY_USES], [key_id])
