"""GET /v1/jobs/{id}/logs: the text that a worker kept, of the attempt that is asked for."""

import pytest

from tasks.bucket.layout import job_json_key, log_key
from tasks.errors import WorkerLost
from tasks.ledger import keys
from tests.api.conftest import problem, unknown_job


@pytest.fixture
def failed_once(acme, hand, ledger, storage) -> str:
    """A job whose worker was lost with its log, and that then succeeded."""
    job = acme.submit()["id"]
    first = hand.claim()
    ledger.fail(job, first.token, WorkerLost("gone"))
    ledger.due()
    second = hand.claim()
    storage.put_bytes(log_key("acme", job, second.number, second.token), "two é\n".encode(), "text/plain")
    hand.finish(second)
    return job


def test_the_last_attempts_log_is_plain_text(acme, failed_once):
    answer = acme.get(f"/v1/jobs/{failed_once}/logs")
    assert (answer.status_code, answer.text) == (200, "two é\n")
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_an_attempt_is_named_by_its_number(acme, failed_once):
    """One whose log went with its worker says so."""
    path = f"/v1/jobs/{failed_once}/logs"
    assert acme.get(f"{path}?attempt=2").text == "two é\n"
    assert "nothing is kept of attempt 1" in acme.get(f"{path}?attempt=1").text
    assert "no attempt 3" in problem(acme.get(f"{path}?attempt=3"), 404, "not_found")["detail"]


@pytest.mark.parametrize("attempt", ["0", "-1", "1000001", "x", "1.5", ""])
def test_what_is_no_number_of_an_attempt_is_refused(acme, failed_once, attempt):
    problem(acme.get(f"/v1/jobs/{failed_once}/logs?attempt={attempt}"), 422, "invalid_input")


def test_a_job_that_wrote_nothing_or_has_not_started_has_an_empty_log(acme, hand):
    job = acme.submit()["id"]
    assert acme.get(f"/v1/jobs/{job}/logs").data == b""
    claimed = hand.claim()
    assert acme.get(f"/v1/jobs/{job}/logs").data == b""
    hand.finish(claimed)
    assert acme.get(f"/v1/jobs/{job}/logs").data == b""


def test_a_job_that_only_the_bucket_knows_still_has_it(acme, ledger, storage, failed_once):
    job_json = acme.get(f"/v1/jobs/{failed_once}").data
    storage.put_bytes(job_json_key("acme", failed_once), job_json, "application/json")
    ledger.redis.delete(keys.job(failed_once))
    assert acme.get(f"/v1/jobs/{failed_once}/logs").text == "two é\n"


def test_an_erased_job_has_none(acme, failed_once):
    acme.delete(f"/v1/jobs/{failed_once}")
    problem(acme.get(f"/v1/jobs/{failed_once}/logs"), 410, "gone")


def test_another_tenants_log_is_not_found(rival, operator, failed_once):
    """An operator reads it."""
    missing = problem(rival.get(f"/v1/jobs/{failed_once}/logs"), 404, "not_found")
    never = unknown_job()
    assert (
        missing["detail"].replace(failed_once, never)
        == problem(rival.get(f"/v1/jobs/{never}/logs"), 404, "not_found")["detail"]
    )
    assert operator.get(f"/v1/jobs/{failed_once}/logs?attempt=2&tenant=acme").text == "two é\n"
