"""Behind a reverse proxy: what it says counts from a trusted address alone, and our paths carry its prefix.

The proxy is Caddy, with the very file of docs/proxy.md.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

from api import keyfile
from api.client import Client
from api.server.wire import origin, read_head
from tasks.ledger import Ledger
from tests.api.conftest import PROMPT
from tests.stack import ROOT, Process, Stack, free_port, make_settings, make_storage, until

SAID = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "media.example",
    "X-Forwarded-Prefix": "/backlot",
}


def asked(peer: str, **fields: str):
    """The origin of a request from `peer` with these header fields, where 10.0.0.0/8 is trusted."""
    headers = [(b"host", b"inside:8080")]
    headers += [(name.lower().replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    scope = {"headers": headers, "client": (peer, "1"), "server": ("127.0.0.1", "8080"), "scheme": "http"}
    return origin(scope, read_head({**scope, "raw_path": b"/", "http_version": "1.1"}), (ip_network("10.0.0.0/8"),))


@pytest.mark.parametrize(
    ("chain", "who"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.9.9.9", "203.0.113.7"),
        ("10.1.1.1, 10.9.9.9", "10.1.1.1"),
        ("6.6.6.6, nonsense", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("203.0.113.7,", "203.0.113.7"),
    ],
)
def test_the_client_is_the_nearest_that_is_not_trusted(chain, who):
    """Whatever a client wrote in front of that counts nothing."""
    assert asked("10.0.0.1", X_Forwarded_For=chain).address == who
    assert asked("::ffff:10.0.0.1", X_Forwarded_For="203.0.113.7").address == "203.0.113.7"


def test_what_a_stranger_says_of_itself_is_left_out():
    told = asked("203.0.113.9", **{name.replace("-", "_"): value for name, value in SAID.items()})
    assert (told.address, told.scheme, told.host, told.prefix) == ("203.0.113.9", "http", "inside:8080", "")


@pytest.mark.parametrize(
    "prefix", ["//evil.example", "/a\r\nX: y", "backlot", "/a b", "/a/../b", "/.", "/a?b", "/" + "a/" * 20, "/\u00e9"]
)
def test_a_prefix_that_no_proxy_sends_is_left_out(prefix):
    """It stands in Location and links."""
    assert asked("10.0.0.1", X_Forwarded_Prefix=prefix).prefix == ""


@pytest.fixture(scope="module")
def api(redis_server, s3_server, tmp_path_factory) -> Iterator[Process]:
    """It trusts 127.0.0.1 and has a `key`; `audit` is where it notes who did what."""
    folder = tmp_path_factory.mktemp("proxy")
    audit = folder / "audit"
    settings = make_settings(
        redis_server.for_a_stack(),
        s3_server,
        "test-proxy",
        folder,
        trusted_proxies=["127.0.0.1/32"],
        audit_log=str(audit),
    )
    make_storage(settings)
    Ledger(settings).set_epoch()
    key = keyfile.add(settings.keys_file, "acme")
    with Stack(settings, folder).api() as process:
        process.key, process.audit, process.folder = key, audit, folder
        yield process


@pytest.fixture(scope="module")
def caddy(api: Process) -> Iterator[str]:
    """The URL of the site that docs/proxy.md describes, over plain HTTP on a port of its own."""
    port = free_port()
    told = re.search(r"```caddyfile\n(.*?)```", (ROOT / "docs/proxy.md").read_text(), re.DOTALL)[1]
    site = told.replace("{\n", "{\n\tadmin off\n", 1).replace("media.example {", f"http://127.0.0.1:{port} {{")
    site = site.replace("127.0.0.1:8080", api.url.removeprefix("http://"))
    file = api.folder / "Caddyfile"
    file.write_text(site)
    binary = Path(sys.executable).with_name("caddy")
    subprocess.run([binary, "validate", "--adapter", "caddyfile", "--config", file], check=True, capture_output=True)
    process = Process(
        "caddy",
        [str(binary), "run", "--adapter", "caddyfile", "--config", str(file)],
        api.folder,
        {"XDG_DATA_HOME": str(api.folder), "XDG_CONFIG_HOME": str(api.folder)},
    )
    try:
        url = f"http://127.0.0.1:{port}/backlot"
        process.until_up(lambda: httpx.get(f"{url}/healthz", trust_env=False).status_code == 200)
        yield url
    finally:
        process.stop()


@pytest.fixture
def through(api: Process, caddy: str) -> Iterator[httpx.Client]:
    with httpx.Client(headers={"Authorization": f"Bearer {api.key}"}, base_url=caddy, trust_env=False) as client:
        yield client


def test_every_path_of_ours_carries_the_prefix(through, caddy):
    """Location, links, a list, the index and the document: each can be followed from where the caller stands."""
    made = through.post("/v1/jobs", json=PROMPT)
    job = made.json()
    assert made.headers["Location"] == job["links"]["self"] == f"/backlot/v1/jobs/{job['id']}"
    site = caddy.removesuffix("/backlot")
    again = httpx.get(site + job["links"]["self"], headers=through.headers, trust_env=False)
    assert again.json()["links"] == job["links"] == through.get("/v1/jobs").json()["data"][0]["links"]
    assert "GET  /backlot/v1/models" in through.get("/").text
    assert 'href="/backlot/openapi.json"' in through.get("/", headers={"Accept": "text/html"}).text
    assert through.get("/openapi.json").json()["servers"] == [{"url": "/backlot"}]
    held = through.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=1"})
    assert held.headers["Preference-Applied"] == "wait=1" and held.json()["links"] == job["links"]


def test_the_client_works_through_it(api, caddy):
    """Its URL is that of the prefix."""
    client = Client(caddy, api.key)
    job = client.submit("generate", {"prompt": "x"}, metadata={"path": "/v1/not-ours"})
    assert client.cancel(job["id"])["status"] == "canceled"
    assert client.get(job["id"])["metadata"] == {"path": "/v1/not-ours"}


def test_who_asked_is_who_the_proxy_saw(api, through):
    """A client that names somebody else does not become them; directly, the trusted peer's word counts."""

    def last() -> dict:
        return json.loads(api.audit.read_text().splitlines()[-1])

    through.post("/v1/jobs", json=PROMPT, headers={"X-Forwarded-For": "6.6.6.6"})
    until(lambda: api.audit.exists() and last()["route"] == "/v1/jobs")
    assert last()["from"] == "127.0.0.1" and last()["made"].startswith("job_")
    httpx.post(
        f"{api.url}/v1/jobs", json=PROMPT, headers={**SAID, "Authorization": f"Bearer {api.key}"}, trust_env=False
    )
    until(lambda: last()["from"] == "203.0.113.7")


def test_a_body_over_a_limit_is_told_through_it_too(through):
    """Ours is met first, with its sentence."""
    answer = through.post("/v1/jobs", content=b"x" * 2**21, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413 and answer.json()["code"] == "too_large"
