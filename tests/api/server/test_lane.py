"""The lane: to callers and to the logs it is the same as Flask, and what waits together is recorded in one trip."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from api import create_app, keyfile
from api.dispatch import Api
from api.server.bridge import Bridge
from api.server.lane import BODY_MAX_BYTES
from tasks.ids import new_id
from tasks.ledger import Idempotency, Ledger, keys
from tasks.service import submits
from tasks.settings import Settings
from tests.api.conftest import PROMPT, in_seconds
from tests.stack import make_settings, make_storage, until
from tests.tasks.ledger.proxy import Proxy

PAGE = "https://app.example"
WAYS = ("laned", "flask")
"""By the lane, and past it; also the names of tenants, of one length."""
DIFFERS = [
    (re.compile(r"job_[0-9a-z]{26}"), "job"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "time"),
    (re.compile(r"under [0-9a-f]{16}"), "under a reference"),
    (re.compile(r"\b(laned|flask)\b"), "way"),
]
"""Parts of an answer that no two submits share."""


@dataclass
class Answered:
    """An answer, and True where the lane gave it."""

    status: int
    headers: dict[str, str]
    body: dict
    by_lane: bool
    logged: list[dict] = field(default_factory=list)

    def seen(self) -> tuple:
        """All of it that two submits of the same request share."""
        logged = [{name: one[name] for name in one.keys() - {"at", "ms", "key", "name"}} for one in self.logged]
        return self.status, plain(sorted(self.headers.items())), plain(self.body), plain(logged)


def plain(value) -> str:
    text = json.dumps(value, sort_keys=True)
    for pattern, stand_in in DIFFERS:
        text = pattern.sub(stand_in, text)
    return text


class Site:
    """The ASGI app in this process, asked by its lane or past it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings.model_copy(
            update={
                "audit_log": str(settings.keys_file.with_name("audit.jsonl")),
                "access_log": str(settings.keys_file.with_name("access.jsonl")),
            }
        )
        keyfile.add(settings.keys_file, "nobody")
        self.app: Api = create_app(self.settings)
        self.services = self.app.services
        with pytest.MonkeyPatch.context() as patch:  # a process has one set of metrics, which another test's bridge has
            patch.setattr("api.server.bridge.Counts", lambda: SimpleNamespace(answered=lambda status: None))
            self.bridge = Bridge(self._flask, self.services)
        self.past_lane = 0
        self._keys: dict[tuple, str] = {}

    def key(self, tenant: str, **more) -> str:
        """A key whose use was noted just now."""
        wanted = (tenant, *sorted((name, str(value)) for name, value in more.items()))
        if wanted not in self._keys:
            self._keys[wanted] = made = keyfile.add(self.settings.keys_file, tenant, **more)
            self.services.keys._checked = float("-inf")
            assert self.services.keys.is_to_be_noted(self.services.keys.find(made))
        return self._keys[wanted]

    def ask(self, way: str, body: bytes | str | dict, key: str = "", path: str = "/v1/jobs", **fields: str) -> Answered:
        lines = self._lines()
        (answer,) = asyncio.run(self.together(way, [(key or self.key(way), body)], path, **fields))
        answer.logged = [line for was, now in zip(lines, self._lines(), strict=True) for line in now[len(was) :]]
        return answer

    async def together(self, way: str, asked, path: str = "/v1/jobs", **fields: str) -> list[Answered]:
        """The answers to several submits that come at once."""
        return await asyncio.gather(*(self._ask(way, body, key, path, fields) for key, body in asked))

    async def _ask(self, way: str, body, key: str, path: str, fields: dict[str, str]) -> Answered:
        body = json.dumps(body) if isinstance(body, dict) else body
        body = body.encode() if isinstance(body, str) else body
        path, _, query = path.partition("?")
        headers = {"content-type": "application/json", "content-length": str(len(body)), "host": "x"}
        headers |= {name.replace("_", "-"): value for name, value in fields.items()}
        headers |= {"authorization": f"Bearer {key}"} if key != "none" else {}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "client": ("10.1.1.1", "1"),
            "scheme": "http",
            "server": ("127.0.0.1", "8080"),
            "headers": [
                (name.encode(), value.encode())
                for name, given in headers.items()
                for value in ([given] if isinstance(given, str) else given or [])
            ],
        }
        sent: list[dict] = []

        async def receive() -> dict:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict) -> None:
            sent.append(message)

        before = self.past_lane
        lane = self.bridge._lane
        if way == "flask":
            self.bridge._lane = _Closed()
        try:
            await self.bridge(scope, receive, send)
        finally:
            self.bridge._lane = lane
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        text = b"".join(message["body"] for message in sent[1:])
        assert int(told["content-length"]) == len(text)
        return Answered(sent[0]["status"], told, json.loads(text), self.past_lane == before)

    def _flask(self, environ, start_response):
        self.past_lane += 1
        return self.app(environ, start_response)

    def _lines(self) -> list[list[dict]]:
        """The lines of the audit log, and those of the access log."""
        files = (self.settings.audit_log, self.settings.access_log)
        return [[json.loads(line) for line in Path(name).read_text().splitlines()] for name in files]


class _Closed:
    async def answer(self, *_) -> None:
        return None


def make_site(redis_server, s3_server, folder, **more) -> Site:
    settings = make_settings(redis_server.for_a_stack(), s3_server, f"test-lane-{folder.name[-8:]}", folder, **more)
    Ledger(settings).set_epoch()
    return Site(settings)


@pytest.fixture(scope="module")
def site(redis_server, s3_server, tmp_path_factory) -> Iterator[Site]:
    made = make_site(
        redis_server, s3_server, tmp_path_factory.mktemp("lane"), cors_origins=[PAGE], trusted_proxies=["10.0.0.0/8"]
    )
    make_storage(made.settings)
    for way in WAYS:
        made.services.jobs.webhooks.secrets.rotate(way)
    yield made
    made.bridge._lane.close()
    made.bridge._threads.close()


def fitting(count: int) -> bytes:
    """A request of so many bytes."""
    body = json.dumps({**PROMPT, "metadata": {"a": ""}}).encode()
    return body.replace(b'"a": ""', b'"a": "' + b"x" * (count - len(body)) + b'"')


TAKEN = {
    "generate": (PROMPT, {}),
    "no ASCII": ({"kind": "generate", "input": {"prompt": "Hé 🎬"}}, {}),
    "recommend": ({"kind": "recommend", "input": {"catalogue": "https://a.example/c.csv", "history": ["tt1"]}}, {}),
    "transcribe": ({"kind": "transcribe", "input": {"audio": "https://a.example/a.wav?sig=1"}}, {}),
    "caption": ({"kind": "caption", "input": {"image": "https://a.example/a.png"}}, {}),
    "all fields": (
        {
            **PROMPT,
            "params": {"max_tokens": 5},
            "priority": -3,
            "metadata": {"a": [1.5, None, {"b": "\x7f"}]},
            "queue_ttl_s": 60,
            "run_timeout_s": 60,
            "deadline_s": 900.5,
            "retention_s": 60,
            "max_attempts": 2,
        },
        {},
    ),
    "a webhook": ({**PROMPT, "webhook": {"url": "https://hooks.example/in?secret=1"}}, {}),
    "scheduled": ({**PROMPT, "start_at": in_seconds(3600)}, {}),
    "a key of its own": (PROMPT, {"idempotency_key": "{way}-1"}),
    "a key of its own, quoted": (PROMPT, {"idempotency_key": '"{way} 2"'}),
    "a page": (PROMPT, {"origin": PAGE}),
    "a page of a stranger": (PROMPT, {"origin": "https://evil.example"}),
    "a charset": (PROMPT, {"content_type": "Application/JSON; charset=utf-8"}),
    "as many bytes as may be": (fitting(BODY_MAX_BYTES), {}),
    "in chunks": (PROMPT, {"content_length": None, "transfer_encoding": "chunked"}),
    "through a proxy": (PROMPT, {"x_forwarded_for": "203.0.113.7"}),
}
"""Requests that the lane answers, and their header fields; `{way}` becomes the way's name."""


def both(site: Site, body, fields: dict, key: dict | None = None, path: str = "/v1/jobs") -> list[Answered]:
    """The answers by the lane and by Flask alone, to a tenant of the way's name."""
    return [
        site.ask(
            way,
            body,
            site.key(way, **(key or {})),
            path,
            **{name: told.format(way=way) if isinstance(told, str) else told for name, told in fields.items()},
        )
        for way in WAYS
    ]


@pytest.mark.parametrize("name", TAKEN)
def test_the_lane_answers_as_flask_does(site, name):
    """Status, each header, the body, and the lines of both logs."""
    lane, flask = both(site, *TAKEN[name])
    assert lane.status == 202 and (lane.by_lane, flask.by_lane) == (True, False)
    assert lane.seen() == flask.seen() and len(lane.logged) == 2
    for answer in (lane, flask):
        record = site.services.jobs.ledger.record(answer.body["id"])
        assert record["status"] == answer.body["status"] and answer.logged[0]["made"] == answer.body["id"]


def test_a_field_that_the_lane_does_not_know_is_left_to_flask(site, monkeypatch):
    """As one that is added to requests and forgotten in the lane."""
    monkeypatch.setattr(submits, "FIELDS", submits.FIELDS - {"priority"})
    assert not site.ask("laned", {**PROMPT, "priority": 1}).by_lane and site.ask("laned", PROMPT).by_lane


LEFT = {
    "no JSON": (400, "{", {}),
    "two of a name": (400, '{"kind": "generate", "kind": "generate", "input": {"prompt": "x"}}', {}),
    "an unknown field": (422, {**PROMPT, "colour": "red"}, {}),
    "an unknown kind": (422, {**PROMPT, "kind": "dance"}, {}),
    "an unknown model": (422, {**PROMPT, "model": "none"}, {}),
    "a parameter of another model": (422, {**PROMPT, "model": "ngram", "params": {"seed": "x"}}, {}),
    "too long kept": (422, {**PROMPT, "retention_s": 1e9}, {}),
    "a number that no JSON has": (422, '{"kind": "generate", "input": {"prompt": "x"}, "metadata": {"a": 1e999}}', {}),
    "a private address": (422, {"kind": "caption", "input": {"image": "https://10.0.0.1/a.png"}}, {}),
    "an upload that is none": (422, {"kind": "caption", "input": {"image": "upload:upload_" + "0" * 26}}, {}),
    "a body too long for the lane": (202, fitting(BODY_MAX_BYTES + 1), {}),
    "a wish": (202, PROMPT, {"prefer": "respond-async"}),
    "a coding": (415, PROMPT, {"content_encoding": "gzip"}),
    "another type": (415, PROMPT, {"content_type": "text/plain"}),
    "no type": (415, PROMPT, {"content_type": None}),
    "a key that is none": (400, PROMPT, {"idempotency_key": "é"}),
    "two content types": (415, PROMPT, {"content_type": ["application/json", "text/plain"]}),
    "two keys": (400, PROMPT, {"idempotency_key": ['"a"', '"b"']}),
    "a path before ours": (202, PROMPT, {"x_forwarded_prefix": "/backlot"}),
}
"""Requests that the lane leaves to Flask, with the status of the answer."""


@pytest.mark.parametrize("name", LEFT)
def test_the_lane_leaves_to_flask(site, name):
    """Whatever it may not judge; the answer is Flask's, and nothing was recorded before."""
    status, body, fields = LEFT[name]
    jobs = site.services.jobs.ledger.redis.zcard(keys.tenant_jobs("laned"))
    lane, flask = both(site, body, fields)
    assert (lane.status, lane.by_lane) == (status, False), lane.body
    assert lane.seen() == flask.seen()
    assert site.services.jobs.ledger.redis.zcard(keys.tenant_jobs("laned")) == jobs + (status == 202)


@pytest.mark.parametrize(
    ("key", "status", "by_lane"),
    [
        ({"access": "read"}, 403, False),
        ({"kinds": ["caption"]}, 403, False),
        ({"kinds": ["caption", "generate"]}, 202, True),
        ({"scope": "operator", "name": "ops"}, 202, True),
    ],
)
def test_a_keys_rights_hold(site, key, status, by_lane):
    lane, flask = both(site, PROMPT, {}, key)
    assert (lane.status, lane.by_lane) == (status, by_lane) and lane.seen() == flask.seen()


def test_no_key_a_query_and_another_path_are_left_to_flask(site):
    for key, path, status in (("none", "/v1/jobs", 401), ("", "/v1/jobs?a=1", 422), ("", "/v1/%6aobs", 202)):
        lane, flask = (site.ask(way, PROMPT, key or site.key(way), path) for way in WAYS)
        assert (lane.status, lane.by_lane) == (status, False) and lane.seen() == flask.seen()


def test_a_keys_use_is_noted(site):
    """The first request of a minute is Flask's, which notes it."""
    key = keyfile.add(site.settings.keys_file, "fresh")
    site.services.keys._checked = float("-inf")
    assert [site.ask("laned", PROMPT, key).by_lane for _ in range(2)] == [False, True]
    assert site.services.jobs.ledger.redis.hexists(keys.KEY_USES, site.services.keys.find(key).id)


def test_a_key_used_before_gives_the_first_job(site):
    """With another request it is refused; while the inputs of the first are stored, it is retryable."""
    first, again = (site.ask("laned", PROMPT, idempotency_key="k-1") for _ in range(2))
    assert (first.by_lane, again.by_lane, again.body["id"]) == (True, False, first.body["id"])
    assert again.headers["idempotency-replayed"] == "true"
    assert site.ask("laned", {**PROMPT, "priority": 1}, idempotency_key="k-1").status == 422
    for way in WAYS:
        held = Idempotency.of((way, "POST", "/v1/jobs", "k-2"), ("",))
        site.services.jobs.ledger.reserve(way, held, new_id("job"))
    lane, flask = both(site, PROMPT, {"idempotency_key": "k-2"})
    assert (lane.status, lane.by_lane, lane.body["retryable"]) == (409, True, True) and lane.seen() == flask.seen()


def test_one_key_twice_at_once_makes_one_job(site):
    key = site.key("laned")
    answers = asyncio.run(site.together("laned", [(key, PROMPT)] * 5, idempotency_key="k-3"))
    assert {answer.status for answer in answers} == {202} and len({answer.body["id"] for answer in answers}) == 1


@pytest.mark.parametrize("limit", ["submits_per_minute", "max_waiting_jobs"])
def test_limits_are_told_as_flask_tells_them(redis_server, s3_server, tmp_path, limit):
    """Just under, with what is left; and at the limit."""
    site = make_site(redis_server, s3_server, tmp_path, **{limit: 1})
    for status in (202, 429):
        lane, flask = both(site, PROMPT, {})
        assert (lane.status, lane.by_lane) == (status, True) and lane.seen() == flask.seen()
    assert ("ratelimit" in lane.headers) == (limit == "submits_per_minute")
    site.bridge._lane.close()


def test_what_comes_at_once_is_one_trip_and_a_fault_is_one_tenants(site, monkeypatch):
    """Ten submits of three tenants; the index of one of them is no index."""
    ledger, trips = site.services.jobs.ledger, []
    many = ledger.submit_many
    monkeypatch.setattr(ledger, "submit_many", lambda jobs: trips.append(len(jobs)) or many(jobs))
    site.key("broken"), ledger.redis.set(keys.tenant_jobs("broken"), "x")
    asked = [(site.key(tenant), PROMPT) for tenant in ("a", "b", "broken", *"aaaaaaa")]
    answers = asyncio.run(site.together("laned", asked))
    assert trips == [10] and all(answer.by_lane for answer in answers)
    assert [answer.status for answer in answers] == [202, 202, 500, *[202] * 7]
    assert len({answer.body["id"] for answer in answers if answer.status == 202}) == 9
    assert ledger.redis.zcard(keys.tenant_jobs("a")) == 8


def test_a_burst_of_one_tenant_leaves_room_for_another(site, monkeypatch):
    """A trip takes one of each tenant's first, and 25 at most."""
    ledger, trips = site.services.jobs.ledger, []
    many = ledger.submit_many
    monkeypatch.setattr(ledger, "submit_many", lambda jobs: trips.append([f.tenant for f, _ in jobs]) or many(jobs))
    asked = [(site.key(tenant), PROMPT) for tenant in ("a",) * 40 + ("b",)]
    answers = asyncio.run(site.together("laned", asked))
    assert {answer.status for answer in answers} == {202}
    assert [len(trip) for trip in trips] == [25, 16] and trips[0][:2] == ["a", "b"]


def test_a_list_that_cannot_be_sent_is_sent_one_by_one(site, monkeypatch):
    """With the same ids: no job is made twice."""
    ledger = site.services.jobs.ledger
    make = ledger.submit_call

    def call(fixed, idempotency=None):
        verb, named, words = make(fixed, idempotency)
        return verb, named, ["\ud800" if fixed.tenant == "odd" and word == fixed.tenant else word for word in words]

    monkeypatch.setattr(ledger, "submit_call", call)
    asked = [(site.key(tenant), PROMPT) for tenant in ("even", "odd", "even")]
    answers = asyncio.run(site.together("laned", asked))
    assert [answer.status for answer in answers] == [202, 500, 202] and answers[1].by_lane
    assert ledger.redis.zcard(keys.tenant_jobs("even")) == 2


def test_the_doorbell_is_rung(site):
    """For a queue that has none, and nobody waits there."""
    site.services.jobs.ledger.redis.delete("cpu.caption", "gpu.caption")
    lane = site.ask("laned", TAKEN["caption"][0])
    queue = f"{lane.body['pool']}.caption"
    until(lambda: site.services.jobs.ledger.redis.llen(queue) == 1)


def test_a_lost_reply_makes_no_second_job(redis_server, s3_server, tmp_path):
    """The trip is sent again with the same ids."""
    with Proxy(redis_server.port) as proxy:
        settings = make_settings(redis_server.for_a_stack(), s3_server, "test-lane-lost", tmp_path)
        Ledger(settings).set_epoch()
        url = settings.redis_url.get_secret_value().replace(f":{redis_server.port}/", f":{proxy.port}/")
        site = Site(settings.model_copy(update={"redis_url": SecretStr(url)}))
        key = site.key("acme")
        assert site.ask("laned", PROMPT, key).by_lane  # the server knows the script
        proxy.cut()
        answers = asyncio.run(site.together("laned", [(key, PROMPT)] * 3))
        assert [answer.status for answer in answers] == [202] * 3 and len(proxy.lost) == 1
        assert Ledger(settings).redis.zcard(keys.tenant_jobs("acme")) == 4
        site.bridge._lane.close()


def test_a_redis_that_is_not_reconciled_is_told_as_flask_tells_it(redis_server, s3_server, tmp_path):
    """503, which may be asked again; nothing is recorded."""
    site = make_site(redis_server, s3_server, tmp_path)
    ledger = Ledger(site.settings)
    site.key("laned"), site.key("flask"), ledger.redis.delete(keys.EPOCH)
    lane, flask = both(site, PROMPT, {})
    assert (lane.status, lane.by_lane, lane.body["code"]) == (503, True, "not_ready") and lane.seen() == flask.seen()
    assert not ledger.redis.exists(keys.tenant_jobs("laned"))
    site.bridge._lane.close()
