"""Parameters of the API's routes: headers, queries and parts of paths, as the document describes them.

It knows no route's handler; operations.py has the table of routes.
"""

from typing import Any

from pydantic import BaseModel

from api.auth import Whose
from api.batch_body import BatchQuery
from api.v1.batches import BatchListQuery, ResultsQuery
from api.v1.dead_letters import DeadQuery
from api.v1.events import ChangesQuery
from api.v1.jobs import ListQuery
from api.v1.logs import LogQuery
from api.v1.usage import UsageQuery
from tasks.registry import KINDS

Route = tuple[str, str]
"""Method in lower case and path."""

HEADERS: dict[str, dict[str, Any]] = {
    "Last-Event-ID": {
        "description": "The id of the last event that the listener has seen.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,15}-[0-9]{1,10}$"},
    },
    "Prefer": {
        "description": "`wait=N` holds the answer until the job is done, for at most N seconds. The answer carries "
        "`Preference-Applied` where the wait was granted.",
        "schema": {"type": "string"},
        "example": "wait=30",
    },
    "Idempotency-Key": {
        "description": "A key of the caller's choice. Within 24 hours the same request with the same key makes its "
        "jobs once; another request with that key is refused with 422.",
        "schema": {"type": "string", "pattern": r'^(?:"[\x20-\x21\x23-\x7e]{1,255}"|[\x21\x23-\x7e]{1,255})$'},
    },
}
OF_A_JOB: list[Route] = [
    ("get", "/v1/jobs/{job_id}"),
    ("patch", "/v1/jobs/{job_id}"),
    ("delete", "/v1/jobs/{job_id}"),
    ("post", "/v1/jobs/{job_id}/cancel"),
    ("post", "/v1/jobs/{job_id}/retry"),
    ("post", "/v1/jobs/{job_id}/webhook/replay"),
    ("post", "/v1/jobs/{job_id}/delivery/replay"),
    ("get", "/v1/jobs/{job_id}/outputs/{name}"),
    ("get", "/v1/jobs/{job_id}/explanation"),
    ("get", "/v1/jobs/{job_id}/events"),
]
QUERIES: dict[Route, type[BaseModel]] = {
    **dict.fromkeys(OF_A_JOB, Whose),
    ("get", "/v1/jobs/{job_id}/logs"): LogQuery,
    ("get", "/v1/webhooks/secret"): Whose,
    ("post", "/v1/webhooks/secret"): Whose,
    ("get", "/v1/webhooks/default"): Whose,
    ("put", "/v1/webhooks/default"): Whose,
    ("delete", "/v1/webhooks/default"): Whose,
    ("get", "/v1/jobs"): ListQuery,
    ("get", "/v1/events"): ChangesQuery,
    ("get", "/v1/limits"): Whose,
    ("get", "/v1/usage"): UsageQuery,
    ("post", "/v1/batches"): BatchQuery,
    ("get", "/v1/batches"): BatchListQuery,
    ("get", "/v1/batches/{batch_id}"): Whose,
    ("get", "/v1/batches/{batch_id}/results"): ResultsQuery,
    ("post", "/v1/batches/{batch_id}/cancel"): Whose,
    ("post", "/v1/batches/{batch_id}/webhook/replay"): Whose,
    ("delete", "/v1/batches/{batch_id}"): Whose,
    ("get", "/v1/schedules"): Whose,
    ("get", "/v1/schedules/{schedule_id}"): Whose,
    ("patch", "/v1/schedules/{schedule_id}"): Whose,
    ("delete", "/v1/schedules/{schedule_id}"): Whose,
    ("get", "/v1/dead-letters"): DeadQuery,
    ("delete", "/v1/dead-letters"): DeadQuery,
    ("post", "/v1/dead-letters/replay"): DeadQuery,
}
"""The model of each route's query string; a route that is absent takes none."""
PATH_PARAMETERS: dict[str, dict[str, Any]] = {
    "job_id": {"description": "`id` of the job", "schema": {"type": "string", "pattern": "^job_[0-9a-z]{26}$"}},
    "batch_id": {"description": "`id` of the batch", "schema": {"type": "string", "pattern": "^batch_[0-9a-z]{26}$"}},
    "schedule_id": {
        "description": "`id` of the schedule",
        "schema": {"type": "string", "pattern": "^schedule_[0-9a-z]{26}$"},
    },
    "name": {"description": "name of the output, the model or the pool", "schema": {"type": "string", "minLength": 1}},
    "kind": {"description": "kind of job", "schema": {"enum": list(KINDS)}},
    "tenant": {"description": "name of the tenant", "schema": {"type": "string", "pattern": "^[a-z0-9-]{1,40}$"}},
}
