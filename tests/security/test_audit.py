"""The audit log: each change, each refusal of a key and each look of an operator at another's things, and no secret."""

import json
from pathlib import Path

import pytest

from api import create_app, keyfile
from tests.api.conftest import PROMPT, Caller, unknown_job


class Logged:
    """Callers of an API that logs into two files, and what stands there."""

    def __init__(self, settings, folder: Path, **changes) -> None:
        self.audit_file, self.access_file = folder / "audit.jsonl", folder / "access.jsonl"
        usual = {"audit_log": str(self.audit_file), "access_log": str(self.access_file), **changes}
        self._settings, self._app = settings, create_app(settings.model_copy(update=usual))
        self._app.test_client_class = Caller

    def caller(self, tenant: str, scope: str = "tenant", name: str = "") -> Caller:
        made = self._app.test_client()
        made.key = keyfile.add(self._settings.keys_file, tenant, scope, name)
        self._app.extensions["backlot"].keys._checked = float("-inf")
        return made

    def audit(self) -> list[dict]:
        return [json.loads(line) for line in self.audit_file.read_text().splitlines()]

    def access(self) -> list[dict]:
        return [json.loads(line) for line in self.access_file.read_text().splitlines()]


@pytest.fixture
def logged(app, settings, tmp_path) -> Logged:
    return Logged(settings, tmp_path)


def test_who_did_what_when_from_where_and_how_it_ended(logged):
    acme = logged.caller("acme", name="ci")
    job = acme.post("/v1/jobs", json=PROMPT, environ_overrides={"REMOTE_ADDR": "203.0.113.7"}).json["id"]
    acme.get(f"/v1/jobs/{job}")
    acme.post(f"/v1/jobs/{job}/cancel")
    again = acme.post(f"/v1/jobs/{job}/retry").json["id"]
    acme.post(f"/v1/jobs/{unknown_job()}/cancel")
    submit, cancel, retry, missed = logged.audit()
    known = keyfile.digest(acme.key)
    assert submit.pop("at").endswith("Z") and submit == {
        "from": "203.0.113.7",
        "method": "POST",
        "route": "/v1/jobs",
        "made": job,
        "status": 202,
        "key": known[:12],
        "name": "ci",
        "tenant": "acme",
        "scope": "tenant",
    }
    assert (cancel["route"], cancel["job"], cancel["status"]) == ("/v1/jobs/<job_id>/cancel", job, 202)
    assert (retry["job"], retry["made"]) == (job, again)
    assert missed["status"] == 404 and missed["key"] == known[:12]


def test_every_refusal_of_a_key_is_noted(logged):
    """Without a key, with one that is none, and with one that may not."""
    acme = logged.caller("acme")
    acme.get("/v1/jobs", headers={"Authorization": ""})
    acme.get("/v1/jobs", headers={"Authorization": "Bearer bk_none"})
    acme.get("/v1/pools")
    acme.get("/v1/jobs?tenant=rival")
    none, wrong, pools, foreign = logged.audit()
    assert (none["status"], none["key"], wrong["status"], wrong["key"]) == (401, None, 401, None)
    assert (pools["status"], pools["route"], pools["tenant"]) == (403, "/v1/pools", "acme")
    assert (foreign["status"], foreign["route"], foreign["tenant"]) == (403, "/v1/jobs", "acme")


def test_an_operators_look_at_anothers_things_is_noted(logged):
    """Its own, and pools that an autoscaler asks for each second, are not."""
    acme, boss = logged.caller("acme"), logged.caller("ops", "operator")
    job = acme.post("/v1/jobs", json=PROMPT).json["id"]
    for path in (f"/v1/jobs/{job}", "/v1/jobs?tenant=acme", "/v1/jobs", "/v1/pools"):
        boss.get(path)
    _, look, row = logged.audit()
    assert (look["method"], look["job"], look["of"], look["scope"]) == ("GET", job, "acme", "operator")
    assert (row["route"], row["of"]) == ("/v1/jobs", "acme")


def test_what_an_operator_paused_is_noted_by_its_name(logged):
    """Once it is known to be one: what is none stands nowhere."""
    boss = logged.caller("ops", "operator")
    boss.put("/v1/pauses/model/generate/lstm", json={"reason": "canary-5e8a0f31"})
    boss.delete("/v1/pauses/pool/cpu")
    boss.put("/v1/pauses/pool/canary-5e8a0f31", json={})
    assert [(line["method"], line.get("target"), line["status"]) for line in logged.audit()] == [
        ("PUT", "generate/lstm", 200),
        ("DELETE", "cpu", 200),
        ("PUT", None, 404),
    ]
    assert "canary" not in logged.audit_file.read_text()


def test_the_access_log_has_every_request(logged):
    acme = logged.caller("acme")
    for path in ("/healthz", "/v1/jobs", "/nowhere"):
        acme.get(path)
    assert [(line["route"], line["status"]) for line in logged.access()] == [
        ("/healthz", 200),
        ("/v1/jobs", 200),
        (None, 404),
    ]
    assert all(line["ms"] >= 0 and line["bytes"] > 0 for line in logged.access())


def test_nothing_that_a_caller_wrote_stands_in_either(logged):
    """Canaries in each place that a caller can write to."""
    acme, canary = logged.caller("acme"), "canary-5e8a0f31"
    keyed = {"Authorization": f"Bearer {acme.key}"}
    for path in (
        f"/v1/jobs/{canary}",
        f"/v1/jobs/{unknown_job()}/outputs/{canary}",
        f"/{canary}",
        f"/v1/models/generate/{canary}",
        f"/v1/jobs?{canary}=1",
        f"/v1/jobs?cursor={canary}",
        f"/v1/pools/{canary}",
        f"/v1/{canary}/x",
        f"/v1/tenants/{canary}/erasure",
    ):
        for method in ("GET", "POST", "DELETE", "CANARY-5E8A0F31"):
            acme.open(path, method=method, headers=keyed)
            acme.open(path, method=method, headers={"Authorization": f"Bearer {canary}"})
    headers = {
        "Idempotency-Key": canary,
        "User-Agent": canary,
        "Referer": canary,
        "Cookie": canary,
        "Prefer": canary,
        "X-Forwarded-For": canary,
        "Origin": canary,
    }
    acme.post("/v1/jobs", json={**PROMPT, "metadata": {canary: canary}, "input": {"prompt": canary}}, headers=headers)
    said = logged.audit_file.read_text() + logged.access_file.read_text()
    assert len(logged.access()) == 73 and acme.key not in said
    assert canary.lower() not in said.lower()


def test_the_log_of_a_defect_names_the_route_and_not_the_path(logged, monkeypatch, caplog):
    """A path may hold a key, or a line break that forges a line."""
    acme = logged.caller("acme")
    monkeypatch.setattr("tasks.service.jobs.Jobs.get", lambda *_: 1 / 0)
    answer = acme.get("/v1/jobs/canary-5e8a0f31%0AERROR forged")
    reference = answer.json["detail"].rpartition(" ")[2]
    assert answer.status_code == 500 and "canary" not in caplog.text and "forged" not in caplog.text
    assert f"/v1/jobs/<job_id> failed, reference {reference}" in caplog.text


def test_the_files_are_their_owners_alone_and_opened_anew_when_moved(logged):
    """As logrotate moves them."""
    acme = logged.caller("acme")
    acme.post("/v1/jobs", json=PROMPT)
    assert logged.audit_file.stat().st_mode & 0o777 == 0o600 == logged.access_file.stat().st_mode & 0o777
    logged.audit_file.rename(logged.audit_file.with_suffix(".1"))
    acme.post("/v1/jobs", json=PROMPT)
    assert len(logged.audit()) == 1


@pytest.mark.parametrize(("where", "out", "err"), [("stdout", 1, 0), ("stderr", 0, 1), ("off", 0, 0)])
def test_the_log_goes_where_the_setting_says(app, settings, tmp_path, capsys, where, out, err):
    Logged(settings, tmp_path, audit_log=where, access_log="off").caller("acme").post("/v1/jobs", json=PROMPT)
    said = capsys.readouterr()
    assert (said.out.count('"route": "/v1/jobs"'), said.err.count('"route": "/v1/jobs"')) == (out, err)


def test_by_default_changes_are_noted_and_requests_are_not(settings):
    assert (settings.audit_log, settings.access_log) == ("stdout", "off")


def test_a_file_that_cannot_be_opened_stops_the_start(settings, tmp_path):
    """Better than a log that nobody writes."""
    with pytest.raises(OSError, match="no-such-folder"):
        create_app(settings.model_copy(update={"audit_log": str(tmp_path / "no-such-folder" / "audit.jsonl")}))
