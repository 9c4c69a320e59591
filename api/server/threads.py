"""Runs a WSGI app on a fixed number of threads, and bounds the requests that one caller has under way.

A caller is a tenant, or an address without a known key. Knows WSGI and no HTTP.
"""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from api.server.wire import Refused

BUFFERED_BYTES = 1024 * 1024
"""An answer up to this size is buffered whole; a larger one is read from the app part by part, as the caller reads."""


@dataclass(slots=True)
class Answer:
    """An answer of the app. `rest` yields the parts behind `body`; None: `body` is all. `stream`: the event stream of
    which `body` is the first part."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    rest: Iterator[bytes] | None = None
    stream: Any = None


class _Caller:
    """One caller: its requests under way, its turn on the threads, and how many have need of this object."""

    def __init__(self, at_once: int) -> None:
        self.turn = asyncio.Semaphore(at_once)
        self.requests = self.users = 0


class _Place:
    """A caller's place in a `with` block."""

    __slots__ = ("_threads", "_who")

    def __init__(self, threads: "Threads", who: str) -> None:
        self._threads, self._who = threads, who

    def __enter__(self) -> None:
        self._threads.requests += 1
        self._threads.enter(self._who).requests += 1

    def __exit__(self, *_: object) -> None:
        self._threads.requests -= 1
        self._threads.leave(self._who).requests -= 1


class Threads:
    """`app` on `count` threads. One caller has at most half of them, and at most `most` requests under way.

    `requests`: those that hold a place now.
    """

    def __init__(self, app: Callable[..., Any], count: int, most: int) -> None:
        self.app, self._most, self._at_once = app, most, max(1, count // 2)
        self.requests = 0
        self._callers: dict[str, _Caller] = {}
        self._pool = _Pool(count)

    def place(self, who: str) -> _Place:
        """One of the caller's places, from the head of a request to its answer. Errors: Refused at the limit."""
        if who in self._callers and self._callers[who].requests >= self._most:
            raise Refused(
                429,
                f"{self._most} of your requests are under way here at this time, and no more are taken",
                code="rate_limited",
                retry_after_s=1,
            )
        return _Place(self, who)

    async def ask(self, who: str, environ: dict[str, Any]) -> Answer:
        """The app's answer. The environ is not changed."""
        answer: Answer = await self._run(who, self._call, dict(environ))
        return answer

    async def part(self, who: str, answer: Answer) -> bytes | None:
        """The next part of an answer's `rest`; None at its end."""
        if answer.rest is None:
            return None
        part: bytes | None = await self._run(who, _next_part, answer.rest)
        return part

    def close(self) -> None:
        """Accepts no more work."""
        self._pool.close()

    def enter(self, who: str) -> _Caller:
        caller = self._callers.get(who)
        if caller is None:
            caller = self._callers[who] = _Caller(self._at_once)
        caller.users += 1
        return caller

    def leave(self, who: str) -> _Caller:
        caller = self._callers[who]
        caller.users -= 1
        if not caller.users:
            del self._callers[who]
        return caller

    async def _run(self, who: str, work: Callable[[Any], Any], argument: Any) -> Any:
        caller = self.enter(who)
        try:
            await caller.turn.acquire()
            try:
                return await self._pool.run(work, argument)
            finally:
                caller.turn.release()
        finally:
            self.leave(who)

    def _call(self, environ: dict[str, Any]) -> Answer:
        answer = Answer(500, [], b"")

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            answer.status, answer.headers = int(status[:3]), headers

        parts = self.app(environ, start_response)
        if isinstance(parts, list | tuple):
            answer.body = parts[0] if len(parts) == 1 else b"".join(parts)
            return answer
        rest = _closing(parts)
        for part in rest:
            answer.body += part
            if len(answer.body) > BUFFERED_BYTES:
                answer.rest = rest
                break
        return answer


class _Pool:
    """Threads that do work for coroutines of one event loop at a time. Python's own executor makes two futures, a
    condition and a write to the loop's pipe for each work; here the works that are done together wake the loop once."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads: list[threading.Thread] = []
        self._under_way = 0
        self._work: queue.SimpleQueue[tuple[asyncio.Future[Any], Callable[[Any], Any], Any] | None]
        self._work = queue.SimpleQueue()
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_woken = False

    async def run(self, work: Callable[[Any], Any], argument: Any) -> Any:
        """The answer of `work`, or its error."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._is_woken = loop, False
        future: asyncio.Future[Any] = loop.create_future()
        self._under_way += 1
        if self._under_way > len(self._threads) < self._count:
            thread = threading.Thread(target=self._serve, name=f"http-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._work.put((future, work, argument))
        try:
            return await future
        finally:
            self._under_way -= 1

    def close(self) -> None:
        for _ in self._threads:
            self._work.put(None)

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            future, work, argument = item
            try:
                self._done.append((future, work(argument), None))
            except BaseException as error:
                self._done.append((future, None, error))
            del item, future, work, argument  # else an idle thread holds its last request
            self._wake()

    def _wake(self) -> None:
        if not self._is_woken and self._loop is not None:
            self._is_woken = True  # before the loop looks, so that nothing done later is overlooked
            try:
                self._loop.call_soon_threadsafe(self._give)
            except RuntimeError:  # the loop is closed, and nobody waits
                self._is_woken = False

    def _give(self) -> None:
        """Hands out what is done. On the loop."""
        self._is_woken = False
        while self._done:
            future, answer, error = self._done.popleft()
            if future.done():
                continue  # its caller left
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(answer)


def _next_part(rest: Iterator[bytes]) -> bytes | None:
    return next(rest, None)


def _closing(parts: Any) -> Iterator[bytes]:
    try:
        yield from parts
    finally:
        if hasattr(parts, "close"):
            parts.close()
