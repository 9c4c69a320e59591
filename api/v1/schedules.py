"""Schedules over HTTP: requests for jobs that are made again and again."""

from typing import Literal

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from api.answers import JSON, MERGE_PATCH, answer, read_body, read_query, services
from api.auth import Whose, caller, require_kind, tenant, whose
from api.v1.jobs import idempotency_key
from tasks.schedule import Schedule, SchedulePatch, ScheduleRequest
from tasks.service.schedules import Schedules

routes = Blueprint("schedules", __name__, url_prefix="/v1/schedules")


class ScheduleList(BaseModel):
    """All schedules of a tenant."""

    object: Literal["list"] = "list"
    data: list[Schedule] = Field(description="schedules, the newest first; a hundred at most")


@routes.post("")
def create() -> Response:
    asked = read_body(ScheduleRequest)
    _require_kind(asked.job.get("kind"))
    made = _schedules().create(tenant(), asked, idempotency_key())
    return answer(made, 201, {"Location": made.links.self})


@routes.get("")
def list_schedules() -> Response:
    return answer(ScheduleList(data=_schedules().list(_owner())))


@routes.get("/<schedule_id>")
def get(schedule_id: str) -> Response:
    return answer(_schedules().get(_owner(), schedule_id))


@routes.patch("/<schedule_id>")
def change(schedule_id: str) -> Response:
    whose_it_is = _owner()
    patch = read_body(SchedulePatch, (JSON, MERGE_PATCH))
    if caller().kinds:
        _require_kind(_schedules().get(whose_it_is, schedule_id).job.get("kind"))
        if patch.job and "kind" in patch.job:
            _require_kind(patch.job["kind"])
    return answer(_schedules().change(whose_it_is, schedule_id, patch))


@routes.delete("/<schedule_id>")
def delete(schedule_id: str) -> Response:
    _schedules().delete(_owner(), schedule_id)
    return Response(status=204)


def _schedules() -> Schedules:
    return Schedules(services().jobs)


def _owner() -> str:
    """The tenant of the query, or the key's own."""
    return whose(read_query(Whose).tenant)


def _require_kind(kind: object) -> None:
    """Errors: Forbidden where the key makes no jobs of the kind. Something else than a kind is refused later."""
    if isinstance(kind, str):
        require_kind(kind)
