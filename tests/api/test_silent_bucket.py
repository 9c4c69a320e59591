"""A bucket that takes connections and says nothing: the API answers within a bound."""

import io
import socket

import pytest

from api import create_app, keyfile
from tasks.bucket import storage as bucket
from tests.api.conftest import Caller, problem


@pytest.fixture
def acme(settings, ledger):
    """A caller of an API whose bucket is a listening socket that nobody reads."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        key = keyfile.add(settings.keys_file, "acme")
        app = create_app(settings.model_copy(update={"s3_endpoint_url": endpoint}))
        app.test_client_class = Caller
        made = app.test_client()
        made.key = key
        yield made


def test_the_patience_with_one_call_is_about_ten_seconds():
    """Each attempt waits for as long again."""
    patience = bucket.CALLERS_PATIENCE
    assert max(patience.connect_s, patience.read_s) * patience.attempts <= 10


def test_a_submit_with_a_file_is_told_that_storage_is_unavailable(acme):
    """503 and Retry-After, after two attempts; the suite's limit would end the minutes that retries took."""
    form = {"kind": "transcribe", "audio": (io.BytesIO(bytes(1_000_000)), "talk.wav")}
    answer = acme.post("/v1/jobs", data=form, content_type="multipart/form-data")
    problem(answer, 503, "storage_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
