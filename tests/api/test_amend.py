"""A job is changed while it waits: what a caller may change, when, and what it sees then."""

import json
import time
from datetime import datetime, timedelta

import pytest

from tasks.ledger import keys
from tests.api.conftest import in_seconds, problem


def changed(caller, job, **patch):
    answer = caller.patch(job["links"]["self"], json=patch)
    assert answer.status_code == 200, answer.json
    assert answer.json == caller.get(job["links"]["self"]).json
    return answer.json


def test_a_merge_patch_changes_a_job_that_waits_and_nothing_else(acme, ledger):
    """Metadata name by name, null for a default; the journal and the worker get the same request."""
    made = acme.submit(metadata={"a": 1, "b": {"c": 2, "d": 3}}, priority=1, deadline_s=90, params={"seed": 1})
    old = acme.get(made["links"]["self"]).json
    patch = {"priority": -2, "metadata": {"a": None, "b": {"c": 4}, "é": [1]}, "deadline_s": None}
    new = changed(acme, old, **patch, retention_s=60, run_timeout_s=5)
    metadata = {"b": {"c": 4, "d": 3}, "é": [1]}
    assert new == {**old, "priority": -2, "metadata": metadata, "amended_at": new["amended_at"]}
    record = ledger.record(old["id"])
    assert record["run_ms"] == "5000" and record["keep_ms"] == "60000" and "deadline_ms" not in record
    *_, (_, entry) = ledger.redis.xrange(keys.JOURNAL)
    assert entry["type"] == "amended" and entry["fixed"] == record["fixed"]
    assert json.loads(entry["fixed"])["run_timeout_s"] == 5
    nothing = acme.patch(old["links"]["self"], json={})
    assert nothing.status_code == 200 and nothing.json == new


def test_a_new_priority_counts_from_the_place_of_arrival(acme, hand):
    """Ten places a point: the last of three passes the others, and back behind none that came later."""
    first, second, third = (acme.submit() for _ in range(3))
    assert changed(acme, third, priority=1)["queue_position"] == 1
    fourth = acme.submit(priority=1)
    assert acme.get(fourth["links"]["self"]).json["queue_position"] == 2
    assert changed(acme, third, priority=None)["queue_position"] == 4
    assert changed(acme, second, priority=10)["queue_position"] == 1
    assert [hand.claim().fixed.id for _ in range(4)] == [job["id"] for job in (second, fourth, first, third)]


def test_a_start_time_moves_both_ways(acme, hand, ledger):
    """A scheduled job may start now; a queued one may wait; its time in the queue counts from its start."""
    later = acme.submit(start_at=in_seconds(3600))
    now = changed(acme, later, start_at=None, queue_ttl_s=60)
    assert now["status"] == "queued" and now["queue_position"] == 1 and now["start_at"] is None
    left = datetime.fromisoformat(now["start_by"]) - datetime.fromisoformat(now["amended_at"])
    assert left == timedelta(seconds=60)
    put_off = changed(acme, now, start_at=in_seconds(600))
    assert put_off["status"] == "scheduled" and put_off["queue_position"] is None
    until = datetime.fromisoformat(put_off["start_at"]) + timedelta(seconds=60)
    assert datetime.fromisoformat(put_off["start_by"]) == until
    assert hand.claim() is None and ledger.limits("acme").waiting == 1
    soon = changed(acme, now, start_at=in_seconds(0.2))
    time.sleep(max(0, datetime.fromisoformat(soon["start_at"]).timestamp() - time.time()))
    ledger.due()
    assert hand.claim().fixed.id == now["id"]


def test_a_job_that_does_not_wait_is_not_changed(acme, hand):
    job = acme.submit()
    claimed = hand.claim()
    assert "running" in problem(acme.patch(job["links"]["self"], json={"priority": 1}), 409, "conflict")["detail"]
    hand.finish(claimed)
    told = problem(acme.patch(job["links"]["self"], json={"priority": 1}), 409, "conflict")["detail"]
    assert "succeeded" in told


def test_a_job_that_waits_for_another_attempt_keeps_its_start(acme, hand, ledger):
    job = acme.submit()
    ledger.release(job["id"], hand.claim().token)
    assert changed(acme, job, priority=3, metadata={"a": 1})["priority"] == 3
    for patch in ({"start_at": in_seconds(60)}, {"queue_ttl_s": 5}):
        told = problem(acme.patch(job["links"]["self"], json=patch), 409, "conflict")["detail"]
        assert "has started before" in told


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({"priority": 11}, "/priority"),
        ({"priority": "1"}, "/priority"),
        ({"metadata": 5}, "/metadata"),
        ({"metadata": {"a": [1e400]}}, "/metadata/a/0"),
        ({"start_at": "tomorrow"}, "/start_at"),
        ({"start_at": "9999-01-01T00:00:00Z"}, "/start_at"),
        ({"queue_ttl_s": 1e9}, "/queue_ttl_s"),
        ({"run_timeout_s": 1e9}, "/run_timeout_s"),
        ({"run_timeout_s": 0.5}, "/run_timeout_s"),
        ({"retention_s": 1e9}, "/retention_s"),
        ({"deadline_s": 5, "start_at": "2099-01-01T00:00:00Z"}, "/start_at"),
        ({"max_attempts": 5}, "/max_attempts"),
        ({"params": {}}, "/params"),
        ({"status": "queued"}, "/status"),
    ],
)
def test_a_patch_that_cannot_be_is_refused_and_changes_nothing(acme, ledger, patch, pointer):
    job = acme.submit()
    before = ledger.record(job["id"])
    body = json.dumps(patch).replace("Infinity", "1e400")
    answer = acme.patch(job["links"]["self"], data=body, content_type="application/merge-patch+json")
    refused = problem(answer, 422, "invalid_input")
    assert [error["pointer"] for error in refused["errors"]] == [pointer]
    assert ledger.record(job["id"]) == before


def test_times_that_are_over_are_refused(acme):
    job = acme.submit(start_at=in_seconds(60))
    time.sleep(1.01)  # the shortest deadline is over
    refused = problem(acme.patch(job["links"]["self"], json={"deadline_s": 1}), 422, "invalid_input")
    assert refused["errors"][0]["detail"] == "the deadline, counted from the submit, would be over"
    refused = problem(acme.patch(job["links"]["self"], json={"deadline_s": 30}), 422, "invalid_input")
    assert refused["errors"][0]["detail"] == "the deadline is over before start_at"
    queued = changed(acme, job, start_at=None)
    time.sleep(0.01)
    refused = problem(acme.patch(queued["links"]["self"], json={"queue_ttl_s": 0.001}), 422, "invalid_input")
    assert refused["errors"][0]["detail"] == "the job has been in the queue for longer"


def test_params_and_metadata_together_stay_under_their_limit(acme):
    """To the byte: 64 KiB of both as JSON."""
    job = acme.submit(params={"seed": 1})
    room = 65_536 - len('{"seed":1}') - len('{"a": ""}')
    assert changed(acme, job, metadata={"a": "x" * room})["metadata"] == {"a": "x" * room}
    problem(acme.patch(job["links"]["self"], json={"metadata": {"a": "x" * (room + 1)}}), 413, "too_large")


def test_other_bodies_are_refused(acme):
    at = acme.submit()["links"]["self"]
    problem(acme.patch(at, data="priority=3"), 415, "unsupported_media")
    problem(acme.patch(at, data=b"[]", content_type="application/json"), 422, "invalid_input")
    problem(acme.patch(at, data=b'{"priority": 1, "priority": 2}', content_type="application/json"), 400, "malformed")


def test_changes_made_at_once_are_all_kept(acme, monkeypatch, app):
    """The second finds that another came between, reads again and changes what is then there."""
    job = acme.submit(metadata={"n": 0})
    ledger = app.extensions["backlot"].jobs.amends.ledger
    ask, raced = ledger.amend, []

    def between(*asked, **more):
        if not raced:
            raced.append(1)
            assert acme.patch(job["links"]["self"], json={"metadata": {"a": 1}}).status_code == 200
        return ask(*asked, **more)

    monkeypatch.setattr(ledger, "amend", between)
    assert changed(acme, job, metadata={"b": 2})["metadata"] == {"n": 0, "a": 1, "b": 2}
