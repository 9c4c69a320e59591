"""Event streams over HTTP (server-sent events): the first event of each. The bridge sends those that follow."""

from flask import Blueprint, Response
from pydantic import Field

from api.answers import PRIVATE, read_query, services
from api.auth import Whose, owner, whose
from api.dispatch import asked
from api.events import BEAT, EVENT_STREAM, Telling, snapshot
from api.server.following import OfTenant
from api.server.holds import WISH, Wish
from api.server.prefix import prefixed
from api.server.streams import OfJob
from tasks.errors import MalformedRequest
from tasks.job import Status
from tasks.ledger.events import CURSOR
from tasks.registry import Kind
from tasks.service.looks import Ask

routes = Blueprint("events", __name__, url_prefix="/v1")
HEADERS = {**PRIVATE, "X-Accel-Buffering": "no"}
"""Headers of a stream; the last keeps nginx from holding events back."""


class ChangesQuery(Whose):
    """A selection of changes of status."""

    status: Status | None = Field(None, description="only changes to this status")
    kind: Kind | None = Field(None, description="only jobs of this kind")
    model: str | None = Field(None, max_length=64, description="only jobs of this model")
    batch: str | None = Field(None, max_length=64, description="only jobs of this batch")


@routes.get("/events")
def of_tenant() -> Response:
    query = read_query(ChangesQuery)
    tenant, wanted = whose(query.tenant), query.model_dump(exclude={"tenant"}, exclude_none=True, mode="json")
    cursor: str | None = asked().environ.get("HTTP_LAST_EVENT_ID")
    if cursor and not CURSOR.fullmatch(cursor):
        raise MalformedRequest("Last-Event-ID must be the id of an event of this stream, or be left out")
    services().jobs.ledger.ready()
    _keep_open(OfTenant(tenant, wanted, cursor or ""))
    return Response(BEAT, mimetype=EVENT_STREAM, headers=HEADERS)


@routes.get("/jobs/<job_id>/events")
def of_job(job_id: str) -> Response:
    request = asked()
    tenant = owner(job_id)
    job = services().jobs.get(tenant, job_id)
    shown = prefixed(job, request.root_path) if request.root_path else job
    look = None
    if not job.done:
        look = services().jobs.looks.at([Ask(job_id)]).get(Ask(job_id))
        _keep_open(OfJob(tenant, job_id, Telling(job, request.root_path, look)))
    return Response(snapshot(shown, look), mimetype=EVENT_STREAM, headers=HEADERS)


def _keep_open(stream: OfJob | OfTenant) -> None:
    """Asks the bridge, where there is one, to send more behind this answer."""
    wish: Wish | None = asked().environ.get(WISH)
    if wish is not None and asked().method == "GET":
        wish.stream = stream
