"""The verbs of callers: submit, cancel, forget, and those around an upload. One part of `Ledger` (verbs.py).

It knows no HTTP: a refusal is an error of tasks/errors.py.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tasks import errors
from tasks.ids import now_ms
from tasks.job import Fixed
from tasks.ledger import keys
from tasks.ledger.client import Word
from tasks.ledger.connection import Call, Reply, milliseconds
from tasks.ledger.faults import away
from tasks.ledger.idempotency import IDEMPOTENCY_MS, UPLOADING_MS, Idempotency
from tasks.ledger.same_work import ANSWERED, SameWork
from tasks.ledger.shapes import Rate, Submitted, Used

KEY_IS_UPLOADING = "a request with this Idempotency-Key is still being received; ask again in a moment"


class Callers(SameWork):
    """Verbs that the API calls for a tenant."""

    def submit(
        self,
        fixed: Fixed,
        idempotency: Idempotency | None = None,
        restoring: str = "",
        replaying: bool = False,
        asking: bool = False,
    ) -> Submitted:
        """Records a job. Errors: Overloaded; RateLimited; QuotaExceeded; Conflict where a request with the same
        Idempotency-Key is still uploading its inputs.

        `replaying`: only if the job that this one retries is still a dead letter. Errors then: Replayed.
        `asking`: a dry run; it records and charges nothing, and answers or raises as a submit would.
        `restoring`: the token of the keeper that puts an accepted job back before the epoch is set.
        """
        call = self.submit_call(fixed, idempotency, "ask" if asking else restoring, replaying)
        cite = None if asking else self.cite_call(fixed, restoring)
        reply, *cited = self._replies([call, cite] if cite else [call])
        submitted = self._submitted(fixed, reply)
        return self._with_answer(submitted, cited[0]) if cited and submitted.job_id == fixed.id else submitted

    def _with_answer(self, submitted: Submitted, cited: Reply) -> Submitted:
        """The answer of a submit with that of the `cite` behind it: a job that does not run needs no bell."""
        answer = self._answer("cite", cited, str)
        return replace(submitted, answered=answer, bell=False) if answer in ANSWERED else submitted

    def submit_call(
        self, fixed: Fixed, idempotency: Idempotency | None = None, mode: str = "", replaying: bool = False
    ) -> Call:
        """The call that records a job; `mode` as submit.lua has it."""
        alone = fixed.batch is None  # open_batch has taken the quotas of a member
        start: Word = "" if fixed.start_ms is None else fixed.start_ms
        if fixed.waits_for:
            named = (job_id + "=" * (job_id in fixed.in_archive) for job_id in fixed.waits_for)
            start = f"{start} {' '.join(named)}"
        budgets = ",".join(f"{cause}={most}" for cause, most in fixed.retry.items())
        deadline = "" if fixed.deadline_s is None else milliseconds(fixed.deadline_s)
        return (
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
                fixed.as_record(),
                fixed.tenant,
                fixed.line,
                fixed.priority,
                start,
                milliseconds(fixed.queue_ttl_s),
                deadline,
                milliseconds(fixed.run_timeout_s),
                milliseconds(fixed.retention_s),
                f"{fixed.max_attempts} {budgets}" if budgets else fixed.max_attempts,
                self.settings.bells,
                idempotency.fingerprint if idempotency else "",
                IDEMPOTENCY_MS,
                mode,
                self.settings.submits_per_minute if alone else 0,
                self.settings.max_waiting_jobs if alone else 0,
                self.settings.max_stored_bytes,
                fixed.retry_of or "",
                int(replaying),
                self.settings.max_record_bytes if alone else 0,
                fixed.v,
                *(upload.bytes for upload in fixed.uploads.values()),
                fixed.batch or "",
                *self._messages(fixed),
            ],
        )

    def _messages(self, fixed: Fixed) -> list[str | int]:
        """The last arguments of a submit whose end owes a webhook or a delivery."""
        if not (fixed.webhook or fixed.output):
            return []
        webhook = fixed.webhook.as_field() if fixed.webhook else ""
        return [webhook, self.settings.max_undelivered_webhooks, *([fixed.output.url] if fixed.output else [])]

    def _submitted(self, fixed: Fixed, reply: Reply) -> Submitted:
        """The answer to a submit. Errors: as `submit`."""
        answer = self._answer("submit", reply, list)
        match answer:
            case [1, job_id, bell, left, reset_ms]:
                return Submitted(job_id, bool(bell), left=left, reset_s=reset_ms / 1000)
            case [2, job_id, fingerprint]:
                return Submitted(job_id, replay_fingerprint=fingerprint)
            case [3, _]:
                raise errors.Conflict(KEY_IS_UPLOADING, retryable=True)
            case [-6]:
                raise errors.Replayed(f"job {fixed.retry_of} is no dead letter, or has been retried already")
            case [-9, job_id, "gone"]:
                raise errors.InvalidInput(f"there is no job {job_id}")
            case [-9, job_id, status]:
                raise errors.DependencyFailed(f"job {job_id} has ended as {status}; retry it, and name the new job")
        raise self._refusal(answer)

    def _refusal(self, answer: list[Any]) -> errors.BacklotError:
        """The refusal of a submit or of a batch."""
        match answer:
            case [-2, percent]:
                return errors.Overloaded(
                    f"Redis is {percent} % full and takes no new jobs above 85 %; running jobs go on"
                )
            case [-3, ms]:
                return errors.RateLimited(self.settings.submits_per_minute, ms / 1000)
            case [-4, waiting]:
                return errors.WaitingTooMany(waiting, self.settings.max_waiting_jobs)
            case [-5, stored]:
                return errors.StoredTooMuch(stored, self.settings.max_stored_bytes)
            case [-7, held, most]:
                return errors.RecordsTooLarge(held, most)
            case [-8, undelivered]:
                return errors.UndeliveredTooMany(undelivered, self.settings.max_undelivered_webhooks)
        return errors.LedgerFault(f"submit answered {answer[:1]}, which this release does not know")

    def reserve(self, tenant: str, idempotency: Idempotency, job_id: str) -> Submitted | None:
        """Reserves an Idempotency-Key while inputs are uploaded: None where this job has it now, else the job that
        has it. Errors: Conflict where that one is uploading too."""
        key = keys.idempotency(tenant, idempotency.digest)
        _, held = self.write(("SET", key, idempotency.held_by(job_id), "NX", "PX", UPLOADING_MS), ("GET", key))
        holder = held.split(" ")
        if len(holder) == 3 and holder[0] != job_id:
            raise errors.Conflict(KEY_IS_UPLOADING, retryable=True)
        return None if holder[0] == job_id else Submitted(holder[0], replay_fingerprint=holder[1])

    def give_back(self, tenant: str, idempotency: Idempotency, job_id: str) -> None:
        """Frees an Idempotency-Key whose inputs could not be stored, unless the job was recorded."""
        self._run("give_back", [keys.idempotency(tenant, idempotency.digest)], [idempotency.held_by(job_id)], int)

    def upload(self, tenant: str, upload_id: str, size: int, kept_s: float, a_minute: int = 0) -> Rate:
        """Records a new upload and charges its bytes; the rest of the tenant's minute. Errors: UploadsLimited,
        StoredTooMuch.

        `size`: bytes, 0 where it is not known. `kept_s`: after this the keeper deletes it unless a job names it.
        `a_minute`: uploads that the tenant may begin a minute, 0 for any number.
        """
        most = self.settings.max_stored_bytes
        match self._run(
            "upload",
            [keys.UPLOADS, keys.upload_rate(tenant)],
            [tenant, upload_id, size, milliseconds(kept_s), a_minute, most],
            list,
        ):
            case [-3, ms]:
                raise errors.UploadsLimited(a_minute, ms / 1000)
            case [-5, stored]:
                raise errors.StoredTooMuch(stored, most, size)
            case [1, left, reset_ms]:
                return Rate(left, reset_ms / 1000)
        raise errors.LedgerFault("upload gave an answer that this release does not know")

    def limits(self, tenant: str) -> Used:
        """The tenant's rates, and its use of each quota."""
        s = self.settings
        _, submits, submits_ms, uploads, uploads_ms, *used = self._run(
            "limits",
            [keys.rate(tenant), keys.upload_rate(tenant)],
            [tenant, s.submits_per_minute, s.uploads_per_minute, s.max_record_bytes],
            list,
        )
        return Used(Rate(submits, submits_ms / 1000), Rate(uploads, uploads_ms / 1000), *used)

    def look(
        self, index: str, newest: str, below: str, oldest: str, judged: Iterable[str], looks: int, most: int
    ) -> list[Any]:
        """Jobs of an index that may fit a filter, as look.lua has it (pages.py); `judged`: status, kind and model."""
        return self._run("look", [index], [newest, below, oldest, *judged, looks, most], list)

    def recheck_uploads(self, tenant: str, upload_ids: Iterable[str], delay_ms: int) -> None:
        """Lets the keeper delete the uploads after the delay unless a job names them; only those that are recorded."""
        ask_ms = now_ms() + delay_ms
        self.write(*(("ZADD", keys.UPLOADS, "XX", ask_ms, f"{tenant}/{upload_id}") for upload_id in upload_ids))

    def cancel(self, tenant: str, job_id: str) -> str:
        """Cancels a job; its status now, canceling or canceled. Errors: NotFound; Conflict where it had ended
        otherwise."""
        match self._run("cancel", [keys.job(job_id)], [job_id, tenant], list):
            case [1, str(status)]:
                return status
            case [0, status]:
                raise errors.Conflict(f"job {job_id} has already {status}")
        raise errors.NotFound(f"there is no job {job_id}")

    def forget(self, fixed: Fixed) -> None:
        """Deletes the record of an ended job and puts its objects on the trash list. Errors: NotFound; Conflict where
        it has not ended."""
        match self._run(*self.forget_call(fixed), int):
            case 0:
                raise errors.NotFound(f"there is no job {fixed.id}")
            case 2:
                raise errors.Conflict(f"job {fixed.id} has not ended; cancel it first")
            case 3:
                raise self.needed(fixed.tenant, fixed.id)

    def needed(self, tenant: str, job_id: str) -> errors.Conflict:
        """The refusal to erase a job that others need, which names one of them."""
        with away():
            names = self.redis.zrange(keys.dependents(tenant, job_id), 0, 0)
        by = f"job {names[0]}, which" if names else "a job that"
        return errors.Conflict(f"job {job_id} is a source of {by} has not ended; cancel that one first, or wait")

    def is_needed(self, tenant: str, job_id: str) -> bool:
        """True while a job that has not ended names it as a source."""
        with away():
            return bool(self.redis.exists(keys.dependents(tenant, job_id)))

    def forget_call(self, fixed: Fixed) -> Call:
        """The call that forgets a job."""
        uploads = [keys.upload_jobs(fixed.tenant, upload) for upload in fixed.uploads]
        return "forget", [keys.job(fixed.id), keys.tenant_jobs(fixed.tenant), *uploads], [fixed.id, fixed.tenant]

    def note_use(self, key_id: str) -> None:
        """Records that an API key was used now."""
        self._run("note_use", [keys.KEY_USES], [key_id], int)
