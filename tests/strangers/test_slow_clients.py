"""Clients that open connections and never finish a request: others are answered meanwhile, and each is cut off in time.

How fast others are answered is measured by tests/bench/slow_clients.py, which plays the same with a thousand.
"""

import contextlib
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from api import keyfile
from tasks.ledger import Ledger
from tests.stack import Process, RedisServer, S3Server, Stack, make_settings, make_storage, until
from tests.strangers.slow import SORTS, Slow, looks

IDLE_S, CONNECTIONS, OF_A_TENANT = 3, 300, 40
EARLY = {"half bodies", "dripping bodies", "chunks without an end"}
"""What is answered at once without a key, and cut after the lowest speed's patience with one."""


@pytest.fixture(scope="module")
def api(redis_server: RedisServer, s3_server: S3Server, tmp_path_factory) -> Iterator[Process]:
    """One process with `keys` by tenant: a connection without a head has three seconds."""
    folder = tmp_path_factory.mktemp("slow")
    settings = make_settings(
        redis_server.for_a_stack(),
        s3_server,
        "test-slow",
        folder,
        http_idle_s=IDLE_S,
        http_connections=CONNECTIONS,
        http_requests_per_tenant=OF_A_TENANT,
        http_threads=4,
        body_timeout_s=4,
        spool_max_bytes=200 * 2**20,
    )
    make_storage(settings)
    Ledger(settings).set_epoch()
    keys = {name: keyfile.add(settings.keys_file, name) for name in ("acme", "slow", "slower")}
    with Stack(settings, folder).api() as process:
        process.keys = keys
        yield process


@contextlib.contextmanager
def somebody_else(api: Process) -> Iterator[list[str]]:
    """Looks on while the block runs; whatever was not answered is raised at its end."""
    over, seen, wrong = threading.Event(), [], []

    def look() -> None:
        try:
            for name, _ in looks(api.url, api.keys["acme"], over):
                seen.append(name)
        except Exception as error:
            wrong.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
        until(lambda: len(seen) > 10 or wrong)
    finally:
        over.set()
        looking.join(30)
    assert not wrong, wrong


def metric(api: Process, name: str) -> float:
    """Of all processes; 0 where it has not been counted yet."""
    url = re.search(r"metrics at (http://\S+)", api.log())[1]
    page = httpx.get(url, trust_env=False).text
    return sum(map(float, re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", page, re.MULTILINE)))


@pytest.mark.parametrize("keyed", [False, True], ids=["no key", "with a key"])
@pytest.mark.parametrize("sort", SORTS)
def test_slow_clients_hold_up_nobody(api, sort, keyed):
    """64 of a sort; each of their connections is closed by the server, and no request of theirs becomes a job."""
    if keyed and sort in ("silent", "HTTP/2 prefaces"):
        pytest.skip("no key is ever sent")
    with somebody_else(api), Slow(api.url, sort, 64, api.keys["slow"] if keyed else "") as slow:
        until(lambda: slow.open == 0, 20, f"{slow.open} of {sort} are open")
        statuses = {answer[9:12] for answer in slow.answers}
    if sort in EARLY and not keyed:
        assert b"401" in statuses and statuses <= {b"401", b"429"}
    elif sort in EARLY:
        assert statuses == {b"408", b"429"}  # as many as a tenant may have under way wait for their deadline
        assert all(b"application/problem+json" in answer for answer in slow.answers)
    else:
        assert statuses <= {b"", b"400", b"408"}


def test_more_connections_than_may_be_held_are_served_within_the_timeout_of_a_head(api):
    """A process full of silent connections accepts nobody, /metrics says so, and it is over once they time out."""
    with Slow(api.url, "silent", CONNECTIONS + 1):
        until(lambda: metric(api, "granian_connections_active") >= CONNECTIONS, 5)
        start = time.monotonic()
        with pytest.raises(httpx.TimeoutException):
            httpx.get(f"{api.url}/healthz", timeout=0.5, trust_env=False)
        assert metric(api, "backlot_http_connections_waiting") > 0
        assert metric(api, "backlot_http_connections_max") == CONNECTIONS
        assert httpx.get(f"{api.url}/healthz", timeout=IDLE_S + 5, trust_env=False).status_code == 200
        assert time.monotonic() - start < IDLE_S + 5


def test_a_few_tenants_cannot_fill_the_room_for_bodies(api):
    """Each has at most as much as it leaves free, before anything is read: the next finds half of the rest. Beyond it
    503 with Retry-After, at once; somebody else's small body is taken in."""

    def head(key: str, length: int) -> bytes:
        return (
            f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n"
        ).encode()

    def told(key: str, length: int) -> httpx.Response:
        with httpx.Client(base_url=api.url, trust_env=False, headers={"Authorization": f"Bearer {key}"}) as http:
            return http.post("/v1/jobs", content=b"x" * length, headers={"Content-Type": "text/plain"})

    with contextlib.ExitStack() as lines:
        for tenant, length in (("slow", 100 * 2**20), ("slower", 50 * 2**20)):
            line = lines.enter_context(Slow(api.url, "silent", 1))
            before = metric(api, "backlot_http_spooled_bytes")
            line._sockets[0].sendall(head(api.keys[tenant], length - 1000))
            # Heads are read in any order: the greater one has to hold its room before the smaller one asks.
            least = before + length - 2**20
            until(lambda least=least: metric(api, "backlot_http_spooled_bytes") > least, what=f"the body of {tenant}")
        for greedy in ("slow", "slower"):
            full = told(api.keys[greedy], 2000)
            assert full.status_code == 503 and full.json()["code"] == "overloaded" and full.headers["Retry-After"]
        assert told(api.keys["acme"], 3000).status_code == 415  # it was read, and Flask has spoken
    until(lambda: metric(api, "backlot_http_spooled_bytes") == 0, 10, "the room is given back")
    assert told(api.keys["slow"], 2000).status_code == 415


def test_who_does_not_read_its_answers_is_cut_off(api):
    """Connections full of unread answers hold up nobody, and are ended like silent ones."""
    host, port = api.url.removeprefix("http://").split(":")
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 200
    until(lambda: metric(api, "granian_connections_active") < 5)
    with contextlib.ExitStack() as lines, somebody_else(api):
        for _ in range(20):
            line = lines.enter_context(socket.socket())
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.connect((host, int(port)))
            line.sendall(ask)
        until(lambda: metric(api, "granian_connections_active") >= 20)
        until(lambda: metric(api, "granian_connections_active") < 5, 40, "connections that do not read are closed")


def test_a_tenant_has_so_many_requests_under_way(api):
    """429 with Retry-After beyond them; others are served, and after them it is again."""
    headers = {"Authorization": f"Bearer {api.keys['slow']}"}
    with Slow(api.url, "half bodies", OF_A_TENANT, api.keys["slow"]):
        until(lambda: metric(api, "backlot_http_requests_under_way") >= OF_A_TENANT)
        beyond = httpx.get(f"{api.url}/v1/jobs", headers=headers, trust_env=False)
        assert beyond.status_code == 429 and beyond.json()["code"] == "rate_limited" and beyond.headers["Retry-After"]
        other = {"Authorization": f"Bearer {api.keys['acme']}"}
        assert httpx.get(f"{api.url}/v1/jobs", headers=other, trust_env=False).status_code == 200
    until(lambda: httpx.get(f"{api.url}/v1/jobs", headers=headers, trust_env=False).status_code == 200)


def test_a_body_is_read_as_slowly_as_is_allowed(api):
    """One that comes in two halves, a second apart, is a request like any."""

    def halves():
        body = b'{"kind": "generate", "input": {"prompt": "x"}}'
        yield body[:20]
        time.sleep(1)
        yield body[20:]

    headers = {"Authorization": f"Bearer {api.keys['acme']}", "Content-Type": "application/json"}
    assert httpx.post(f"{api.url}/v1/jobs", content=halves(), headers=headers, trust_env=False).status_code == 202


def test_a_request_under_way_at_the_stop_is_answered(api):
    """Last, for it ends the process: a body that still comes is taken in and answered, silent connections or not."""
    headers = {"Authorization": f"Bearer {api.keys['acme']}", "Content-Type": "application/json"}
    begun = threading.Event()

    def halves():
        yield b'{"kind": "generate", '
        begun.set()
        stopped.wait(10)
        yield b'"input": {"prompt": "x"}}'

    stopped, answers = threading.Event(), []
    sending = threading.Thread(
        target=lambda: answers.append(
            httpx.post(f"{api.url}/v1/jobs", content=halves(), headers=headers, trust_env=False)
        )
    )
    sending.start()
    begun.wait(10)
    until(lambda: metric(api, "backlot_http_requests_under_way") > 0)
    with Slow(api.url, "half heads", 3):
        api.signal(signal.SIGTERM)
        until(lambda: "Stopping worker" in api.log())
        stopped.set()
        sending.join(10)
        assert answers[0].status_code == 202
        until(lambda: not api.alive)
