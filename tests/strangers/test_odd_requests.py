"""A tenant that asks oddly: each request is refused, or its job is shown from then on, and no other tenant notices."""

import gzip
import json

import pytest

from api.client import ApiError, Client
from tasks.bucket.storage import Storage
from tests.stack import until

PROMPT = {"kind": "generate", "model": "cpu-noop", "input": {"prompt": "x"}}
ODD_FIELDS = [
    ({"start_at": "0001-01-01T00:00:00+01:00"}, 422),
    ({"start_at": "1798761600"}, 422),
    ({"start_at": "9999-12-31T23:59:59-01:00"}, 422),
    ({"start_at": "1970-01-01T00:00:00Z"}, 202),
    ({"queue_ttl_s": 5e-324}, 422),
    ({"retention_s": 1e308}, 422),
    ({"deadline_s": 1}, 202),
    ({"metadata": {"n": 10**300}}, 422),
    ({"metadata": {"n": 2**64 - 1, "": "\0", "__proto__": {}}}, 202),
    ({"priority": 10**20}, 422),
    ({"max_attempts": 1.5}, 422),
]
NAMES = ["a.txt", "c#d.txt", "g?h", "100%.txt", "%2F", "é b.txt", "..txt"]


def test_a_tenant_that_asks_oddly_spoils_no_list_and_no_duty(town):
    """Numbers and times at their edges, all at once: what was accepted is shown, alone and in lists; the keeper goes on
    writing job.json for everybody; the honest tenant sees nothing of it."""
    with town.honest.beside("odd numbers and times") as seen, town.client as stranger:
        accepted = []
        for changes, status in ODD_FIELDS:
            answer = stranger.post("/v1/jobs", json={**PROMPT, **changes})
            assert answer.status_code == status, (changes, answer.text)
            accepted += [answer.json()["id"]] if status == 202 else []
        listed = stranger.get("/v1/jobs?limit=100")
        assert listed.status_code == 200 and {job["id"] for job in listed.json()["data"]} >= set(accepted)
        for job in accepted:
            assert stranger.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=30"}).json()["done"]
            key = f"tenants/stranger/jobs/{job}/job.json"
            storage = Storage(town.stack.settings)
            until(lambda key=key, storage=storage: storage.head(key), 30, "job.json is written")
    assert seen.jobs and not seen.errors


def test_a_body_that_is_not_understood_erases_nothing(town):
    """A filter in a body, an unknown word in a query, a packed body, a form of other bytes: refused, each by name."""
    with town.honest.beside("requests that are not understood") as seen, town.client as stranger:
        job = stranger.post("/v1/jobs", json=PROMPT).json()["id"]
        packed = gzip.compress(json.dumps(PROMPT).encode())
        form = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\ncaf\xe9\r\n--b--\r\n'
        for status, said, answer in (
            (400, "no body", stranger.request("DELETE", "/v1/dead-letters", json={"kind": "caption"})),
            (422, "/kind", stranger.post("/v1/dead-letters/replay", json={"kind": "caption"})),
            (400, "no body", stranger.post(f"/v1/jobs/{job}/cancel", json={"if": "queued"})),
            (422, "/dry_run", stranger.delete(f"/v1/jobs/{job}?dry_run=1")),
            (
                415,
                "gzip",
                stranger.post(
                    "/v1/jobs", content=packed, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
                ),
            ),
            (
                400,
                "not UTF-8",
                stranger.post("/v1/jobs", content=form, headers={"Content-Type": "multipart/form-data; boundary=b"}),
            ),
        ):
            assert answer.status_code == status and said in answer.text, answer.text
            assert answer.headers["Content-Type"] == "application/problem+json"
        assert stranger.get(f"/v1/jobs/{job}").status_code == 200
    assert seen.jobs and not seen.errors


def ended(town, names: list[str]) -> dict:
    with town.client as stranger:
        body = {"kind": "generate", "model": "cpu-names", "input": {"prompt": json.dumps(names)}}
        job = stranger.post("/v1/jobs", json=body).json()["id"]
        return until(
            lambda: (found := stranger.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=30"}).json())["done"] and found,
            60,
            "the job has ended",
        )


def test_every_output_can_be_fetched_whatever_it_is_called(town, tmp_path):
    """By its url as the record shows it, and by the client, all of them."""
    job = ended(town, NAMES)
    assert job["status"] == "succeeded", job["error"]
    assert [output["name"] for output in job["outputs"]] == NAMES
    with town.client as stranger:
        for output in job["outputs"]:
            answer = stranger.get(output["url"])
            assert answer.status_code == 307, output
    client = Client(town.api.url, town.key)
    assert {path.name: path.read_text() for path in client.download_all(job["id"], tmp_path)} == {
        name: name for name in NAMES
    }
    with pytest.raises(ApiError, match="no output"):
        client.download(job["id"], "nothing", tmp_path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["left/a.txt", "right/a.txt"], "more than one output of the name 'a.txt'"),
        (["a\nb.txt"], "control characters"),
        (["x" * 201], "201 bytes"),
    ],
)
def test_outputs_that_would_be_lost_fail_the_job(town, names, said):
    """In one attempt, with the name: nothing is left out and nothing renamed."""
    job = ended(town, names)
    assert (job["status"], job["error"]["code"], len(job["attempts"])) == ("failed", "model_failed", 1)
    assert said in job["error"]["detail"] and job["outputs"] == []


def test_an_operator_ends_what_a_tenant_began_and_the_log_says_who(town):
    """The one key ends a stranger's job; the other cannot end an honest tenant's, whatever tenant it names."""
    assert town.honest.alone().jobs
    with town.client as stranger, town.client_of(town.operator_key) as operator:
        job = stranger.post("/v1/jobs", json={**PROMPT, "model": "cpu-sleep", "input": {"prompt": "60"}}).json()["id"]
        assert operator.get(f"/v1/jobs/{job}").json()["tenant"] == "stranger"
        (theirs,) = operator.get("/v1/jobs?tenant=honest&limit=1").json()["data"]
        assert stranger.get(f"/v1/jobs/{theirs['id']}").status_code == 404
        assert stranger.delete(f"/v1/jobs/{theirs['id']}?tenant=honest").status_code == 403
        assert operator.post(f"/v1/jobs/{job}/cancel").status_code == 202
        waited = operator.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=30"})
        assert waited.json()["status"] == "canceled" == stranger.get(f"/v1/jobs/{job}").json()["status"]
        erased = operator.delete(f"/v1/jobs/{job}")
        assert erased.status_code == 204 and not {"content-length", "content-type"} & set(erased.headers)
    lines = [json.loads(line) for line in town.api.log().splitlines() if line.startswith('{"at"')]
    (canceled,) = [line for line in lines if line.get("job") == job and line["method"] == "POST"]
    assert (canceled["tenant"], canceled["of"], canceled["from"]) == ("operator", "stranger", "127.0.0.1")
    assert [line["route"] for line in lines if line["status"] == 403] == ["/v1/jobs/<job_id>"]
    assert town.key not in town.api.log() and town.operator_key not in town.api.log()
