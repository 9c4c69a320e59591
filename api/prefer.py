"""Reads the header Prefer (RFC 7240): `wait=N` holds an answer until the job is done, for N seconds at most.

Flask never waits: it leaves a Wish to the bridge (server/bridge.py), which holds the request and asks Flask again.
Without a bridge, or at the limit of held requests, the preference is not applied and Preference-Applied is absent.
"""

import re
from urllib.request import parse_http_list

from api.dispatch import asked
from api.server.holds import WISH, Wish
from tasks.job import Job

WAIT = re.compile(r'wait\s*=\s*(?:(\d{1,9})|"(\d{1,9})")\s*(?:;.*)?$', re.IGNORECASE | re.DOTALL)
"""The preference `wait`; parameters behind it are ignored, because it defines none."""


def waited(job: Job, tenant: str) -> tuple[Job, dict[str, str]]:
    """The job, and the headers that name the preference already applied. Leaves a Wish where the caller wants to
    wait."""
    request = asked()
    if "HTTP_PREFER" not in request.environ:
        return job, {}
    preferences = parse_http_list(",".join(request.headers.getlist("Prefer")))
    seconds = next((int(match[1] or match[2]) for one in preferences if (match := WAIT.match(one))), None)
    if seconds is None:
        asynchronous = any(one.partition(";")[0].strip().lower() == "respond-async" for one in preferences)
        return job, {"Preference-Applied": "respond-async"} if asynchronous else {}
    wish: Wish | None = request.environ.get(WISH)
    if not job.done and wish is not None:
        wish.job_id, wish.tenant = job.id, tenant
        wish.seconds = min(seconds, request.services.settings.max_wait_s)
    return job, {}


def applied(seconds: float) -> str:
    """The value of Preference-Applied for a request that was held for at most so many seconds."""
    return f"wait={seconds:g}"
