"""Long batches are read by a process of their own: the same answers, one process, which may end at any time."""

import contextlib
import json
import signal
import threading
import uuid
from collections.abc import Iterator

import httpx
import psutil
import pytest

from api import keyfile
from api.server.bodies import IN_MEMORY_BYTES
from tasks.ledger import Ledger, connect, keys
from tests.api.conftest import PROMPT
from tests.stack import Process, RedisServer, S3Server, Stack, make_settings, make_storage, until

LINE = json.dumps(PROMPT).encode() + b"\n"
SHORT, LONG = 10, IN_MEMORY_BYTES // len(LINE) + 1500


@pytest.fixture
def house(redis_server: RedisServer, s3_server: S3Server, tmp_path) -> Iterator[tuple[Process, Ledger, httpx.Client]]:
    """An API of one process, the ledger, and a client of the tenant acme."""
    settings = make_settings(redis_server.for_a_stack(), s3_server, f"aside-{uuid.uuid4().hex[:12]}", tmp_path)
    make_storage(settings)
    ledger = Ledger(settings, connect(settings, read_timeout_s=20))
    ledger.set_epoch()
    key = keyfile.add(settings.keys_file, "acme")
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/jsonl"}
    with (
        Stack(settings, tmp_path).api(processes=1) as api,
        httpx.Client(base_url=api.url, headers=headers, timeout=60, trust_env=False) as client,
    ):
        yield api, ledger, client


def readers(api: Process) -> list[psutil.Process]:
    """The processes of the API that read batches."""
    found = []
    for one in psutil.Process(api.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            found += [one] * ("api.server.aside" in one.cmdline())
    return found


def test_a_long_batch_is_read_elsewhere_and_a_short_one_is_not(house):
    api, ledger, client = house
    short = client.post("/v1/batches", content=LINE * SHORT)
    assert short.status_code == 202 and readers(api) == []
    long = client.post("/v1/batches", content=LINE * LONG, headers={"Accept": "application/jsonl"})
    assert long.status_code == 200 and long.headers["Batch-Accepted"] == f"{LONG}"
    assert [json.loads(line)["line"] for line in long.text.splitlines()] == [*range(1, LONG + 1)]
    assert long.headers["X-Content-Type-Options"] == short.headers["X-Content-Type-Options"] == "nosniff"
    (reader,) = readers(api)
    assert ledger.redis.zcard(keys.tenant_jobs("acme")) == SHORT + LONG

    as_json = {"Content-Type": "application/json"}
    upload = client.post("/v1/uploads", json={"name": "lines.jsonl"}, headers=as_json).json()
    httpx.put(upload["url"], content=LINE * SHORT, headers=upload["headers"], trust_env=False).raise_for_status()
    named = client.post("/v1/batches", json={"input": upload["source"]}, headers=as_json)
    assert named.status_code == 202 and named.json()["counts"]["queued"] == SHORT
    assert readers(api) == [reader], "one process reads them all"

    wrong = client.post("/v1/batches?on_error=maybe", content=LINE * LONG)
    assert wrong.status_code == 422 and wrong.json()["errors"][0]["pointer"] == "/on_error"

    api.signal(signal.SIGTERM)
    until(lambda: not reader.is_running() or reader.status() == psutil.STATUS_ZOMBIE, 20, "it ends with the API")


def test_a_reader_that_dies_costs_one_answer_and_no_job(house):
    """The batch may be sent again with its Idempotency-Key; a parent that is killed takes its reader with it."""
    api, ledger, client = house
    headers, answers = {"Idempotency-Key": "once"}, []

    def send():
        answers.append(client.post("/v1/batches", content=LINE * LONG, headers=headers))

    sending = threading.Thread(target=send)
    sending.start()
    until(lambda: ledger.redis.zcard(keys.tenant_jobs("acme")) > 100, 30, "it is in the middle of the lines")
    readers(api)[0].kill()
    sending.join()
    assert answers[0].status_code == 503 and answers[0].headers["Retry-After"] == "1"
    assert answers[0].json()["code"] == "not_ready" and "Idempotency-Key" in answers[0].json()["detail"]
    again = client.post("/v1/batches", content=LINE * LONG, headers=headers)
    assert again.status_code == 202 and again.json()["counts"]["queued"] == LONG
    assert ledger.redis.zcard(keys.tenant_jobs("acme")) == LONG
    (reader,) = readers(api)
    for worker in psutil.Process(api.pid).children():
        if any(child == reader for child in worker.children()):
            worker.kill()
    until(lambda: not reader.is_running() or reader.status() == psutil.STATUS_ZOMBIE, 20, "it ends with its parent")


def test_a_reader_that_has_ended_is_replaced(house):
    """As it ends by itself when there is nothing to read."""
    api, _, client = house
    assert client.post("/v1/batches", content=LINE * LONG).status_code == 202
    (reader,) = readers(api)
    reader.terminate()
    until(lambda: not reader.is_running(), 20, "nothing is left of it")
    assert client.post("/v1/batches", content=LINE * LONG).status_code == 202
    (other,) = readers(api)
    assert other != reader
