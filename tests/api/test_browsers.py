"""What a browser is told: every answer carries headers that make it harmless, and CORS only where that was allowed."""

import pytest

from api import create_app
from api.headers import SAFE
from tests.api.conftest import Caller

ORIGIN = "https://studio.example"
ASKS = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


@pytest.fixture
def open_to(settings, acme):
    """open_to("https://a.example") is acme at an API that lets these origins in."""

    def made(*origins: str) -> Caller:
        app = create_app(settings.model_copy(update={"cors_origins": list(origins)}))
        app.test_client_class = Caller
        client = app.test_client()
        client.key = acme.key
        return client

    return made


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/healthz", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/v1/jobs", 200),
        ("GET", "/v1/jobs/x", 404),
        ("GET", "/nowhere", 404),
        ("PUT", "/v1/jobs", 405),
        ("POST", "/v1/jobs", 415),
        ("GET", "/v1/pools", 403),
        ("OPTIONS", "/v1/jobs", 204),
        ("HEAD", "/v1/jobs", 200),
    ],
)
def test_every_answer_is_harmless_to_a_browser(acme, method, path, status):
    answer = acme.open(path, method=method)
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in SAFE} == SAFE


def test_an_answer_without_a_key_is_harmless_too(app):
    answer = app.test_client().get("/v1/jobs", headers={"Authorization": ""})
    assert answer.status_code == 401 and answer.headers["X-Content-Type-Options"] == "nosniff"


def test_unless_told_otherwise_no_page_may_call(acme):
    """Neither the question before a request nor an answer says a word of CORS."""
    for answer in (acme.options("/v1/jobs", headers=ASKS), acme.get("/v1/jobs", headers={"Origin": ORIGIN})):
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


def test_a_page_of_a_named_origin_may_call(open_to):
    """A preflight needs no key; the answer itself, a refusal included, names the origin and what may be read of it."""
    acme = open_to(ORIGIN, "https://other.example")
    answer = acme.options("/v1/jobs", headers={**ASKS, "Authorization": ""})
    assert answer.status_code == 204 and answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert {"Authorization", "Idempotency-Key"} <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))
    for path, key in (("/v1/jobs", acme.key), ("/v1/jobs", "none"), ("/v1/jobs/x", acme.key)):
        answer = acme.get(path, headers={"Origin": ORIGIN, "Authorization": f"Bearer {key}"})
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN and answer.headers["Vary"] == "Origin"
        assert {"Location", "Retry-After", "RateLimit"} <= set(
            answer.headers["Access-Control-Expose-Headers"].split(", ")
        )


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://studio.example",
        "https://studio.example.evil.example",
        "https://studio.example:8443",
        "null",
        "",
        "*",
        "https://STUDIO.example",
    ],
)
def test_a_page_of_another_origin_may_not(open_to, origin):
    acme = open_to(ORIGIN)
    for answer in (
        acme.options("/v1/jobs", headers={**ASKS, "Origin": origin}),
        acme.get("/v1/jobs", headers={"Origin": origin}),
    ):
        assert "Access-Control-Allow-Origin" not in answer.headers and answer.headers["Vary"] == "Origin"


def test_any_origin_is_never_one_with_credentials(open_to):
    acme = open_to("*")
    for answer in (acme.options("/v1/jobs", headers=ASKS), acme.get("/v1/jobs", headers={"Origin": ORIGIN})):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ({"Authorization": ""}, 'Bearer realm="backlot"'),
        ({"Authorization": "Basic YTpi"}, 'Bearer realm="backlot"'),
        (
            {"Authorization": "Bearer bk_none"},
            'Bearer realm="backlot", error="invalid_token", error_description="this key is not known here"',
        ),
    ],
)
def test_a_refused_key_is_told_as_rfc_6750_says(acme, headers, challenge):
    answer = acme.get("/v1/jobs", headers=headers)
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == challenge


def test_a_key_that_may_not_is_told_its_scope_is_too_small(acme):
    answer = acme.get("/v1/pools")
    assert answer.status_code == 403 and 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
