"""API keys rotate while the API runs, and a key file that cannot be read for a moment locks nobody out."""

import json

import pytest

from api import create_app, keyfile
from tests.api.conftest import problem
from tests.stack import until


def status(app, key: str) -> int:
    return app.test_client().get("/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code


def becomes(app, key: str, wanted: int) -> None:
    until(lambda: status(app, key) == wanted, what=f"the key is answered {wanted}")


def test_a_key_is_rotated_without_a_gap(app, acme, settings):
    """The new one is added, both are good, the old one is taken back; the job is still there."""
    job, old = acme.submit()["id"], acme.key
    new = keyfile.add(settings.keys_file, "acme")
    becomes(app, new, 200)
    assert status(app, old) == 200
    keyfile.remove(settings.keys_file, keyfile.digest(old))
    becomes(app, old, 401)
    acme.key = new
    assert acme.get(f"/v1/jobs/{job}").status_code == 200


def test_a_removed_tenant_is_out_and_the_others_stay(app, acme, rival, settings):
    """All its keys at once, as an operator's own tool writes the file."""
    second = keyfile.add(settings.keys_file, "acme")
    becomes(app, second, 200)
    kept = [key for key in json.loads(settings.keys_file.read_text())["keys"] if key["tenant"] != "acme"]
    settings.keys_file.write_text(json.dumps({"keys": kept}))
    becomes(app, acme.key, 401)
    assert status(app, second) == 401 and rival.get("/v1/jobs").status_code == 200


def test_a_key_given_to_another_scope_has_that_scope(app, acme, settings):
    assert acme.get("/v1/pools").status_code == 403
    entries = json.loads(settings.keys_file.read_text())["keys"]
    for entry in entries:
        entry["scope"] = "operator"
    settings.keys_file.write_text(json.dumps({"keys": entries}))
    until(lambda: acme.get("/v1/pools").status_code == 200)


@pytest.fixture
def spoil(settings):
    """Makes the file unusable in one way, and whole again."""
    whole = settings.keys_file.with_name("whole.json")

    def spoil(how: str) -> None:
        path = settings.keys_file
        path.rename(whole)
        match how:
            case "half written":
                path.write_bytes(whole.read_bytes()[:-20])
            case "empty":
                path.touch()
            case "unreadable":
                path.mkdir()
            case "not text":
                path.write_bytes(b"\xff\0" * 50)
            case "a key twice as long":
                path.write_text(json.dumps({"keys": [{"sha256": "a" * 128, "tenant": "acme"}]}))

    yield spoil
    if settings.keys_file.is_dir():
        settings.keys_file.rmdir()


SPOILT = ["gone", "half written", "empty", "unreadable", "not text", "a key twice as long"]


@pytest.mark.parametrize("how", SPOILT)
def test_a_file_that_cannot_be_used_keeps_the_last_good_keys_and_says_so(app, acme, settings, spoil, caplog, how):
    """A revoked key stays revoked, a good one stays good; once the file is whole again, it counts."""
    revoked = keyfile.add(settings.keys_file, "acme")
    keyfile.remove(settings.keys_file, keyfile.digest(revoked))
    becomes(app, acme.key, 200)
    spoil(how)
    until(lambda: status(app, acme.key) and "the keys known before stay" in caplog.text)
    assert status(app, acme.key) == 200 and status(app, revoked) == 401
    assert "a" * 64 not in caplog.text and acme.key not in caplog.text
    if settings.keys_file.is_dir():
        settings.keys_file.rmdir()
    settings.keys_file.with_name("whole.json").replace(settings.keys_file)
    new = keyfile.add(settings.keys_file, "acme")
    becomes(app, new, 200)


@pytest.mark.parametrize("how", SPOILT)
def test_an_api_that_never_saw_the_keys_is_not_ready(app, acme, settings, spoil, how):
    """One that starts in that moment must not tell a caller that a good key is none."""
    spoil(how)
    fresh = create_app(settings).test_client()
    problem(fresh.get("/v1/jobs", headers={"Authorization": f"Bearer {acme.key}"}), 503, "not_ready")


def test_a_key_expires(app, settings):
    """Refused from its time on, and told so."""
    key = keyfile.add(settings.keys_file, "acme", lives_s=0.6)
    becomes(app, key, 200)
    becomes(app, key, 401)
    refused = app.test_client().get("/v1/jobs", headers={"Authorization": f"Bearer {key}"})
    assert "expired" in problem(refused, 401, "unauthorized")["detail"]
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]


def test_a_rotated_key_is_good_for_its_overlap(app, acme, settings):
    """Two are valid meanwhile, with the same rights; then the new one alone, under the old one's name."""
    first = keyfile.add(settings.keys_file, "acme", name="ci", access="read")
    retired, second = keyfile.rotate(settings.keys_file, "ci", overlap_s=1)
    becomes(app, second, 200)
    assert status(app, first) == 200
    becomes(app, first, 401)
    assert status(app, second) == 200
    kept = {key.id: key for key in keyfile.read(settings.keys_file)}
    new = kept[keyfile.digest(second)[:12]]
    assert (new.name, new.access, new.expires_at) == ("ci", "read", None)
    assert retired.id in kept and kept[retired.id].expires_at
    with pytest.raises(ValueError, match="has expired"):
        keyfile.rotate(settings.keys_file, retired.id, overlap_s=1)


def test_a_key_that_may_only_read(app, acme, settings):
    """It sees jobs and makes, cancels and erases none."""
    job = acme.submit()["id"]
    headers = {"Authorization": f"Bearer {keyfile.add(settings.keys_file, 'acme', access='read')}"}
    client = app.test_client()
    until(lambda: client.get(f"/v1/jobs/{job}", headers=headers).status_code == 200)
    for method, path in (
        ("POST", "/v1/jobs"),
        ("POST", f"/v1/jobs/{job}/cancel"),
        ("POST", f"/v1/jobs/{job}/retry"),
        ("DELETE", f"/v1/jobs/{job}"),
        ("POST", "/v1/uploads"),
        ("DELETE", "/v1/dead-letters"),
    ):
        refused = client.open(path, method=method, headers=headers, json={})
        assert "read" in problem(refused, 403, "forbidden")["detail"]
    assert acme.get(f"/v1/jobs/{job}").json["status"] == "queued"


def test_a_key_of_some_kinds_makes_jobs_of_those_alone(app, acme, settings):
    """By submit, retry and replay."""
    job = acme.submit()["id"]
    acme.post(f"/v1/jobs/{job}/cancel")
    key = keyfile.add(settings.keys_file, "acme", kinds=["transcribe"])
    headers, client = {"Authorization": f"Bearer {key}"}, app.test_client()
    becomes(app, key, 200)
    body = {"kind": "generate", "input": {"prompt": "Once"}}
    for path, sent in (("/v1/jobs", body), (f"/v1/jobs/{job}/retry", None), ("/v1/dead-letters/replay", None)):
        refused = client.post(path, headers=headers, json=sent)
        assert "transcribe alone" in problem(refused, 403, "forbidden")["detail"]
    spoken = {"kind": "transcribe", "input": {"audio": "https://films.example/a.wav"}}
    assert client.post("/v1/jobs", headers=headers, json=spoken).status_code == 202
    assert client.post("/v1/dead-letters/replay?kind=transcribe", headers=headers).status_code == 202


def test_an_operator_sees_which_keys_are_used(app, acme, settings):
    """By the beginning of the hash; never a key or a whole hash."""
    operator = keyfile.add(settings.keys_file, "ops", "operator")
    idle = keyfile.add(settings.keys_file, "acme", name="idle")
    becomes(app, operator, 200)
    acme.get("/v1/jobs")
    seen = app.test_client().get("/v1/keys", headers={"Authorization": f"Bearer {operator}"})
    cards = {card["id"]: card for card in seen.json["data"]}
    assert cards[keyfile.digest(acme.key)[:12]]["last_used_at"] and cards[keyfile.digest(operator)[:12]]["last_used_at"]
    assert cards[keyfile.digest(idle)[:12]]["last_used_at"] is None
    assert keyfile.digest(idle)[:16] not in seen.text and idle not in seen.text
    assert acme.get("/v1/keys").status_code == 403


def test_a_key_file_of_the_release_before_is_read(app, acme, settings):
    """Without the fields that came later: such a key may do all, for ever."""
    entries = json.loads(settings.keys_file.read_text())["keys"]
    old = [{name: entry[name] for name in ("sha256", "tenant", "scope", "name")} for entry in entries]
    settings.keys_file.write_text(json.dumps({"keys": old}))
    until(lambda: app.extensions["backlot"].keys.all()[0].created_at is None)
    assert acme.submit()["id"]


def test_a_use_that_cannot_be_noted_costs_no_request(app, acme, ledger, monkeypatch):
    """Neither where its place in Redis is spoilt, nor a second wait where Redis is away."""
    ledger.redis.set("bl:keys:used", "spoilt")
    assert acme.get("/v1/jobs").status_code == 200
    asked = []
    monkeypatch.setattr(type(ledger), "note_use", lambda self, key_id: asked.append(key_id))
    monkeypatch.setattr(app.extensions["backlot"].keys, "is_to_be_noted", lambda key: True)
    ledger.redis.delete("bl:epoch")
    assert acme.post("/v1/jobs", json={"kind": "generate", "input": {"prompt": "Once"}}).status_code == 503
    assert not asked
    assert acme.get("/v1/models").status_code == 200 and asked
