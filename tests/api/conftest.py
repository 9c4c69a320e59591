"""The API in this process, over a real Redis and a real bucket. No worker: jobs are claimed and ended by hand."""

import hashlib
import json
import time
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from api import create_app, keyfile
from tasks.bucket.layout import attempt_prefix
from tasks.bucket.storage import Storage
from tasks.ids import new_id
from tasks.job import Job
from tasks.ledger import Claimed, Ledger, Worker
from tasks.settings import Settings

PROMPT = {"kind": "generate", "input": {"prompt": "Once upon a time"}}


class Caller(FlaskClient):
    """Somebody with a key."""

    key = ""

    def open(self, *args, **kwargs):
        headers = dict(kwargs.pop("headers", None) or {})
        return super().open(*args, headers={"Authorization": f"Bearer {self.key}", **headers}, **kwargs)

    def submit(self, **changes) -> dict:
        answer = self.post("/v1/jobs", json={**PROMPT, **changes})
        assert answer.status_code == 202, answer.json
        return answer.json


@pytest.fixture
def app(settings: Settings, storage: Storage, ledger: Ledger):
    keyfile.add(settings.keys_file, "nobody")
    app = create_app(settings)
    app.test_client_class = Caller
    return app


@pytest.fixture
def caller(app, settings: Settings) -> Callable[..., Caller]:
    """Makes a caller: caller("acme"), caller("acme", scope="operator")."""

    def make(tenant: str, scope: str = "tenant") -> Caller:
        made = app.test_client()
        made.key = keyfile.add(settings.keys_file, tenant, scope)
        app.extensions["backlot"].keys._checked = float("-inf")  # else a changed file is read after REREAD_S
        return made

    return make


@pytest.fixture
def acme(caller) -> Caller:
    return caller("acme")


@pytest.fixture
def rival(caller) -> Caller:
    """Another tenant."""
    return caller("rival")


@pytest.fixture
def operator(caller) -> Caller:
    return caller("acme", "operator")


class Hand:
    """A worker done by hand: it claims and ends jobs as one would, and runs nothing."""

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self.ledger, self.storage = ledger, storage
        self.worker = Worker(
            "hand", "gpu", ["gpu.generate"], ["gpu.generate:transformer", "gpu.generate:transformer@2"]
        )
        self._tokens = 0

    def claim(self) -> Claimed:
        self._tokens += 1
        self.ledger.renew(self.worker, about={"host": "studio", "slots": "2"})
        return self.ledger.claim(self.worker, f"hand:{self._tokens}", f"{self._tokens:032x}")

    def finish(self, claimed: Claimed, text: str = "the end") -> str:
        fixed = claimed.fixed
        key = attempt_prefix(fixed.tenant, fixed.id, claimed.number, claimed.token) + "text.txt"
        self.storage.put_bytes(key, text.encode(), "text/plain")
        output = {
            "name": "text.txt",
            "media_type": "text/plain",
            "bytes": len(text),
            "key": key,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        }
        usage = {"prompt_tokens": 4, "completion_tokens": 2}
        return self.ledger.commit(
            fixed.id, claimed.token, {"text": text, "finish_reason": "stop", "usage": usage}, [output], {"run_s": 0.25}
        )


@pytest.fixture
def hand(ledger: Ledger, storage: Storage) -> Hand:
    return Hand(ledger, storage)


def problem(answer, status: int, code: str) -> dict:
    """The problem of a refusal, after looking that it is one in form."""
    assert answer.status_code == status, answer.get_data(as_text=True)
    assert answer.content_type == "application/problem+json"
    body = json.loads(answer.data)
    assert body["status"] == status and body["code"] == code, body
    assert body["type"] == "about:blank" and body["title"] and body["detail"] and "retryable" in body
    assert body["instance"].startswith("/")
    return body


def unknown_job() -> str:
    return new_id("job")


def as_job(answer) -> Job:
    """The answer as the model that the document promises; a field too many or too few is a failure."""
    assert set(answer.json) == set(Job.model_fields)
    return Job.model_validate(answer.json)


def in_seconds(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
