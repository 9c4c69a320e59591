"""Reads the log of an attempt: the log so far while it runs, then the object that its worker keeps in the bucket.

It writes nothing; worker/attempt_logs.py does.
"""

from tasks.bucket.layout import logs_prefix
from tasks.bucket.storage import Storage
from tasks.errors import NotFound
from tasks.job import Attempt, Job
from tasks.service.looks import Ask, Looks

LOST = "[nothing is kept of attempt {number}: it wrote nothing, or its log was lost with its worker]\n"
"""The log of an attempt whose worker was lost, where there is none."""


def read(storage: Storage, looks: Looks, job: Job, number: int | None = None) -> str:
    """The log of the job's attempt of this number, or of its last; '' where it wrote nothing.

    Errors: NotFound for a number that is no attempt's; StorageUnavailable; NotReady.
    """
    attempt = _attempt(job, number)
    if attempt is None:
        return ""
    if attempt.ended_at is None:
        return _so_far(looks, job.id, attempt.number)
    prefix = f"{logs_prefix(job.tenant, job.id)}{attempt.number}-"
    found = sorted(storage.list(prefix), key=lambda seen: seen.modified)  # two where a restore has counted anew
    if found:
        return storage.get_bytes(found[-1].key).decode(errors="replace")
    lost = attempt.error is not None and attempt.error.code == "worker_lost"
    return LOST.format(number=attempt.number) if lost else ""


def _so_far(looks: Looks, job_id: str, number: int) -> str:
    look = looks.at([Ask(job_id)]).get(Ask(job_id))
    return look.log.text if look and look.log and look.log.attempt == number else ""


def _attempt(job: Job, number: int | None) -> Attempt | None:
    """The attempt of this number, or the last; None where the job has none yet."""
    if number is None:
        return job.attempts[-1] if job.attempts else None
    found = next((attempt for attempt in reversed(job.attempts) if attempt.number == number), None)
    if found is None:
        raise NotFound(f"job {job.id} has no attempt {number}; its attempts are listed in the job")
    return found
