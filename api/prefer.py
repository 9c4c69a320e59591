"""The header Prefer (RFC 7240): wait=N holds an answer until the job is done, for N seconds at most.

Flask never waits: it leaves its wish with the bridge (server/bridge.py), which holds the request and asks again.
Where no bridge is in front, or as many are held as may be, the preference is not applied, and the answer says so by
leaving Preference-Applied out.
"""

import re
from urllib.request import parse_http_list

from flask import request

from api.answers import services
from api.server.holds import ENVIRON, Wish
from tasks.job import Job

WAIT = re.compile(r'wait\s*=\s*(?:(\d{1,9})|"(\d{1,9})")\s*(?:;.*)?$', re.IGNORECASE | re.DOTALL)
"""One preference of this name; its parameters, of which it has none of its own, are passed over."""


def waited(job: Job, tenant: str) -> tuple[Job, dict[str, str]]:
    """The job, and the headers that tell which preference was applied to it."""
    preferences = parse_http_list(",".join(request.headers.getlist("Prefer")))
    asked = next((int(match[1] or match[2]) for one in preferences if (match := WAIT.match(one))), None)
    if asked is None:
        asynchronous = any(one.partition(";")[0].strip().lower() == "respond-async" for one in preferences)
        return job, {"Preference-Applied": "respond-async"} if asynchronous else {}
    wish: Wish | None = request.environ.get(ENVIRON)
    if not job.done and wish is not None:
        wish.job_id, wish.tenant = job.id, tenant
        wish.seconds = min(asked, services().settings.max_wait_s)
    return job, {}


def applied(seconds: float) -> str:
    """The value of Preference-Applied for a request that was held so long at most."""
    return f"wait={seconds:g}"
