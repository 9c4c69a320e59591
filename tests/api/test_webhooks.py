"""Webhooks over HTTP: what a submit may name, the secrets that sign, how a job shows its webhook, and the replay."""

import json

import pytest

from api import keyfile
from tasks.service.looks import Ask
from tasks.webhook import WebhookRequest
from tasks.webhook_secrets import LOOK_S, WebhookSecrets
from tests.api.conftest import PROMPT, problem

HOOK = "https://a.example/hook?key=hidden"


@pytest.fixture
def signing(acme):
    """A tenant that has a secret."""
    assert acme.post("/v1/webhooks/secret").status_code == 201
    return acme


def test_a_job_shows_its_webhook_without_the_query(signing, hand):
    job = signing.submit(webhook={"url": HOOK})
    shown = {"url": "https://a.example/hook", "events": ["completed"], "status": None, "attempts": 0}
    rest = {"next_try_at": None, "last_answer": None}
    assert job["webhook"] == {**shown, **rest}
    hand.finish(hand.claim())
    told = signing.get(job["links"]["self"]).json
    assert (told["webhook"]["status"], told["webhook"]["next_try_at"]) == ("pending", told["completed_at"])
    (row,) = signing.get("/v1/jobs").json["data"]
    assert row["webhook"] == told["webhook"] and "hidden" not in json.dumps([job, told, row])
    assert signing.submit()["webhook"] is None


def test_the_last_event_of_a_job_shows_it_too(signing, hand, app):
    job = signing.submit(webhook={"url": HOOK})
    hand.finish(hand.claim())
    ask = Ask(job["id"])
    look = app.services.jobs.looks.at([ask])[ask]
    assert look.job.webhook.status == "pending"


def test_a_retry_keeps_it_and_a_form_may_name_it(signing):
    form = {"kind": "generate", "prompt": "Once", "webhook": json.dumps({"url": HOOK})}
    job = signing.post("/v1/jobs", data=form, content_type="multipart/form-data").json
    assert job["webhook"]["url"] == "https://a.example/hook"
    signing.post(job["links"]["cancel"])
    assert signing.post(job["links"]["retry"]).json["webhook"]["events"] == ["completed"]


LONG = "https://a.example/" + "x" * (2048 - len("https://a.example/"))
WRONG = {
    LONG + "x": "at most 2048 characters",
    "http://a.example/x": "only https",
    "https://10.0.0.1/x": "private address",
    "https://0xa.1/x": "private address",
    "https://[::1]/x": "private address",
    "https://me:secret@a.example/x": "user name or password",
    "https://a.example/x#y": "no #fragment",
    "https://a.example/\u00e9": "beyond ASCII",
    "s3://bucket/key": "https://host/path alone",
    "upload:upload_00000000000000000000000000": "https://host/path alone",
    "file:///etc/passwd": "not accepted",
    "https://": "no host",
}


@pytest.mark.parametrize("url", WRONG)
def test_a_url_that_may_not_be_reached_is_refused_at_submit(signing, url):
    (wrong,) = problem(signing.post("/v1/jobs", json={**PROMPT, "webhook": {"url": url}}), 422, "invalid_input")[
        "errors"
    ]
    assert wrong["pointer"] == "/webhook/url" and WRONG[url] in wrong["detail"] and "secret" not in wrong["detail"]


def test_the_longest_url_is_accepted(signing):
    assert signing.submit(webhook={"url": LONG})["webhook"]["url"] == LONG


@pytest.mark.parametrize(
    ("webhook", "pointer"),
    [({}, "url"), ({"url": HOOK, "events": []}, "events"), ({"url": HOOK, "events": ["begun"]}, "events/0"),
     ({"url": HOOK, "secret": "x"}, "secret")],
)  # fmt: skip
def test_an_odd_webhook_is_refused_with_its_place(signing, webhook, pointer):
    (wrong,) = problem(signing.post("/v1/jobs", json={**PROMPT, "webhook": webhook}), 422, "invalid_input")["errors"]
    assert wrong["pointer"] == f"/webhook/{pointer}"


def test_a_webhook_needs_a_secret(acme, rival):
    refused = problem(acme.post("/v1/jobs", json={**PROMPT, "webhook": {"url": HOOK}}), 422, "invalid_input")
    assert "POST /v1/webhooks/secret" in refused["errors"][0]["detail"]
    rival.post("/v1/webhooks/secret")
    assert acme.get("/v1/webhooks/secret").json == {"object": "list", "data": []}
    assert rival.submit(webhook={"url": HOOK})["webhook"]


def test_secrets_rotate_with_two_valid_at_once(signing):
    (first,) = signing.get("/v1/webhooks/secret").json["data"]
    assert first["secret"].startswith("whsec_") and first["expires_at"] is None
    second, was_first = signing.post("/v1/webhooks/secret").json["data"]
    assert was_first["secret"] == first["secret"] and was_first["expires_at"]
    third, was_second = signing.post("/v1/webhooks/secret").json["data"]
    assert was_second["secret"] == second["secret"] and third["secret"] not in (first["secret"], second["secret"])
    assert signing.get("/v1/webhooks/secret").json["data"] == [third, was_second]


def test_secrets_are_the_tenants_own(signing, rival, operator, app, settings):
    """An operator may name the tenant; a key that may read alone sees none."""
    secrets = signing.get("/v1/webhooks/secret").json["data"]
    problem(rival.get("/v1/webhooks/secret?tenant=acme"), 403, "forbidden")
    assert operator.get("/v1/webhooks/secret?tenant=acme").json["data"] == secrets
    reader = app.test_client()
    reader.key = keyfile.add(settings.keys_file, "acme", access="read")
    app.extensions["backlot"].keys._checked = float("-inf")
    problem(reader.get("/v1/webhooks/secret"), 403, "forbidden")


def test_a_file_that_cannot_be_read_changes_nothing(signing, settings):
    """The secrets known before stay, and a rotation is refused; nothing of the file is shown."""
    secrets = signing.get("/v1/webhooks/secret").json["data"]
    settings.webhook_secrets_file().write_text('{"tenants": {"acme": [{"secret": "hidden"}]}}')
    assert signing.get("/v1/webhooks/secret").json["data"] == secrets
    refused = problem(signing.post("/v1/webhooks/secret"), 503, "not_ready")
    assert "hidden" not in refused["detail"] and signing.submit(webhook={"url": HOOK})


def test_a_replay_is_of_an_ended_job_with_a_webhook(signing, rival):
    job, without = signing.submit(webhook={"url": HOOK}), signing.submit()
    path = f"/v1/jobs/{job['id']}/webhook/replay"
    assert "has not ended" in problem(signing.post(path), 409, "conflict")["detail"]
    signing.post(job["links"]["cancel"])
    assert signing.post(path).json["webhook"]["status"] == "pending"
    problem(rival.post(path), 404, "not_found")
    refused = problem(signing.post(f"/v1/jobs/{without['id']}/webhook/replay"), 409, "conflict")
    assert "has no webhook" in refused["detail"]


def test_an_idempotency_key_covers_the_webhook(signing):
    headers = {"Idempotency-Key": "k"}
    first = signing.post("/v1/jobs", json={**PROMPT, "webhook": {"url": HOOK}}, headers=headers)
    again = signing.post("/v1/jobs", json={**PROMPT, "webhook": {"url": HOOK}}, headers=headers)
    assert first.json["id"] == again.json["id"]
    problem(signing.post("/v1/jobs", json=PROMPT, headers=headers), 422, "idempotency_key_reused")


def test_erasing_a_tenant_takes_its_secrets(signing, operator, settings):
    operator.post("/v1/webhooks/secret?tenant=old")
    assert "old" in settings.webhook_secrets_file().read_text()
    assert operator.delete("/v1/tenants/old").status_code == 202
    assert "old" not in json.loads(settings.webhook_secrets_file().read_text())["tenants"]
    assert signing.get("/v1/webhooks/secret").json["data"]


DEFAULT = "/v1/webhooks/default"


def test_a_default_holds_for_jobs_that_leave_the_field_out(signing, rival):
    """null is none; a job's own wins; it is shown without its query, and another tenant has none."""
    assert signing.get(DEFAULT).json == {"object": "webhook_default", "url": None, "events": []}
    told = signing.put(DEFAULT, json={"url": HOOK, "events": ["started", "completed"]}).json
    assert told == {"object": "webhook_default", "url": "https://a.example/hook", "events": ["started", "completed"]}
    assert signing.get(DEFAULT).json == told and rival.get(DEFAULT).json["url"] is None
    assert signing.submit()["webhook"]["events"] == ["started", "completed"]
    assert signing.submit(webhook=None)["webhook"] is None and rival.submit()["webhook"] is None
    assert signing.submit(webhook={"url": "https://b.example/"})["webhook"]["url"] == "https://b.example/"
    form = {"kind": "generate", "prompt": "Once", "webhook": "null"}
    assert signing.post("/v1/jobs", data=form, content_type="multipart/form-data").json["webhook"] is None
    assert signing.delete(DEFAULT).status_code == 204 and signing.submit()["webhook"] is None


def test_a_default_is_not_for_batches(signing):
    signing.put(DEFAULT, json={"url": HOOK})
    batch = signing.post("/v1/batches", data=json.dumps(PROMPT), content_type="application/jsonl").json
    (line,) = map(json.loads, signing.get(batch["links"]["results"]).data.splitlines())
    assert batch["webhook"] is None and line["job"]["webhook"] is None


def test_a_default_that_may_not_be_is_refused(signing, rival, operator):
    for url in ("http://a.example/x", "https://10.0.0.1/x"):
        problem(signing.put(DEFAULT, json={"url": url}), 422, "invalid_input")
    refused = problem(rival.put(DEFAULT, json={"url": HOOK}), 422, "invalid_input")
    assert "POST /v1/webhooks/secret" in refused["errors"][0]["detail"]
    problem(rival.put(DEFAULT + "?tenant=acme", json={"url": HOOK}), 403, "forbidden")
    assert operator.put(DEFAULT + "?tenant=acme", json={"url": HOOK}).status_code == 200
    assert signing.submit()["webhook"]["url"] == "https://a.example/hook"


def test_another_process_hears_of_a_default(signing, settings, app):
    """It reads the file again a second later; erasing the tenant takes the default with the secrets."""
    other = WebhookSecrets(settings.webhook_secrets_file())
    other.set_default("acme", WebhookRequest(url=HOOK))
    app.services.jobs.webhooks.secrets._looked_at -= LOOK_S
    assert signing.submit()["webhook"]["url"] == "https://a.example/hook"
    other.remove("acme")
    assert "defaults" not in json.loads(settings.webhook_secrets_file().read_text())
