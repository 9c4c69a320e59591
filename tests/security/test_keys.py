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
