"""The transitions of a job's status: each is made here once, as the event stream tells, and no other can be."""

import contextlib

import pytest

from tasks.errors import Conflict, DeadlineExceeded, ModelFailed
from tasks.job import FINAL, Status
from tasks.ledger import keys

LATE = DeadlineExceeded("deadline_s passed before the next attempt")
MOVES = {
    ("", "scheduled"),
    ("", "queued"),
    ("scheduled", "queued"),
    ("scheduled", "canceled"),
    ("scheduled", "expired"),
    ("queued", "running"),
    ("queued", "canceled"),
    ("queued", "expired"),
    ("queued", "failed"),
    ("running", "queued"),
    ("running", "canceling"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("canceling", "succeeded"),
    ("canceling", "canceled"),
}


def moves(ledger) -> set[tuple[str, str]]:
    """Each change of a status that an event tells; '' stands before a job's first."""
    last: dict[str, str] = {}
    made = set()
    for _, event in ledger.redis.xrange(keys.EVENTS):
        made.add((last.get(event["id"], ""), event["status"]))
        last[event["id"]] = event["status"]
    return made


def ended(desk, ledger, clock, status: str):
    """A job with this final status, by the shortest way; and its attempt, where it had one."""
    if status == "expired":
        job, attempt = desk.submit(queue_ttl_s=1), None
        clock.forward(1)
        ledger.expire(LATE)
    elif status == "canceled":
        job, attempt = desk.submit(), None
        desk.cancel(job)
    else:
        attempt = desk.running()
        job = attempt.fixed
        desk.commit(attempt) if status == "succeeded" else desk.fail(attempt, ModelFailed("boom"))
    assert desk.status(job) == status
    return job, attempt


def test_these_transitions_and_no_other_are_made(desk, ledger, clock):
    """Every verb that changes a status, from each status it is for."""
    for status in sorted(FINAL):
        ended(desk, ledger, clock, status)
    desk.cancel(desk.submit(start_ms=clock.ms + 60_000))
    desk.submit(start_ms=clock.ms + 60_000, deadline_s=30)
    clock.forward(31)
    ledger.expire(LATE)
    desk.submit(start_ms=clock.ms + 1_000)
    clock.forward(1)
    ledger.due()
    assert desk.commit(desk.claim()) == "succeeded"
    retried = desk.running(deadline_s=60)
    desk.fail(retried, delay_s=10)
    clock.forward(60)
    ledger.expire(LATE)
    for end in (desk.commit, desk.fail):
        asked = desk.running()
        desk.cancel(asked)
        end(asked)
    assert moves(ledger) == MOVES


@pytest.mark.parametrize("status", sorted(FINAL))
def test_nothing_leaves_a_final_status(desk, ledger, clock, status):
    """Every verb is asked of an ended job, at once and when all its clocks have run out."""
    job, attempt = ended(desk, ledger, clock, status)
    for _ in range(2):
        with contextlib.suppress(Conflict):
            desk.cancel(job)
        if attempt:
            desk.commit(attempt)
            desk.fail(attempt)
            ledger.release(job.id, attempt.token)
            ledger.report(job.id, attempt.token, "running", 0.5)
        assert desk.claim() is None
        clock.forward(30)
        ledger.sweep("cpu")
        ledger.due()
        ledger.expire(LATE)
        assert desk.status(job) == status
    assert not [move for move in moves(ledger) if move[0] in FINAL]


def test_every_status_is_reached():
    assert {after for _, after in MOVES} == {str(status) for status in Status}
