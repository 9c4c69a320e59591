"""The bridge alone, with a WSGI app of the test behind it: whose turn it is, large answers, what an environ has."""

import asyncio
import threading
import types

import pytest

from api.dispatch import BODY, KEY
from api.headers import SAFE
from api.server.bodies import IN_MEMORY_BYTES
from api.server.threads import BUFFERED_BYTES
from tasks.service.jobs import Jobs
from tasks.settings import Settings

PART = b"x" * 300_000
MOST = 60
"""Requests of one caller that the bridge takes at once."""


class App:
    """A WSGI app that shows its environ, waits where the path says so, or answers at length."""

    def __init__(self) -> None:
        self.environ: dict = {}
        self.go_on, self.waiting, self.given, self.closed = threading.Event(), threading.Semaphore(0), 0, 0

    def __call__(self, environ, start_response):
        self.environ = environ
        if environ["PATH_INFO"] == "/defect":
            raise RuntimeError("a defect")
        if environ["PATH_INFO"] == "/wait":
            self.waiting.release()
            self.go_on.wait(20)
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"].startswith("/echo/"):
            return [environ["PATH_INFO"].encode()]
        return self._parts() if environ["PATH_INFO"] == "/large" else [b"small"]

    def _parts(self):
        try:
            for _ in range(20):
                self.given += 1
                yield PART
        finally:
            self.closed += 1


@pytest.fixture(scope="module")
def bridge():
    """With four threads; a key is its tenant's name, and "old" one that has expired."""
    from api.server.bridge import Bridge

    keys = types.SimpleNamespace(find=lambda key: types.SimpleNamespace(tenant=key, expired=lambda: key == "old"))
    settings = Settings(http_threads=4, http_requests_per_tenant=MOST)
    services = types.SimpleNamespace(settings=settings, keys=keys, jobs=Jobs.of(settings))
    made = Bridge(None, services)
    yield made
    made._threads.close()


@pytest.fixture
def app(bridge) -> App:
    bridge._threads.app = app = App()
    yield app
    app.go_on.set()


def ask(bridge, path: str, **more) -> list[dict]:
    """The messages of one answer."""
    return asyncio.run(asking(bridge, path, **more))


async def asking(
    bridge, path: str, key: str = "", body: bytes = b"", sent: list | None = None, receive=None, **headers: str
) -> list[dict]:
    sent = [] if sent is None else sent
    fields = {"host": "x", **({"authorization": f"Bearer {key}"} if key else {}), **headers}
    if body:
        fields["content-length"] = str(len(body))
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST" if body else "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "client": ("203.0.113.7", "1"),
        "scheme": "http",
        "server": ("127.0.0.1", "8080"),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()],
    }

    async def at_once() -> dict:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    await bridge(scope, receive or at_once, send)
    return sent


def test_an_environ_has_the_request_and_nothing_of_the_process(bridge, app, monkeypatch):
    monkeypatch.setenv("BACKLOT_REDIS_URL", "redis://:secret@redis/0")
    sent = ask(bridge, "/a", key="acme", body=b"hello", content_type="text/x", x_forwarded_for="6.6.6.6", proxy="evil")
    assert sent[0]["status"] == 200
    assert "secret" not in str(app.environ) and "PATH" not in app.environ
    assert app.environ["wsgi.input"].closed and app.environ["CONTENT_LENGTH"] == "5"
    assert app.environ["REMOTE_ADDR"] == "203.0.113.7"
    assert not {"HTTP_X_FORWARDED_FOR", "HTTP_PROXY", "HTTP_CONTENT_LENGTH"} & app.environ.keys()


@pytest.mark.parametrize("key", ["", "old"])
def test_a_body_without_a_key_that_counts_is_not_read(bridge, app, key):
    """Flask finds none, and the connection is closed."""
    sent = ask(bridge, "/a", key=key, body=b"hello")
    assert app.environ["CONTENT_LENGTH"] == "0" and app.environ["wsgi.input"].read() == b""
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_large_answer_is_taken_as_the_caller_reads(bridge, app):
    """Part by part beyond a megabyte, all of it, and the app is told when it is over."""
    given_when_sent: list[int] = []

    class Sent(list):
        def append(self, message: dict) -> None:
            given_when_sent.append(app.given)
            super().append(message)

    sent = ask(bridge, "/large", key="acme", sent=Sent())
    assert b"".join(message.get("body", b"") for message in sent) == PART * 20
    assert sent[-1]["more_body"] is False and app.closed == 1
    assert given_when_sent[0] * len(PART) < BUFFERED_BYTES + 2 * len(PART)


def test_one_callers_slow_requests_leave_threads_to_others(bridge, app):
    """Six of acme's wait in the app, two at a time; somebody else, and somebody without a key, are answered."""

    async def all_at_once() -> None:
        slow = [asyncio.ensure_future(asking(bridge, "/wait", key="acme")) for _ in range(6)]
        assert await asyncio.to_thread(app.waiting.acquire, timeout=10)
        assert await asyncio.to_thread(app.waiting.acquire, timeout=10)
        others = [asking(bridge, "/a", key="rival"), asking(bridge, "/a")]
        assert {sent[0]["status"] for sent in await asyncio.wait_for(asyncio.gather(*others), 10)} == {200}
        assert not app.waiting.acquire(blocking=False)
        app.go_on.set()
        assert {sent[0]["status"] for sent in await asyncio.gather(*slow)} == {200}

    asyncio.run(all_at_once())


def test_a_caller_has_as_many_requests_at_once_as_the_limit_says(bridge, app):
    """Those that wait in the app count once, as those that wait for a thread do; the next one is refused."""

    async def all_at_once() -> None:
        under_way = [asyncio.ensure_future(asking(bridge, "/wait", key="acme")) for _ in range(MOST)]
        assert await asyncio.to_thread(app.waiting.acquire, timeout=10)
        start, problem = await asking(bridge, "/a", key="acme")
        assert start["status"] == 429 and f"{MOST} of your requests are under way".encode() in problem["body"]
        app.go_on.set()
        assert {sent[0]["status"] for sent in await asyncio.gather(*under_way)} == {200}
        assert (await asking(bridge, "/a", key="acme"))[0]["status"] == 200

    asyncio.run(all_at_once())


def test_a_defect_of_the_app_is_a_problem(bridge, app, caplog):
    """500 without a word of it, with the headers that every answer has."""
    start, body = ask(bridge, "/defect", key="acme")
    assert start["status"] == 500 and b"a defect of the service" in body["body"]
    assert {(name.lower().encode(), value.encode()) for name, value in SAFE.items()} <= set(start["headers"])


@pytest.mark.parametrize("size", [IN_MEMORY_BYTES, IN_MEMORY_BYTES + 1])
def test_a_body_in_memory_is_given_as_bytes_too(bridge, app, size):
    """One on disk is not read again; the key that was found goes with both."""
    ask(bridge, "/a", key="acme", body=b"x" * size)
    assert app.environ[BODY] == (b"x" * size if size == IN_MEMORY_BYTES else None)
    assert app.environ["CONTENT_LENGTH"] == str(size) and app.environ[KEY].tenant == "acme"


def test_many_at_once_get_each_their_own_answer(bridge, app):
    """More than there are threads; those that are done together wake the event loop once."""

    async def all_at_once() -> None:
        wanted = [f"/echo/{number}" for number in range(MOST)]
        got = await asyncio.gather(*(asking(bridge, path, key=f"t{len(path)}") for path in wanted))
        assert [sent[1]["body"].decode() for sent in got] == wanted

    asyncio.run(all_at_once())


def test_a_caller_that_leaves_takes_nothing_from_others(bridge, app):
    """Its work is done on its thread, and given to nobody; its place and its turn are free again."""

    async def leaving() -> None:
        first = asyncio.ensure_future(asking(bridge, "/wait", key="acme"))
        assert await asyncio.to_thread(app.waiting.acquire, timeout=10)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert bridge._threads.requests == 0
        app.go_on.set()
        got = await asyncio.wait_for(asyncio.gather(*(asking(bridge, "/a", key="acme") for _ in range(8))), 10)
        assert {sent[0]["status"] for sent in got} == {200}

    asyncio.run(leaving())


def test_a_body_that_stops_coming_is_cut_off_at_its_deadline(bridge, app, monkeypatch):
    """408 for the late one alone: another body, which comes in time, is read beside it."""
    slow = bridge._settings.model_copy(update={"body_timeout_s": 0.3})
    monkeypatch.setattr(bridge._bodies, "settings", slow)
    monkeypatch.setattr("api.server.bridge.LINGER_S", 0.1)  # for a body that comes after all

    async def never() -> dict:
        await asyncio.Event().wait()
        return {}

    async def both() -> None:
        late, whole = await asyncio.gather(
            asking(bridge, "/a", key="acme", body=b"hello", receive=never),
            asking(bridge, "/a", key="acme", body=b"hello"),
        )
        assert (late[0]["status"], whole[0]["status"]) == (408, 200)
        assert b"0.3 s" in late[1]["body"] and not bridge._bodies.waiting

    asyncio.run(both())


def test_a_held_requests_key_is_looked_up_anew_at_each_look():
    """One that was taken back meanwhile reads nothing more."""
    from api.server.bridge import _reading

    assert KEY not in _reading({KEY: "found before", "HTTP_AUTHORIZATION": "Bearer x", "REMOTE_ADDR": "::1"}, "job_1")
