"""Batches through the real server: bodies that break off, callers that leave, several callers at once."""

import json
import socket
import threading
import uuid
from collections.abc import Iterator

import httpx
import pytest

from api import keyfile
from api.batch_body import LINES_MAX
from tasks.ledger import Ledger, connect, keys
from tests.api.conftest import PROMPT
from tests.stack import RedisServer, S3Server, Stack, make_settings, make_storage, until

UPLOAD_MAX = 3 * 2**20
LINE = json.dumps(PROMPT).encode() + b"\n"


@pytest.fixture(scope="module")
def house(redis_server: RedisServer, s3_server: S3Server, tmp_path_factory) -> Iterator[tuple[str, Ledger, Stack]]:
    """The API's address and its ledger, with two processes."""
    folder = tmp_path_factory.mktemp("batches")
    settings = make_settings(
        redis_server.for_a_stack(), s3_server, f"batches-{uuid.uuid4().hex[:12]}", folder, upload_max_bytes=UPLOAD_MAX
    )
    make_storage(settings)
    ledger = Ledger(settings, connect(settings, read_timeout_s=20))
    ledger.set_epoch()
    keyfile.add(settings.keys_file, "nobody")
    stack = Stack(settings, folder)
    with stack.api(processes=2) as api:
        yield api.url, ledger, stack


@pytest.fixture
def tenants(house) -> list[str]:
    """Two tenants that have nothing yet."""
    return [f"t-{uuid.uuid4().hex[:12]}" for _ in range(2)]


@pytest.fixture
def clients(house, tenants) -> Iterator[list[httpx.Client]]:
    url, _, stack = house
    made = [
        httpx.Client(
            base_url=url,
            headers={
                "Authorization": f"Bearer {keyfile.add(stack.settings.keys_file, tenant)}",
                "Content-Type": "application/jsonl",
                "Accept": "application/jsonl",
            },
            timeout=60,
            trust_env=False,
        )
        for tenant in tenants
    ]
    for client in made:  # each process reads the file of keys again within a second; a new connection may reach any
        for _ in range(20):
            until(lambda headers=client.headers: httpx.get(f"{url}/v1/jobs", headers=headers).status_code == 200)
    yield made
    for client in made:
        client.close()


def jobs_of(house, tenant: str) -> list[str]:
    return house[1].redis.zrange(keys.tenant_jobs(tenant), 0, -1)


def connected(client: httpx.Client, length: str) -> socket.socket:
    """A connection on which the head of a batch has been sent."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port), timeout=60)
    head = (
        f"POST /v1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['Authorization']}\r\n"
        f"Content-Type: application/jsonl\r\n{length}\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection


def test_two_tenants_at_once_have_each_their_own(house, tenants, clients):
    """Bodies over what is kept in memory, answers longer than what is buffered, all lines in their order."""
    count, answers = 6000, {}

    def send(client, tenant):
        answers[tenant] = client.post("/v1/batches", content=LINE * count)

    threads = [threading.Thread(target=send, args=pair) for pair in zip(clients, tenants, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for tenant in tenants:
        found = [json.loads(line) for line in answers[tenant].content.splitlines()]
        assert [line["line"] for line in found] == [*range(1, count + 1)]
        assert answers[tenant].headers["Batch-Accepted"] == str(count)
        assert [line["job"]["id"] for line in found] == jobs_of(house, tenant)


def test_the_most_lines_there_may_be_and_one_more(house, tenants, clients):
    """Empty ones, so that the number alone decides; 413 makes no job."""
    answer = clients[0].post("/v1/batches", content=b"{}" + b"\n" * LINES_MAX)
    assert (answer.status_code, answer.headers["Batch-Refused"]) == (200, "1")
    answer = clients[0].post("/v1/batches", content=LINE + b"\n" * LINES_MAX)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large") and "50,000 lines" in answer.text
    assert jobs_of(house, tenants[0]) == []


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_with_it(house, tenants, clients, chunked):
    body = LINE.ljust(UPLOAD_MAX - 1) + b"\n "
    answer = clients[0].post("/v1/batches", content=iter([body]) if chunked else body)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert f"a body of JSON lines {UPLOAD_MAX:,}" in answer.json()["detail"]
    assert jobs_of(house, tenants[0]) == []


@pytest.mark.parametrize("length", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_a_body_that_breaks_off_makes_no_job(house, tenants, clients, length):
    """Whatever lines have come whole."""
    connection = connected(clients[0], length)
    connection.sendall(LINE * 50 if "Length" in length else b"%x\r\n%b\r\n" % (len(LINE), LINE))
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(65536)[:13] in (b"", b"HTTP/1.1 400 ")
    connection.close()
    assert clients[0].post("/v1/batches", content=LINE).headers["Batch-Accepted"] == "1"
    assert len(jobs_of(house, tenants[0])) == 1


def test_a_caller_that_leaves_before_the_answer_has_all_its_jobs(house, tenants, clients):
    """Once the body is whole, all lines are tried."""
    connection = connected(clients[0], f"Content-Length: {2000 * len(LINE)}")
    connection.sendall(LINE * 2000)
    connection.close()
    until(lambda: len(jobs_of(house, tenants[0])) == 2000, 30)


def test_a_whole_body_in_chunks_is_as_good_as_any(house, tenants, clients):
    answer = clients[0].post("/v1/batches", content=iter([LINE[:9], LINE[9:] + LINE, LINE[:-1]]))
    assert [json.loads(line)["line"] for line in answer.content.splitlines()] == [1, 2, 3]
