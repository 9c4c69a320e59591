"""The API as a process: what only a real server and real sockets show. Held requests: test_held.py."""

import json
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from api import keyfile
from tests.api.conftest import PROMPT
from tests.stack import RedisServer, make_settings, make_storage, until

HEAVY = ("torch", "numpy", "scipy", "sklearn", "av", "PIL", "transformers")


@pytest.fixture
def server(stack, ledger, settings):
    """The API's URL, a key in its header."""
    key = keyfile.add(settings.keys_file, "acme")
    with (
        stack.api(http_threads=4, upload_max_bytes=3 * 2**20) as process,
        httpx.Client(
            base_url=process.url, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False
        ) as client,
    ):
        client.process = process
        yield client


def test_the_process_is_light(settings):
    """No model library is imported by the API, and it stays under 120 MB."""
    code = (
        "import sys, api; api.create_app(); "
        "print([name for name in sys.argv[1].split() if name in sys.modules], open('/proc/self/status').read())"
    )
    env = {"PATH": "", "BACKLOT_KEYS_FILE": str(settings.keys_file)}
    shown = subprocess.run(
        [sys.executable, "-c", code, " ".join(HEAVY)], env=env, capture_output=True, text=True, check=True
    ).stdout
    assert shown.startswith("[] ")
    assert int(shown.partition("VmHWM:")[2].split()[0]) < 120 * 1024


def test_the_client_and_the_command_line_need_no_server_library():
    """`backlot` starts without Flask, Redis, Celery and boto3."""
    code = "import sys, api.client.cli; print([n for n in ('flask', 'redis', 'celery', 'boto3') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def raw(url: str, head: str, body: bytes = b"") -> bytes:
    """Send bytes, read one answer's bytes; the connection is ours alone."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + body)
        connection.settimeout(60)
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.rstrip().endswith(b"}"):
            part = connection.recv(65536)
            if not part:
                break
            answer += part
        return answer


def test_a_gigabyte_is_refused_before_it_is_sent(server):
    """The length alone is enough: the answer comes while no byte of body was sent."""
    key = server.headers["Authorization"]
    answer = raw(
        str(server.base_url).rstrip("/"),
        f"POST /v1/jobs HTTP/1.1\nHost: x\nAuthorization: {key}\n"
        f"Content-Type: multipart/form-data; boundary=b\nContent-Length: {2**30}\n\n",
    )
    assert answer.startswith(b"HTTP/1.1 413 ") and b"/v1/uploads" in answer


def test_a_body_without_a_length_is_bounded_too(server):
    """Chunks that never end are cut at the limit; a small chunked body is as good as any."""

    def send(parts, content_type="application/json"):
        return httpx.post(
            server.base_url.join("/v1/jobs"),
            content=parts,
            trust_env=False,
            timeout=60,
            headers={**server.headers, "Content-Type": content_type},
        )

    json_parts = [b'{"kind": "generate", "input": {"prompt": "', *[b"x" * 65536] * 64]
    form_parts = [b'--b\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n', *[b"x" * 65536] * 64]
    assert send(iter(json_parts)).json()["code"] == "too_large"
    assert send(iter(form_parts), "multipart/form-data; boundary=b").json()["code"] == "too_large"
    assert send(iter([json.dumps(PROMPT).encode()])).status_code == 202


def test_a_request_without_a_key_is_not_read(server):
    """401 comes before any of the body is taken."""
    answer = raw(
        str(server.base_url).rstrip("/"),
        f"POST /v1/jobs HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: {2**20}\n\n",
    )
    assert answer.startswith(b"HTTP/1.1 401 ")


class TestRedisAway:
    @pytest.fixture
    def own_redis(self, tmp_path):
        server = RedisServer(tmp_path, "own-redis")
        yield server
        if not server.alive:
            server.start()
        server.signal(signal.SIGCONT)
        server.stop()

    @pytest.fixture
    def settings(self, own_redis, s3_server, tmp_path):
        return make_settings(own_redis.url(), s3_server, f"test-away-{own_redis.port}", tmp_path)

    @pytest.fixture(autouse=True)
    def _bucket(self, settings):
        make_storage(settings)

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "frozen"])
    def test_a_submit_is_refused_soon_and_works_again_after(self, server, own_redis, ledger, how):
        """503 with Retry-After while Redis is away, dead or frozen; work goes on when it is back."""
        assert server.post("/v1/jobs", json=PROMPT).status_code == 202
        own_redis.signal(how)
        if how is signal.SIGKILL:
            until(lambda: not own_redis.alive)
        for method, path in (("POST", "/v1/jobs"), ("GET", "/v1/jobs"), ("GET", "/readyz")):
            answer = server.request(method, path, json=PROMPT if method == "POST" else None, timeout=30)
            assert answer.status_code == 503 and answer.json()["code"] == "not_ready"
            assert int(answer.headers["Retry-After"]) > 0
        assert server.get("/healthz").status_code == 200
        if how is signal.SIGKILL:
            own_redis.start()
            own_redis.until_up(lambda: own_redis.client().ping())
            assert server.post("/v1/jobs", json=PROMPT).status_code == 503  # no keeper has looked at this start yet
            ledger.set_epoch()
        else:
            own_redis.signal(signal.SIGCONT)
        until(lambda: server.post("/v1/jobs", json=PROMPT).status_code == 202)

    def test_a_waiter_outlives_a_restart_of_redis(self, server, own_redis, ledger):
        """The reader of events comes back by itself, and the waiter still learns of the end."""
        job = server.post("/v1/jobs", json=PROMPT).json()
        answers = []
        waiter = threading.Thread(
            target=lambda: answers.append(
                httpx.get(
                    server.base_url.join(job["links"]["self"]),
                    headers={**server.headers, "Prefer": "wait=40"},
                    timeout=60,
                    trust_env=False,
                )
            )
        )
        waiter.start()
        until(lambda: "xread" in str(own_redis.client().client_list()))
        own_redis.kill()
        own_redis.start()
        own_redis.until_up(lambda: own_redis.client().ping())
        ledger.set_epoch()
        until(lambda: "xread" in str(own_redis.client().client_list()), what="the reader is back")
        assert server.post(job["links"]["cancel"]).status_code == 202
        waiter.join(60)
        assert answers[0].json()["status"] == "canceled"
