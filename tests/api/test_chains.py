"""Sources job:<id>[/<output>] and line:<custom_id>: jobs that wait for others, over the API."""

import io
import json

import pytest

from tasks.ledger import keys
from tasks.service.submits import Submits, Wanted
from tests.api.conftest import PROMPT, as_job, problem, unknown_job
from tests.api.test_batches import lines_of, send


def after(job_id: str, output: str = "") -> dict:
    """The input of a job that goes on from another's text or output."""
    return {"prompt": {"url": f"job:{job_id}/{output}" if output else f"job:{job_id}"}}


def shown(caller, job: dict) -> dict:
    return caller.get(f"/v1/jobs/{job['id']}").json


def detail(answer, pointer: str, code: str = "invalid_input") -> str:
    """The sentence of a refusal about one input."""
    (error,) = problem(answer, 422, code)["errors"]
    assert error["pointer"] == pointer
    return error["detail"]


def test_a_job_waits_for_the_one_whose_text_it_takes(acme, hand):
    first = acme.submit()
    answer = acme.post("/v1/jobs", json={**PROMPT, "input": after(first["id"])})
    job = as_job(answer)
    assert (answer.status_code, job.status, job.waits_for, job.start_by) == (202, "scheduled", [first["id"]], None)
    assert job.input == after(first["id"])
    hand.finish(hand.claim())
    waits = shown(acme, answer.json)
    assert (waits["status"], waits["waits_for"], waits["queue_position"]) == ("queued", [], 1)
    assert waits["start_by"]


def test_a_text_that_looks_like_a_source_stays_a_text(acme):
    job = acme.submit(input={"prompt": f"job:{unknown_job()}"})
    assert (job["status"], job["waits_for"]) == ("queued", [])


def test_a_source_that_fails_fails_the_job_and_the_next_one(acme, operator, ledger):
    """It names the job that it waited for."""
    first = acme.submit()
    second, third = acme.submit(input=after(first["id"])), None
    third = acme.submit(input=after(second["id"]))
    acme.post(f"/v1/jobs/{first['id']}/cancel")
    assert ledger.settle_chains() == (False, [])
    assert shown(acme, second)["error"] == {
        "code": "dependency_failed",
        "detail": f"the job waited for {first['id']}, which ended as canceled",
        "retryable": False,
    }
    assert shown(acme, third)["error"]["detail"] == f"the job waited for {second['id']}, which ended as failed"


def test_a_submit_says_at_once_what_can_never_be(acme, rival, hand):
    ended, canceled, theirs, films = acme.submit(), acme.submit(), rival.submit(), None
    hand.finish(hand.claim())
    acme.post(f"/v1/jobs/{canceled['id']}/cancel")
    with io.BytesIO(b"title\nJaws\n") as table:
        films = acme.post(
            "/v1/jobs",
            data={"kind": "recommend", "catalogue": (table, "films.csv"), "history": '["Jaws"]'},
            content_type="multipart/form-data",
        ).json

    def refused(named: str, code: str = "invalid_input", kind: str = "generate") -> str:
        given = {"prompt": {"url": named}} if kind == "generate" else {"audio": named}
        place = "/input/prompt/url" if kind == "generate" else "/input/audio"
        return detail(acme.post("/v1/jobs", json={"kind": kind, "input": given}), place, code)

    missing = unknown_job()
    assert refused(f"job:{missing}") == f"there is no job {missing}"
    assert refused(f"job:{theirs['id']}") == f"there is no job {theirs['id']}"
    why = refused(f"job:{canceled['id']}", "dependency_failed")
    assert why == f"job {canceled['id']} has ended as canceled; retry it, and name the new job"
    why = refused(f"job:{ended['id']}/text.srt")
    assert why == f"job {ended['id']} has no output 'text.srt'; its outputs: text.txt"
    why = refused(f"job:{ended['id']}", kind="transcribe")
    assert why == f"this input is a file: name an output, as job:{ended['id']}/<output>"
    why = refused(f"job:{films['id']}")
    assert why == f"a recommend job makes no text: name an output, as job:{films['id']}/<output>"
    assert (
        refused("line:a") == "a source line:<custom_id> names an earlier line of the same batch, and this is no batch"
    )
    assert "a job source is job:<id>" in refused("job:job_1")
    assert "a job source is job:<id>" in refused(f"job:{ended['id']}/")
    assert "a job source is job:<id>" in refused(f"job:{ended['id']}/" + "x" * 201)


def test_a_file_of_a_form_may_be_an_output(acme, hand):
    first = acme.submit()
    form = {"kind": "transcribe", "audio": f"job:{first['id']}/take.wav"}
    job = acme.post("/v1/jobs", data=form, content_type="multipart/form-data").json
    assert (job["status"], job["waits_for"]) == ("scheduled", [first["id"]])


def test_a_source_is_not_deleted_while_a_job_needs_it(acme, hand):
    """Neither while the job waits, nor while it is queued and runs."""
    first = acme.submit()
    job = acme.submit(input=after(first["id"]))
    hand.finish(hand.claim())
    told = problem(acme.delete(f"/v1/jobs/{first['id']}"), 409, "conflict")["detail"]
    assert told == (
        f"job {first['id']} is a source of job {job['id']}, which has not ended; cancel that one first, or wait"
    )
    claimed = hand.claim()
    assert claimed.fixed.id == job["id"]
    problem(acme.delete(f"/v1/jobs/{first['id']}"), 409, "conflict")
    hand.finish(claimed)
    assert acme.delete(f"/v1/jobs/{first['id']}").status_code == 204


def test_a_retry_takes_the_same_source_while_it_lives(acme, hand):
    first = acme.submit()
    job = acme.submit(input=after(first["id"]))
    for _ in range(2):
        hand.finish(hand.claim())
    again = acme.post(f"/v1/jobs/{job['id']}/retry").json
    assert (again["status"], again["input"], again["waits_for"]) == ("queued", after(first["id"]), [])
    hand.finish(hand.claim())
    assert acme.delete(f"/v1/jobs/{first['id']}").status_code == 204
    told = problem(acme.post(f"/v1/jobs/{job['id']}/retry"), 422, "invalid_input")["detail"]
    assert told == f"job {first['id']} was erased"


def test_the_same_request_with_its_key_is_one_job(acme):
    first = acme.submit()
    headers = {"Idempotency-Key": '"k"'}
    asked = {**PROMPT, "input": after(first["id"])}
    one, two = (acme.post("/v1/jobs", json=asked, headers=headers).json["id"] for _ in range(2))
    assert one == two


def test_submits_that_are_gathered_leave_chains_to_flask(app, acme):
    """To look for a job takes a trip of its own, while which others would wait."""
    first = acme.submit()
    body = json.dumps({**PROMPT, "input": after(first["id"])}).encode()
    assert Submits(app.extensions["backlot"].jobs).submit([Wanted("acme", body, None, None)]) == [None]


class TestBatch:
    def test_a_line_goes_on_from_an_earlier_one(self, acme, hand):
        asked = [
            {**PROMPT, "custom_id": "a/b"},
            {**PROMPT, "input": {"prompt": {"url": "line:a/b"}}, "custom_id": "c"},
            {**PROMPT, "input": {"prompt": {"url": "line:a/b/text.txt"}}},
            {**PROMPT, "input": {"prompt": {"url": "line:c"}}},
        ]
        made = [line["job"] for line in lines_of(send(acme, [json.dumps(one).encode() for one in asked]))]
        assert [job["status"] for job in made] == ["queued", "scheduled", "scheduled", "scheduled"]
        assert shown(acme, made[1])["input"] == after(made[0]["id"])
        assert shown(acme, made[2])["input"] == after(made[0]["id"], "text.txt")
        assert shown(acme, made[3])["waits_for"] == [made[1]["id"]]
        hand.finish(hand.claim())
        assert [shown(acme, job)["status"] for job in made] == ["succeeded", "queued", "queued", "scheduled"]

    @pytest.mark.parametrize("named", ["later", "itself", "nobody", "refused"])
    def test_a_line_that_is_no_earlier_one_is_no_source(self, acme, named):
        asked = [
            {**PROMPT, "custom_id": "refused", "model": "none"},
            {**PROMPT, "input": {"prompt": {"url": f"line:{named}"}}, "custom_id": "itself"},
            {**PROMPT, "custom_id": "later"},
        ]
        *_, told, _ = lines_of(send(acme, [json.dumps(one).encode() for one in asked]))
        why = f"no earlier line of the batch has the custom_id '{named}', or that line is refused"
        assert told["error"]["errors"] == [{"pointer": "/input/prompt/url", "detail": why}]

    def test_a_batch_is_erased_once_no_job_outside_needs_a_line_of_it(self, acme, hand, ledger):
        answer = send(acme, [json.dumps(PROMPT).encode()], headers={"Accept": "application/json"})
        batch = answer.json["id"]
        (member,) = (job["id"] for job in acme.get(f"/v1/jobs?batch={batch}").json["data"])
        hand.finish(hand.claim())
        job = acme.submit(input=after(member))
        assert acme.delete(f"/v1/batches/{batch}").status_code == 204
        assert ledger.redis.exists(keys.job(member), keys.batch("acme", batch)) == 2
        assert shown(acme, job)["status"] == "queued"
