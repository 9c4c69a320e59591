r"""A lone surrogate (`\ud800` in JSON) is no text that could ever be shown: refused where it comes in, never a 5xx, and
never a job."""

import io
import json

import pytest

from tests.api.conftest import PROMPT

LONE = "\ud800"
BYTES = "\xed\xa0\x80"
"""The same as UTF-8 would write it, as a header carries bytes."""


@pytest.fixture(autouse=True)
def nothing_was_made(acme):
    """And the tenant's list can be shown."""
    yield
    listed = acme.get("/v1/jobs")
    assert listed.status_code == 200 and listed.json["data"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"input": {"prompt": LONE}},
        {"input": {LONE: "x"}},
        {"input": {"messages": [{"role": "user", "content": LONE}]}},
        {"input": {"prompt": {"url": f"https://example.org/{LONE}"}}},
        {"input": {"prompt": {"url": f"upload:{LONE}"}}},
        {"metadata": {"scene": LONE}},
        {"metadata": {LONE: 1}},
        {"metadata": {"a": [{"b": LONE}]}},
        {"params": {"stop": [LONE]}},
        {"params": {LONE: 1}},
        {"model": LONE},
        {"kind": LONE},
        {"start_at": LONE},
        {"priority": LONE},
        {LONE: 1},
    ],
    ids=ascii,
)
def test_json_with_a_lone_surrogate_is_refused(acme, changes):
    answer = acme.post("/v1/jobs", data=json.dumps({**PROMPT, **changes}), content_type="application/json")
    assert answer.status_code in (400, 422), answer.get_data(as_text=True)
    assert answer.json["code"] in ("malformed", "invalid_input", "unknown_model") and answer.json["detail"]


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": json.dumps({"scene": LONE})},
        {"params": json.dumps({"stop": [LONE]})},
        {"messages": json.dumps([{"role": "user", "content": LONE}]), "prompt": None},
        {"messages": (io.BytesIO(json.dumps([{"role": "user", "content": LONE}]).encode()), "m.json"), "prompt": None},
        {"priority": json.dumps(LONE)},
    ],
    ids=["metadata", "params", "messages", "a file of messages", "priority"],
)
def test_a_form_with_one_in_its_json_is_refused(acme, fields):
    form = {"kind": "generate", "prompt": "Once", **fields}
    answer = acme.post(
        "/v1/jobs",
        data={name: value for name, value in form.items() if value is not None},
        content_type="multipart/form-data",
    )
    assert answer.status_code in (400, 422), answer.get_data(as_text=True)


@pytest.mark.parametrize(
    "ask",
    [
        lambda acme: acme.post("/v1/jobs", json=PROMPT, headers={"Idempotency-Key": BYTES}),
        lambda acme: acme.post("/v1/uploads", data=json.dumps({"name": LONE}), content_type="application/json"),
        lambda acme: acme.get("/v1/jobs/job_%ED%A0%80"),
        lambda acme: acme.get("/v1/jobs?cursor=%ED%A0%80"),
        lambda acme: acme.get("/v1/models/generate/%ED%A0%80"),
        lambda acme: acme.post("/v1/jobs/%ED%A0%80/cancel"),
        lambda acme: acme.get("/v1/dead-letters?cursor=%ED%A0%80"),
    ],
    ids=["Idempotency-Key", "upload", "job", "cursor", "model", "cancel", "dead letters"],
)
def test_elsewhere_too(acme, ask):
    answer = ask(acme)
    assert answer.status_code in (400, 404, 422), answer.get_data(as_text=True)


def test_a_names_other_characters_stay(acme):
    """Text of any script, and what lies beyond the first plane, is no lone surrogate."""
    job = acme.submit(metadata={"scene": "雪 \U0001f3ac"}, input={"prompt": "\U0001f3ac"})
    assert job["metadata"] == {"scene": "雪 \U0001f3ac"}
    acme.post(f"/v1/jobs/{job['id']}/cancel")
    assert acme.delete(f"/v1/jobs/{job['id']}").status_code == 204
