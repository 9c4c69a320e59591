"""The routes of schedules, as the table of routes has them (operations.py)."""

from api.examples import CHANGE_SCHEDULE, SCHEDULE
from api.operation import Operation

SCHEDULES = (
    Operation(
        "post",
        "/v1/schedules",
        "Create a schedule",
        "Makes a schedule, which submits its `job` at each time that `cron` names in `time_zone`: a new job each time, "
        "whether or not the one before has ended. A job that is refused is shown in `last_run`; ten in a row pause the "
        "schedule. A tenant may have a hundred.",
        {201: "Schedule"},
        (400, 409, 413, 415, 422, 429),
        "ScheduleRequest",
        ("Idempotency-Key",),
        SCHEDULE,
    ),
    Operation(
        "get",
        "/v1/schedules",
        "List schedules",
        "Lists all schedules of the tenant, newest first.",
        {200: "ScheduleList"},
    ),
    Operation(
        "get",
        "/v1/schedules/{schedule_id}",
        "Read a schedule",
        "Answers with the schedule, its next runs and its last one.",
        {200: "Schedule"},
        (404,),
    ),
    Operation(
        "patch",
        "/v1/schedules/{schedule_id}",
        "Change, pause or resume a schedule",
        "Changes a schedule. The body is a JSON merge patch (RFC 7396). `paused` stops and resumes it; runs that would "
        "have been due meanwhile are not made up for. Jobs that it has made stay as they are.",
        {200: "Schedule"},
        (400, 404, 409, 413, 415, 422),
        "SchedulePatch",
        (),
        CHANGE_SCHEDULE,
    ),
    Operation(
        "delete",
        "/v1/schedules/{schedule_id}",
        "Delete a schedule",
        "Deletes a schedule. Jobs that it has made stay.",
        {204: None},
        (404, 409),
    ),
)
