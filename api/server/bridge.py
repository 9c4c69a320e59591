"""The bridge between granian (ASGI) and Flask (WSGI): the app that each process of `python -m api` serves.

A request goes through it in this order:

1. its head is checked (api/server/wire.py), and /healthz is answered, without a thread;
2. it takes a place of its tenant, or, without a key that is known, of its address (api/server/threads.py);
3. its body is read to the end or to its deadline (api/server/bodies.py); one without a key is never read;
4. the lane (api/server/lane.py) answers a submit with a small JSON body, together with others that wait; each other
   request is answered by Flask on one of a few threads, which always finds the whole body there; a batch by a process
   of its own (api/server/aside.py);
5. where Flask wishes so, the request is held until its job ends (api/server/holds.py), and Flask is asked again;
6. or the answer is an event stream, which a coroutine goes on with (api/server/streams.py);
7. the answer is sent; a connection with something unread on it is closed, after a moment for the caller to read.

It knows no job and decides no right: the key is looked up to tell callers apart, and Flask checks it.
"""

import asyncio
import contextlib
import functools
import io
import ipaddress
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from api import create_app
from api.dispatch import BODY, KEY
from api.headers import SAFE, cors
from api.keyfile import Key
from api.prefer import applied
from api.problems import CODES, Problem, too_large
from api.server import wire
from api.server.aside import Aside
from api.server.bodies import Bodies, Receive
from api.server.holds import HELD_READ, WISH, Holds, Wish
from api.server.lane import Lane
from api.server.listener import end_stalled_connections
from api.server.metrics import Counts
from api.server.streams import Streams
from api.server.threads import Answer, Threads
from api.server.wire import Refused
from api.services import Services
from api.v1.health import Health
from tasks import logs
from tasks.errors import NotReady
from tasks.models_file import Misconfigured
from tasks.settings import Settings

log = logging.getLogger(__name__)
Send = Callable[[dict[str, Any]], Awaitable[None]]
LINGER_S = 2
LINGER_BYTES = 4 * 1024 * 1024
"""Seconds and bytes of body that are read and dropped after an early answer. Closing a connection with unread bytes
resets it, and the caller would lose the answer."""
BODIES_END_S = 2
"""Seconds before the process is killed at which bodies must be whole."""
TICK_S = 1
"""Seconds between two rounds of gauges and checks."""
SWITCH_S = 0.0005
"""Seconds after which Python switches threads. The event loop needs several turns a request and waits at each for every
busy thread: at Python's default of 5 ms a small request beside ten busy ones took up to a second."""


def bridge() -> "Bridge":
    """The ASGI app for the settings of the environment. Starts this process's logging. Errors: SystemExit."""
    try:
        settings = Settings.of_environment()
        logs.start(settings.log_level)
        app = create_app(settings)
    except Misconfigured as error:  # a respawned process reads files that may have changed since the start
        raise SystemExit(f"the API cannot start: {error}") from None
    sys.setswitchinterval(SWITCH_S)
    return Bridge(app, app.extensions["backlot"])


class Bridge:
    """The ASGI app of one process."""

    def __init__(self, app: Callable[..., Any], services: Services) -> None:
        s = self._settings = services.settings
        self._keys = services.keys
        self._trusted = tuple(ipaddress.ip_network(network) for network in s.trusted_proxies)
        self._too_large = too_large(s)
        self._aside = Aside(app, s)
        self._threads = Threads(self._aside, s.http_threads, s.http_requests_per_tenant)
        self._lane = Lane(services)
        self._bodies = Bodies(s)
        self._holds = Holds(services.jobs.events, s.http_held, s.http_held_per_tenant)
        self._streams = Streams(services.jobs.events, services.jobs.looks, s)
        self._counts = Counts()
        self._health = Health().model_dump_json()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        closes = unread = False
        try:
            answer, unread = await self._answer(scope, receive)
        except Refused as refused:
            answer, closes = self._problem(refused, scope), (unread := wire.has_body(scope["headers"]))
        except Exception:
            log.exception("the bridge failed at a %s", scope["method"])
            answer = self._problem(Refused(500, "a defect of the service", code="internal"), scope)
            closes, unread = True, wire.has_body(scope["headers"])
        self._counts.answered(answer.status)
        # no request is read after a chunked body: a proxy may disagree on its end (request smuggling)
        closes = closes or unread or wire.is_chunked(scope["headers"])
        if answer.stream:
            return await self._streamed(answer, closes, scope, receive, send)
        await self._send(answer, closes, send)
        if closes and unread:
            await _drain(receive)

    async def _answer(self, scope: dict[str, Any], receive: Receive) -> tuple[Answer, bool]:
        """The answer, and true where a body was left unread. Errors: Refused."""
        head = wire.read_head(scope)
        if scope["path"] == "/healthz" and scope["method"] in ("GET", "HEAD"):
            return self._own(200, "application/json", self._health, scope), head.has_body
        came_from = wire.origin(scope, head, self._trusted)
        key = self._key(head.authorization)
        who = f"tenant {key.tenant}" if key else f"address {came_from.address}"
        wish = Wish()
        with self._threads.place(who):
            if key is None or not head.has_body:
                environ = wire.environ(scope, came_from, 0) | {"wsgi.input": io.BytesIO(), WISH: wish, KEY: key}
                answer, unread = await self._threads.ask(who, environ), head.has_body
            else:
                unread = False
                with self._bodies.room(who, self._announced(head)) as body:
                    file = await body.read(receive, self._most(head), self._too_large)
                    submitted = await self._lane.answer(scope, head, came_from, key, body.whole)
                    if submitted is not None:
                        return submitted, unread
                    environ = wire.environ(scope, came_from, body.count) | {WISH: wish, KEY: key}
                    answer = await self._threads.ask(who, environ | {"wsgi.input": file, BODY: body.whole})
        if wish.job_id and self._holds.may(wish.tenant):
            answer = await self._held(answer, wish, environ, who, receive)
        if wish.stream and answer.status == 200:
            self._streams.admit(wish.stream.tenant)
            answer.stream = wish.stream
        return answer, unread

    def _most(self, head: wire.Head) -> int:
        """Bytes that a body of this media type may have."""
        is_json = head.media_type == "application/json"
        return self._settings.json_max_bytes if is_json else self._settings.upload_max_bytes

    def _announced(self, head: wire.Head) -> int | None:
        """The body's length by its head. Errors: Refused."""
        if (head.length or 0) > self._most(head):
            raise Refused(413, self._too_large)
        return head.length

    def _key(self, authorization: str) -> Key | None:
        """The request's key; None for an unknown or expired one, which Flask refuses with the reason."""
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        with contextlib.suppress(NotReady):
            found = self._keys.find(key.strip())
            return found if found and not found.expired() else None
        return None

    async def _held(self, first: Answer, wish: Wish, environ: dict[str, Any], who: str, receive: Receive) -> Answer:
        """The first answer, with the job as it is when it is done, the time is over or the process stops."""
        last, done, end = first, False, time.monotonic() + wish.seconds
        try:
            async with self._holds.holding(wish, _left(receive)) as hold:
                while not done and not hold.over:
                    again = Wish()
                    looked = await self._threads.ask(
                        who, _reading(environ, wish.job_id) | {WISH: again, HELD_READ: True}
                    )
                    if looked.status == 200:
                        last, done = looked, not again.job_id
                    elif looked.status != 503:  # the job was erased meanwhile
                        return looked if environ["REQUEST_METHOD"] == "GET" else first
                    if done or (left := end - time.monotonic()) <= 0:
                        break
                    await hold.wait(left)
        except NotReady:
            return first  # without Redis no event tells of the job's end
        dropped = {"content-length", *(["retry-after"] if done else [])}
        headers = [pair for pair in first.headers if pair[0].lower() not in dropped]
        return Answer(first.status, [*headers, ("Preference-Applied", applied(wish.seconds))], last.body, last.rest)

    async def _streamed(
        self, answer: Answer, closes: bool, scope: dict[str, Any], receive: Receive, send: Send
    ) -> None:
        """Sends an event stream, which ends at the latest once its key counts no more."""
        authorization = wire.read_head(scope).authorization
        answer.headers = [pair for pair in answer.headers if pair[0].lower() != "content-length"]
        await self._start(answer, closes, send)

        async def part(more: bytes) -> None:
            await send({"type": "http.response.body", "body": more, "more_body": True})

        if await self._streams.serve(
            answer.stream, answer.body, part, _left(receive), lambda: self._key(authorization) is not None
        ):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _problem(self, refused: Refused, scope: dict[str, Any]) -> Answer:
        title = HTTPStatus(refused.status).phrase
        body = Problem(
            title=title,
            status=refused.status,
            detail=refused.detail,
            instance=scope["path"],
            code=refused.code or CODES.get(refused.status, title.lower().replace(" ", "_")),
            retryable=refused.retryable,
        ).model_dump_json(exclude_none=True)
        more = {} if refused.retry_after_s is None else {"Retry-After": str(refused.retry_after_s)}
        return self._own(refused.status, "application/problem+json", body, scope, more)

    def _own(
        self, status: int, media_type: str, body: str, scope: dict[str, Any], more: dict[str, str] | None = None
    ) -> Answer:
        """An answer made without Flask, with the headers of every answer."""
        origin = b",".join(wire.values(scope["headers"], b"origin")).decode("latin-1") or None
        headers = {
            "Content-Type": media_type,
            "Cache-Control": "no-store",
            **SAFE,
            **cors(self._settings.cors_origins, origin),
            **(more or {}),
        }
        return Answer(status, list(headers.items()), body.encode())

    async def _send(self, answer: Answer, closes: bool, send: Send) -> None:
        if answer.rest is None and not any(name.lower() == "content-length" for name, _ in answer.headers):
            answer.headers.append(("content-length", str(len(answer.body))))
        await self._start(answer, closes, send)
        part: bytes | None = answer.body
        while answer.rest is not None and part is not None:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            part = await self._threads.part("parts of large answers", answer)
        await send({"type": "http.response.body", "body": b"" if part is None else part, "more_body": False})

    async def _start(self, answer: Answer, closes: bool, send: Send) -> None:
        headers = [(_field(name), value.encode("latin-1")) for name, value in answer.headers]
        if closes:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})

    async def _live(self, receive: Receive, send: Send) -> None:
        """Runs ASGI's lifespan. Its shutdown event comes only after all answers, too late to end held requests, so the
        signals are handled here too. granian's own handlers, which are asyncio's, still run."""
        await receive()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(self._stop))
        ticking = asyncio.ensure_future(self._tick())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        ticking.cancel()
        self._threads.close()
        self._lane.close()
        self._aside.close()
        await send({"type": "lifespan.shutdown.complete"})

    def _stop(self) -> None:
        """Answers held requests, ends event streams, and gives bodies until shortly before the process is killed."""
        self._holds.stop()
        self._streams.stop()
        self._bodies.end_by(time.monotonic() + max(0.5, self._settings.http_grace_s - BODIES_END_S))

    async def _tick(self) -> None:
        """Sets gauges and options, and ends a process whose parent died, once every TICK_S."""
        parent, listens = multiprocessing.parent_process(), False
        while True:
            listens = listens or end_stalled_connections(self._settings.http_idle_s)
            self._counts.held.set(len(self._holds))
            self._counts.streams.set(len(self._streams))
            self._counts.spooled.set(self._bodies.spool.held)
            self._counts.working.set(self._threads.requests)
            if parent and not parent.is_alive():  # an orphan would answer beside the next API's processes
                os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(TICK_S)


@functools.lru_cache(256)
def _field(name: str) -> bytes:
    """The name of an answer's header field, as HTTP has it; all are our own."""
    return name.lower().encode("latin-1")


def _reading(environ: dict[str, Any], job_id: str) -> dict[str, Any]:
    """The environ of a request by the same caller that reads the job; its key is looked up anew."""
    kept = {
        name: value
        for name, value in environ.items()
        if name not in ("CONTENT_TYPE", "HTTP_IDEMPOTENCY_KEY", "HTTP_EXPECT", KEY)
    }
    return kept | {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": f"/v1/jobs/{job_id}",
        "QUERY_STRING": "",
        "CONTENT_LENGTH": "0",
        "wsgi.input": io.BytesIO(),
    }


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _drain(receive: Receive) -> None:
    count = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while count < LINGER_BYTES:
                message = await receive()
                count += len(message.get("body", b""))
                if not message.get("more_body"):
                    return
