"""Schedules over HTTP: made, shown, changed, paused and deleted; refused where their jobs would be."""

from datetime import UTC, datetime, timedelta

import pytest

from tasks.ledger import keys
from tasks.ledger.schedules import SCHEDULES_MAX
from tests.api.conftest import PROMPT, in_seconds, problem

AT = "/v1/schedules"
DAILY = {"cron": "30 6 * * *", "time_zone": "Europe/Berlin", "job": PROMPT}


def made(caller, **changes) -> dict:
    answer = caller.post(AT, json={**DAILY, **changes})
    assert answer.status_code == 201, answer.json
    assert answer.headers["Location"] == answer.json["links"]["self"]
    return answer.json


def test_a_schedule_is_shown_as_it_was_made(acme):
    schedule = made(acme, name="morning line", job={**PROMPT, "metadata": {"desk": None}})
    assert schedule["job"] == {**PROMPT, "metadata": {"desk": None}} and not schedule["paused"]
    assert (schedule["name"], schedule["missed"], schedule["last_run"], schedule["failures"]) == (
        "morning line",
        "skip",
        None,
        0,
    )
    runs = [datetime.fromisoformat(run) for run in schedule["next_runs"]]
    assert len(runs) == 3 and datetime.now(UTC) < runs[0] < datetime.now(UTC) + timedelta(hours=25)
    assert acme.get(schedule["links"]["self"]).json == schedule
    other = made(acme, cron="0 0 1 1 *")
    assert [one["id"] for one in acme.get(AT).json["data"]] == [other["id"], schedule["id"]]


def test_a_merge_patch_changes_pauses_and_resumes(acme, ledger):
    """A change of the job leaves the time of the next run as it is."""
    schedule = made(acme)
    at = schedule["links"]["self"]
    patch = {"job": {"priority": 3, "metadata": {"a": 1}}, "name": "é"}
    changed = acme.patch(at, json=patch)
    assert changed.status_code == 200, changed.json
    assert changed.json["job"] == {**PROMPT, "priority": 3, "metadata": {"a": 1}} and changed.json["name"] == "é"
    assert changed.json["next_runs"] == schedule["next_runs"]
    paused = acme.patch(at, json={"paused": True}).json
    assert paused["paused"] and paused["next_runs"] == [] and not ledger.redis.exists(keys.SCHEDULES)
    again = acme.patch(at, json={"paused": None, "job": {"priority": None}, "name": None}).json
    assert again["next_runs"] == schedule["next_runs"] and again["name"] == ""
    assert again["job"] == {**PROMPT, "metadata": {"a": 1}}
    moved = acme.patch(at, json={"cron": "0 0 1 1 *", "time_zone": None}).json
    assert moved["time_zone"] == "UTC" and moved["next_runs"][0].endswith("-01-01T00:00:00Z")


def test_a_deleted_schedule_is_gone(acme, ledger):
    schedule = made(acme)
    assert acme.delete(schedule["links"]["self"]).status_code == 204
    for answer in (acme.get(schedule["links"]["self"]), acme.delete(schedule["links"]["self"])):
        problem(answer, 404, "not_found")
    assert acme.get(AT).json["data"] == [] and not ledger.redis.exists(keys.SCHEDULES)


def test_no_other_tenant_sees_or_moves_it(acme, rival, operator):
    schedule = made(acme)
    at = schedule["links"]["self"]
    never = "/v1/schedules/schedule_" + "0" * 26
    for method, more in (("GET", {}), ("PATCH", {"json": {"paused": True}}), ("DELETE", {})):
        told = [problem(rival.open(path, method=method, **more), 404, "not_found") for path in (at, never)]
        assert told[0]["detail"].replace(schedule["id"], "X") == told[1]["detail"].replace(never[14:], "X")
        problem(rival.open(f"{at}?tenant=acme", method=method, **more), 403, "forbidden")
    assert rival.get(AT).json["data"] == [] and acme.get(at).json == schedule
    assert operator.get(f"{AT}?tenant=rival").json["data"] == []


def test_the_same_key_makes_one(acme):
    key = {"Idempotency-Key": "again"}
    first, second = (acme.post(AT, json=DAILY, headers=key) for _ in range(2))
    assert first.json == second.json and len(acme.get(AT).json["data"]) == 1
    problem(acme.post(AT, json={**DAILY, "cron": "0 7 * * *"}, headers=key), 422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"cron": "61 * * * *"}, "/cron"),
        ({"time_zone": "Berlin"}, "/time_zone"),
        ({"job": {**PROMPT, "params": {"seed": "x"}}}, "/job/params/seed"),
        ({"job": {"kind": "generate"}}, "/job/input"),
        ({"job": {}}, "/job/kind"),
        ({"job": {**PROMPT, "start_at": in_seconds(60)}}, "/job/start_at"),
        ({"job": {"kind": "caption", "input": {"image": "s3://theirs/x.jpg"}}}, "/job/input/image"),
        ({"job": {**PROMPT, "queue_ttl_s": 1e9}}, "/job/queue_ttl_s"),
        ({"every": "day"}, "/every"),
    ],
)
def test_what_could_never_run_is_refused(acme, changes, pointer):
    answer = acme.post(AT, json={**DAILY, **changes})
    refused = problem(answer, 422, "invalid_input")
    assert [error["pointer"] for error in refused["errors"]] == [pointer]
    schedule = made(acme)
    if "every" not in changes:
        refused = problem(acme.patch(schedule["links"]["self"], json=changes | _null(changes)), 422, "invalid_input")
    assert acme.get(AT).json["data"] == [schedule]


def _null(changes: dict) -> dict:
    """A job without a field takes it away by null."""
    job = changes.get("job")
    if job is None:
        return {}
    return {"job": {"kind": None, "input": None, **job}}


def test_uploads_and_large_jobs_are_refused(acme):
    upload = acme.submit(input={"prompt": "x" * 40_000})["input"]["prompt"]["url"]
    refused = problem(
        acme.post(AT, json={**DAILY, "job": {**PROMPT, "input": {"prompt": {"url": upload}}}}), 422, "invalid_input"
    )
    assert "upload" in refused["detail"] and refused["errors"][0]["pointer"] == "/job/input"
    room = 16_384 - len('{"kind": "generate", "input": {"prompt": ""}}')
    made(acme, job={"kind": "generate", "input": {"prompt": "x" * room}})
    too_large = {"kind": "generate", "input": {"prompt": "x" * (room + 1)}}
    problem(acme.post(AT, json={**DAILY, "job": too_large}), 413, "too_large")


def test_a_tenant_has_a_hundred_at_most(acme, rival):
    for _ in range(SCHEDULES_MAX):
        schedule = made(acme)
    refused = problem(acme.post(AT, json=DAILY), 429, "quota_exceeded")
    assert "100 schedules" in refused["detail"]
    made(rival)
    acme.delete(schedule["links"]["self"])
    made(acme)


def test_a_link_with_a_signature_is_not_shown(acme):
    job = {"kind": "caption", "input": {"image": "https://example.com/still.jpg?signature=secret"}}
    answer = acme.post(AT, json={**DAILY, "job": job})
    assert answer.json["job"]["input"] == {"image": "https://example.com/still.jpg"} and b"secret" not in answer.data
