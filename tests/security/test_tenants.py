"""What is a tenant's is nobody else's: every route of the app, asked by another tenant for jobs in every status."""

import json
import time

import httpx
import pytest

from tasks.bucket.layout import job_json_key
from tasks.errors import DeadlineExceeded, ModelFailed, WorkerLost
from tasks.ids import new_id
from tasks.job import Status
from tasks.ledger import keys
from tests.api.conftest import PROMPT, in_seconds, problem, unknown_job
from tests.stack import until

OF_A_JOB = {
    ("GET", "/v1/jobs/<job_id>"),
    ("DELETE", "/v1/jobs/<job_id>"),
    ("PATCH", "/v1/jobs/<job_id>"),
    ("POST", "/v1/jobs/<job_id>/cancel"),
    ("POST", "/v1/jobs/<job_id>/retry"),
    ("GET", "/v1/jobs/<job_id>/outputs/<name>"),
    ("GET", "/v1/jobs/<job_id>/events"),
    ("GET", "/v1/jobs/<job_id>/logs"),
    ("POST", "/v1/jobs/<job_id>/webhook/replay"),
    ("POST", "/v1/jobs/<job_id>/delivery/replay"),
}
OF_A_TENANT = {
    ("POST", "/v1/jobs"),
    ("POST", "/v1/batches"),
    ("GET", "/v1/batches"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/events"),
    ("POST", "/v1/uploads"),
    ("GET", "/v1/webhooks/secret"),  # tests/api/test_webhooks.py
    ("POST", "/v1/webhooks/secret"),
    ("GET", "/v1/dead-letters"),
    ("DELETE", "/v1/dead-letters"),
    ("POST", "/v1/dead-letters/replay"),
}
OF_A_BATCH = {  # tests/api/test_batch_life.py
    ("GET", "/v1/batches/<batch_id>"),
    ("GET", "/v1/batches/<batch_id>/results"),
    ("POST", "/v1/batches/<batch_id>/cancel"),
    ("POST", "/v1/batches/<batch_id>/webhook/replay"),  # tests/api/test_batch_webhooks.py
    ("DELETE", "/v1/batches/<batch_id>"),
}
OF_A_SCHEDULE = {  # tests/api/test_schedules.py
    ("POST", "/v1/schedules"),
    ("GET", "/v1/schedules"),
    ("GET", "/v1/schedules/<schedule_id>"),
    ("PATCH", "/v1/schedules/<schedule_id>"),
    ("DELETE", "/v1/schedules/<schedule_id>"),
}
OF_OPERATORS = {
    ("GET", "/v1/jobs/<job_id>/explanation"),
    ("GET", "/v1/pools"),
    ("GET", "/v1/pools/<name>"),
    ("GET", "/v1/keys"),
    ("DELETE", "/v1/tenants/<tenant>"),
    ("GET", "/v1/tenants/<tenant>/erasure"),
    ("GET", "/v1/pauses"),
    *(
        (method, f"/v1/pauses/{what}")
        for method in ("PUT", "DELETE")
        for what in ("pool/<name>", "model/<kind>/<name>", "tenant/<tenant>")
    ),
}
OF_ANY_KEY = {("GET", "/v1/limits"), ("GET", "/v1/usage"), ("GET", "/v1/models"), ("GET", "/v1/models/<kind>/<name>")}
OF_ANYBODY = {("GET", "/"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/openapi.json")}
OF_WEBHOOKS = {  # tests/api/test_webhooks.py
    ("GET", "/v1/webhooks/default"),
    ("PUT", "/v1/webhooks/default"),
    ("DELETE", "/v1/webhooks/default"),
}
KNOWN = OF_WEBHOOKS | OF_A_JOB | OF_A_BATCH | OF_A_SCHEDULE | OF_A_TENANT | OF_OPERATORS | OF_ANY_KEY | OF_ANYBODY
KEPT_IN_THE_BUCKET = "in the bucket alone"


def routes(app) -> set[tuple[str, str]]:
    return {(method, rule.rule) for rule in app.url_map.iter_rules() for method in rule.methods - {"HEAD", "OPTIONS"}}


def test_every_route_is_judged_here(app):
    """Whoever adds a route says whose it is."""
    assert routes(app) <= KNOWN, "a new route: put it in one of the sets above, and see that it is tried below"


@pytest.fixture
def theirs(acme, hand, ledger, storage) -> dict[str, str]:
    """A job of acme's by status: its id. All were made and ended as a worker would."""
    found = {"scheduled": acme.submit(start_at=in_seconds(3600))["id"]}

    def running(**changes) -> tuple[str, object]:
        job = acme.submit(metadata={"secret": "acme-only"}, **changes)["id"]
        claimed = hand.claim()
        assert claimed.fixed.id == job
        return job, claimed

    for status in ("succeeded", KEPT_IN_THE_BUCKET):
        found[status], claimed = running()
        hand.finish(claimed, "acme-only")
    gone = found[KEPT_IN_THE_BUCKET]
    storage.put_bytes(job_json_key("acme", gone), acme.get(f"/v1/jobs/{gone}").data, "application/json")
    ledger.redis.delete(keys.job(gone))
    ledger.redis.zrem(keys.tenant_jobs("acme"), gone)
    found["failed"], claimed = running()
    ledger.fail(found["failed"], claimed.token, ModelFailed("acme-only"))
    found["a dead letter"], claimed = running(max_attempts=1)
    ledger.fail(found["a dead letter"], claimed.token, WorkerLost("acme-only"))
    found["running"], _ = running()
    found["canceling"], _ = running()
    acme.post(f"/v1/jobs/{found['canceling']}/cancel")
    found["expired"] = acme.submit(queue_ttl_s=0.001)["id"]
    until(lambda: found["expired"] in ledger.expire(DeadlineExceeded("late")))
    found["canceled"] = acme.submit()["id"]
    acme.post(f"/v1/jobs/{found['canceled']}/cancel")
    found["queued"] = acme.submit(metadata={"secret": "acme-only"})["id"]
    for status in set(found) & set(Status):
        assert acme.get(f"/v1/jobs/{found[status]}").json["status"] == status
    assert {*Status} <= {*found}
    return found


def state(ledger, storage, theirs: dict[str, str]) -> tuple:
    """All that there is of acme's, to compare."""
    return (
        {job: ledger.redis.hgetall(keys.job(job)) for job in theirs.values()},
        ledger.redis.zrange(keys.tenant_jobs("acme"), 0, -1),
        ledger.redis.zrange(keys.TRASH, 0, -1),
        [(seen.key, seen.etag) for seen in storage.list("tenants/acme/")],
    )


def asked(rule: str, job: str) -> str:
    return rule.replace("<job_id>", job).replace("<name>", "text.txt")


def test_no_route_of_a_job_shows_or_moves_another_tenants(app, rival, ledger, storage, theirs):
    """In no status: 404, word for word as of a job that never was, be it asked for, waited for, canceled, erased, done
    again or fetched from."""
    before = state(ledger, storage, theirs)
    never = unknown_job()
    for method, rule in sorted(OF_A_JOB & routes(app)):
        told = {}
        for what, job in {**theirs, "never": never}.items():
            headers = {"Prefer": "wait=5", "Idempotency-Key": f"{method}-{job}"}
            body = {"priority": 1} if method == "PATCH" else None
            answer = rival.open(asked(rule, job), method=method, headers=headers, json=body)
            found = problem(answer, 404, "not_found")
            assert b"acme-only" not in answer.data and "Preference-Applied" not in answer.headers
            told[what] = json.dumps(found).replace(job, "JOB")
        assert set(told.values()) == {told["never"]}, rule
    assert state(ledger, storage, theirs) == before
    assert {job for job in theirs.values() if ledger.redis.exists(keys.job(job))} == {
        job for what, job in theirs.items() if what != KEPT_IN_THE_BUCKET
    }


def test_no_list_shows_another_tenants(app, acme, rival, theirs):
    """Nor by any filter, nor from a cursor that the other was given."""
    mine = rival.submit()["id"]
    cursor = acme.get("/v1/jobs?limit=2").json["next_cursor"]
    queries = [
        "",
        f"?cursor={cursor}",
        "?limit=100",
        *(f"?status={status}" for status in Status),
        "?kind=generate",
        "?model=transformer",
    ]
    lists = [rule for method, rule in OF_A_TENANT & routes(app) if method == "GET"]
    assert lists
    for rule in lists:
        for query in queries:
            answer = rival.get(rule + query)
            if answer.status_code == 200 and answer.is_json:  # an event stream is none
                assert {job["id"] for job in answer.json["data"]} <= {mine}, rule + query
            assert b"acme-only" not in answer.data


def test_what_is_done_to_all_is_done_to_ones_own(app, rival, ledger, storage, theirs):
    """Replaying and purging dead letters by the dozen leaves the others' where they are."""
    before = state(ledger, storage, theirs)
    for method, rule in sorted(OF_A_TENANT & routes(app)):
        if method == "DELETE" or rule.endswith("/replay"):
            answer = rival.open(rule, method=method, headers={"Idempotency-Key": "all"})
            assert answer.status_code < 300 and b"acme-only" not in answer.data
            assert not any(job in answer.get_data(as_text=True) for job in theirs.values())
    assert state(ledger, storage, theirs) == before


def test_an_upload_is_no_input_of_another_tenants_job(acme, rival, storage, ledger):
    """By its id, in whatever input of whatever kind, and told as one that never was."""
    made = acme.post("/v1/uploads", json={"name": "a.txt"}).json["id"]
    storage.put_bytes(f"tenants/acme/uploads/{made}/a.txt", b"acme-only", "text/plain")
    assert acme.submit(input={"prompt": {"url": f"upload:{made}"}})
    never = new_id("upload")
    for asks in (
        {"kind": "generate", "input": {"prompt": {"url": "upload:ID"}}},
        {"kind": "transcribe", "input": {"audio": "upload:ID"}},
        {"kind": "caption", "input": {"image": "upload:ID"}},
        {"kind": "recommend", "input": {"catalogue": "upload:ID", "history": ["x"]}},
    ):
        told = [
            json.dumps(
                problem(
                    rival.post("/v1/jobs", json=json.loads(json.dumps(asks).replace("ID", upload))),
                    422,
                    "invalid_input",
                )
            ).replace(upload, "ID")
            for upload in (made, never)
        ]
        assert told[0] == told[1] and "there is no upload" in told[0]
    form = {"kind": "generate", "prompt": f"upload:{made}"}
    answer = rival.post("/v1/jobs", data=form, content_type="multipart/form-data")
    if answer.status_code == 202:  # a text that looks like a source is a text
        assert "uploads" not in json.loads(ledger.record(answer.json["id"])["fixed"])


@pytest.mark.parametrize(
    "source",
    [
        "s3://BUCKET/tenants/acme/jobs/JOB/1-00000001/text.txt",
        "s3://BUCKET/tenants/rival/../acme/jobs/JOB/job.json",
        "s3://BUCKET",
        "upload:../../acme/uploads/x",
        "upload:JOB",
        "job:JOB/text.txt",
        "/v1/jobs/JOB/outputs/text.txt",
    ],
)
def test_an_output_is_no_input_of_another_tenants_job(rival, settings, theirs, source):
    """By no spelling of a source."""
    url = source.replace("BUCKET", settings.s3_bucket).replace("JOB", theirs["succeeded"])
    problem(rival.post("/v1/jobs", json={**PROMPT, "input": {"prompt": {"url": url}}}), 422, "invalid_input")


def test_an_idempotency_key_is_its_tenants_alone(acme, rival):
    """The same key from two tenants makes two jobs, each held against its own tenant's request."""
    headers = {"Idempotency-Key": "one-and-the-same"}
    mine = acme.post("/v1/jobs", json=PROMPT, headers=headers).json["id"]
    other = {**PROMPT, "input": {"prompt": "something else"}}
    answer = rival.post("/v1/jobs", json=other, headers=headers)
    assert answer.status_code == 202 and answer.json["id"] != mine and "Idempotency-Replayed" not in answer.headers
    problem(rival.post("/v1/jobs", json=PROMPT, headers=headers), 422, "idempotency_key_reused")
    assert acme.post("/v1/jobs", json=PROMPT, headers=headers).json["id"] == mine


def test_the_key_of_a_batch_is_its_tenants_alone(acme, rival):
    """The same key and the same lines from two tenants make jobs of each."""
    sent = {"data": json.dumps(PROMPT), "content_type": "application/jsonl", "headers": {"Idempotency-Key": "the-same"}}
    mine, others = (caller.post("/v1/batches", **sent).json["id"] for caller in (acme, rival))
    assert mine != others
    problem(rival.get(f"/v1/batches/{mine}"), 404, "not_found")
    assert acme.post("/v1/batches", **sent).json["id"] == mine


def test_a_waiter_learns_nothing_of_another_tenants_job(acme, rival, theirs):
    """Answered at once: to wait would tell that there is something to wait for."""
    for job in theirs.values():
        before = time.monotonic()
        problem(rival.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=30"}), 404, "not_found")
        assert time.monotonic() - before < 10


def test_an_output_link_opens_the_one_object(acme, theirs):
    """What is signed is that key: a link to one output, bent to another object, is refused by the bucket."""
    link = acme.get(f"/v1/jobs/{theirs['succeeded']}/outputs/text.txt").headers["Location"]
    assert httpx.get(link, trust_env=False).text == "acme-only"
    for bent in (link.replace("text.txt?", "other.txt?"), link.replace("/acme/", "/rival/"), link.partition("?")[0]):
        assert httpx.get(bent, trust_env=False).status_code in (400, 401, 403)


@pytest.mark.parametrize(("scope", "status"), [("tenant", {403}), ("operator", {200, 202, 404})])
def test_what_is_the_operators_is_refused_to_tenants(app, caller, scope, status):
    anybody = caller("rival", scope)
    for method, rule in sorted(OF_OPERATORS & routes(app)):
        path = rule.replace("<kind>/<name>", "generate/lstm").replace("<name>", "gpu").replace("<tenant>", "gone")
        body = {"json": {}} if method == "PUT" else {}
        assert anybody.open(path, method=method, **body).status_code in status, (method, rule)


def test_without_a_key_nothing_but_the_open_routes_is_answered(app, theirs):
    """Every route of the app, without a key and with one that is none."""
    for headers in ({}, {"Authorization": "Bearer bk_none"}):
        for method, rule in sorted(routes(app)):
            path = asked(rule, theirs["succeeded"]).replace("<kind>", "generate")
            answer = app.test_client().open(path, method=method, headers={"Authorization": "", **headers})
            if (method, rule) in OF_ANYBODY:
                assert answer.status_code == 200
            else:
                problem(answer, 401, "unauthorized")


def test_a_tenant_of_a_name_that_begins_alike_sees_nothing(caller, theirs):
    """Prefixes of the bucket and keys of Redis end where the name ends."""
    for name in ("acm", "acme-2", "a", "acme-"):
        other = caller(name)
        assert other.get("/v1/jobs?limit=100").json["data"] == []
        problem(other.get(f"/v1/jobs/{theirs['succeeded']}"), 404, "not_found")
