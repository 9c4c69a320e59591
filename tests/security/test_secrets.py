"""No secret leaves by a side door: a stack at its most talkative does jobs, good and bad; then all that it wrote,
shows or runs is searched for each secret that it was given."""

import secrets
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import redis

from api import keyfile
from tasks.bucket.storage import Storage
from tests.stack import PASSWORD, SECRET_KEY, Stack, free_port, make_settings, make_storage, until
from tests.web import serve
from tests.worker.conftest import MODELS

ENDS_S = 60
JOBS = 7  # that are accepted
STANDS_IN = ("bl:job:", "bl:journal", "journal/")
"""Where an input's URL stands as it was submitted: the record, for the worker, and the journal, for a restore."""


class Said:
    """All that the stack answered, wrote, keeps and runs as, by a name of where it is."""

    def __init__(self) -> None:
        self.places: dict[str, bytes] = {}

    def answer(self, answer: httpx.Response) -> None:
        """Headers as well, but Location of a redirect: the one place for a link."""
        answer.read()
        headers = [(n, v) for n, v in answer.headers.items() if (n, answer.status_code) != ("location", 307)]
        self.places[f"answer {len(self.places)} {answer.request.method} {answer.request.url.path}"] = (
            answer.content + repr(headers).encode()
        )

    def where(self, secret: str) -> list[str]:
        return [place for place, content in self.places.items() if secret.encode() in content]


@pytest.fixture(scope="module")
def given() -> dict[str, str]:
    """The secrets of callers; by what they are."""
    return {
        name: f"{name}-{secrets.token_hex(12)}"
        for name in ("query", "failing", "redirected", "closed", "password", "refused", "upper", "wrong-key")
    }


@pytest.fixture(scope="module")
def said(redis_server, s3_server, tmp_path_factory, given) -> Iterator[Said]:
    """A stack that has done its jobs, and stands still."""
    folder, said = tmp_path_factory.mktemp("secrets"), Said()
    bucket = f"secrets-{uuid.uuid4().hex[:12]}"
    settings = make_settings(
        redis_server.for_a_stack(),
        s3_server,
        bucket,
        folder,
        models=MODELS,
        pools=["cpu"],
        cpu_slots=1,
        retry_s=0.01,
        log_level="DEBUG",
    ).model_copy(
        update={
            "metrics_port": free_port(),
            "audit_log": str(folder / "audit.jsonl"),
            "access_log": str(folder / "access.jsonl"),
        }
    )
    storage, stack = make_storage(settings), Stack(settings, folder)
    given["key"], given["operator-key"] = (
        keyfile.add(settings.keys_file, "acme", scope) for scope in ("tenant", "operator")
    )
    with serve() as web, stack.keeper() as keeper, stack.worker("cpu") as worker, stack.api() as api:
        with httpx.Client(
            base_url=api.url,
            headers={"Authorization": f"Bearer {given['key']}"},
            timeout=90,
            trust_env=False,
            event_hooks={"response": [said.answer]},
        ) as client:
            _work(client, web, settings, given)
        for process in (keeper, worker, api, redis_server, s3_server):
            for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
                said.places[f"command line of {process.name} {one.pid}"] = "\0".join(one.cmdline()).encode()
        metrics = httpx.get(f"http://127.0.0.1:{settings.metrics_port}/metrics", trust_env=False)
        said.places["/metrics"] = metrics.content
        client = stack.redis()
        until(
            lambda: sum(seen.key.endswith("job.json") for seen in storage.list("tenants/")) == JOBS,
            ENDS_S,
            "the keeper has written job.json",
        )
        _look(said, client, storage)
    for log in (*folder.glob("*.log"), *folder.glob("*.jsonl")):
        said.places[f"log {log.name}"] = log.read_bytes()
    yield said


def _work(client: httpx.Client, web, settings, given: dict[str, str]) -> None:
    """Every way in which a URL is used or refused; each job to its end."""

    def submit(url: str, ends: str | None) -> None:
        asked = {"kind": "generate", "input": {"prompt": {"url": url}}, "max_attempts": 2}
        answer = client.post("/v1/jobs", json=asked)
        assert (answer.status_code == 202) == (ends is not None), answer.text
        if ends:
            job = client.get(answer.json()["links"]["self"], headers={"Prefer": "wait=60"}).json()
            assert job["status"] == ends, job
            for output in job["outputs"]:
                assert client.get(output["url"]).status_code == 307

    submit(web.gives("/a", b"text") + f"?token={given['query']}", "succeeded")
    submit(web.url.replace("http", "HTTP") + f"/a?token={given['upper']}", "succeeded")
    submit(web.gives("/none", status=404) + f"?token={given['failing']}", "failed")
    submit(web.gives("/moved", status=302, location=f"https://10.0.0.1/?token={given['redirected']}"), "failed")
    submit(f"http://127.0.0.1:{free_port()}/a?token={given['closed']}", "failed")
    submit(f"https://me:{given['password']}@example.com/", None)
    submit(f"https://10.0.0.1/?token={given['refused']}", None)
    other = make_storage(settings.model_copy(update={"s3_bucket": settings.s3_bucket + "-other"}))
    other.put_bytes("a.txt", b"from another bucket", "text/plain")
    link = other.link("a.txt", "text/plain", "a.txt")
    given["signature"] = httpx.URL(link).params["X-Amz-Signature"]
    submit(link, "succeeded")
    upload = client.post("/v1/uploads", json={"name": "a.txt"}).json()
    httpx.put(upload["url"], content=b"x", trust_env=False).raise_for_status()
    submit(upload["source"], "succeeded")
    client.get("/v1/jobs")
    client.get("/v1/jobs", headers={"Authorization": f"Bearer {given['wrong-key']}"})
    client.get("/v1/pools", headers={"Authorization": f"Bearer {given['operator-key']}"})
    for path in ("/readyz", "/healthz", "/openapi.json", "/nowhere", "/v1/models"):
        client.get(path)


def _look(said: Said, client: redis.Redis, storage: Storage) -> None:
    """Every value of Redis, every object of the bucket."""
    read = {
        "string": client.get,
        "hash": client.hgetall,
        "list": lambda key: client.lrange(key, 0, -1),
        "set": client.smembers,
        "zset": lambda key: client.zrange(key, 0, -1),
        "stream": client.xrange,
    }
    for key in client.scan_iter():
        kind = client.type(key)
        if kind == "hash" and key.startswith("bl:job:"):
            for name, value in client.hgetall(key).items():
                said.places[f"{key} {name}"] = value.encode()
        elif kind != "none":
            place = key if key.startswith("bl:journal") else f"redis {key}"
            said.places[place] = (key + repr(read[kind](key))).encode()
    for seen in storage.list(""):
        said.places[seen.key] = storage.get_bytes(seen.key)


def test_there_was_something_to_look_through(said, given):
    """The search finds what is there: answers, logs of every process, records, the journal, objects, command lines."""
    for beginning in (
        "answer ",
        "log keeper",
        "log cpu",
        "log api",
        "log audit",
        "log access",
        "command line of cpu",
        "bl:job:",
        "redis bl:",
        "tenants/",
        "/metrics",
    ):
        assert any(place.startswith(beginning) and content for place, content in said.places.items()), beginning
    assert said.where("127.0.0.1/a") or said.where("/a"), "URLs are named, without their query"


@pytest.mark.parametrize("name", ["key", "operator-key", "wrong-key", "password", "refused", "redirected"])
def test_what_was_shown_to_the_api_stands_nowhere(said, given, name):
    """Keys, and what a refused URL held: in no answer, log, record, object or command line."""
    assert said.where(given[name]) == []


@pytest.mark.parametrize("secret", [PASSWORD, SECRET_KEY], ids=["Redis' password", "the bucket's secret key"])
def test_what_the_operator_gave_stands_nowhere(said, secret):
    assert said.where(secret) == []


@pytest.mark.parametrize("name", ["query", "upper", "failing", "closed", "signature"])
def test_a_query_string_stands_where_it_is_needed_and_nowhere_else(said, given, name):
    """In the record, for the worker, and in the journal, for a restore; not in what anybody is shown."""
    places = said.where(given[name])
    assert [place for place in places if not place.startswith(STANDS_IN)] == []
    assert {place.rpartition(" ")[2] for place in places if place.startswith("bl:job:")} <= {"fixed"}


def test_links_stand_in_location_alone(said):
    """A signed link opens its object to whoever reads it; the one of an upload is the answer to who asked for it."""
    assert [
        place
        for place in said.where("X-Amz-Signature=")
        if "/v1/uploads" not in place and not place.startswith(STANDS_IN)
    ] == []


def test_files_that_hold_secrets_are_their_owners_alone(tmp_path: Path):
    keyfile.add(tmp_path / "keys.json", "acme")
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
