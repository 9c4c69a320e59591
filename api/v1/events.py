"""Event streams over HTTP (server-sent events): the first event of each. The bridge sends those that follow."""

from flask import Blueprint, Response

from api.answers import PRIVATE, services
from api.auth import owner
from api.dispatch import asked
from api.events import EVENT_STREAM, Telling, snapshot
from api.server.holds import WISH, Wish
from api.server.prefix import prefixed
from api.server.streams import OfJob

routes = Blueprint("events", __name__, url_prefix="/v1")
HEADERS = {**PRIVATE, "X-Accel-Buffering": "no"}
"""Headers of a stream; the last keeps nginx from holding events back."""


@routes.get("/jobs/<job_id>/events")
def of_job(job_id: str) -> Response:
    request = asked()
    tenant = owner(job_id)
    job = services().jobs.get(tenant, job_id)
    shown = prefixed(job, request.root_path) if request.root_path else job
    if not job.done:
        _keep_open(OfJob(tenant, job_id, Telling(job, request.root_path)))
    return Response(snapshot(shown), mimetype=EVENT_STREAM, headers=HEADERS)


def _keep_open(stream: OfJob) -> None:
    """Asks the bridge, where there is one, to send more behind this answer."""
    wish: Wish | None = asked().environ.get(WISH)
    if wish is not None and asked().method == "GET":
        wish.stream = stream
