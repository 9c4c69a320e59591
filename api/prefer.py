"""The header Prefer (RFC 7240): wait=N holds an answer until the job is done, for N seconds at most.

At most half of a process's threads wait at one time, so that the rest can answer; beyond that the
preference is not applied, and the answer says so by leaving Preference-Applied out.
"""

import re

from flask import request

from api.answers import services
from tasks.job import Job

WAIT = re.compile(r"^wait\s*=\s*\"?(\d{1,9})\"?$")


def waited(job: Job, tenant: str) -> tuple[Job, dict[str, str]]:
    """The job after the wait that the caller prefers, and the headers that tell of it."""
    preferences = [part.strip().lower() for part in ",".join(request.headers.getlist("Prefer")).split(",")]
    asked = next((int(match[1]) for part in preferences if (match := WAIT.match(part))), None)
    if asked is None:
        return job, {"Preference-Applied": "respond-async"} if "respond-async" in preferences else {}
    known = services()
    if job.done or not known.waiting.acquire(blocking=False):
        return job, {}
    try:
        seconds = min(asked, known.settings.max_wait_s)
        return known.jobs.wait(tenant, job.id, seconds), {"Preference-Applied": f"wait={seconds:g}"}
    finally:
        known.waiting.release()
