"""Runs a WSGI app on a fixed number of threads, and bounds the requests that one caller has under way.

A caller is a tenant, or an address without a known key. Knows WSGI and no HTTP.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from api.server.wire import Refused

T = TypeVar("T")
BUFFERED_BYTES = 1024 * 1024
"""An answer up to this size is buffered whole; a larger one is read from the app part by part, as the caller reads."""


@dataclass
class Answer:
    """An answer of the app. `rest` yields the parts behind `body`, to be read in `context`; None: `body` is all."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    rest: Iterator[bytes] | None = None
    context: contextvars.Context | None = None


@dataclass
class _Caller:
    turn: asyncio.Semaphore
    requests: int = 0


@dataclass
class Threads:
    """`app` on `count` threads. One caller has at most half of them, and at most `most` requests under way."""

    app: Callable[..., Any]
    count: int
    most: int
    _callers: dict[str, _Caller] = field(default_factory=dict, init=False)
    _places: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.count, "http")

    @contextlib.contextmanager
    def place(self, who: str) -> Iterator[None]:
        """Holds one of the caller's places, from the head of a request to its answer. Errors: Refused at the limit."""
        if who in self._callers and self._callers[who].requests >= self.most:
            raise Refused(
                429,
                f"{self.most} of your requests are under way here at this time, and no more are taken",
                code="rate_limited",
                retry_after_s=1,
            )
        self._places += 1
        try:
            with self._counted(who):
                yield
        finally:
            self._places -= 1

    async def ask(self, who: str, environ: dict[str, Any]) -> Answer:
        """The app's answer. The environ is not changed."""
        context = contextvars.copy_context()
        return await self._run(who, lambda: context.run(self._call, dict(environ), context))

    async def part(self, who: str, answer: Answer) -> bytes | None:
        """The next part of an answer's `rest`; None at its end."""
        rest, context = answer.rest, answer.context
        if rest is None or context is None:
            return None
        return await self._run(who, lambda: context.run(_next_part, rest))

    @property
    def requests(self) -> int:
        """Requests that hold a place now."""
        return self._places

    def close(self) -> None:
        """Accepts no more work."""
        self._pool.shutdown(wait=False)

    async def _run(self, who: str, work: Callable[[], T]) -> T:
        with self._counted(who) as caller:
            async with caller.turn:
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    @contextlib.contextmanager
    def _counted(self, who: str) -> Iterator[_Caller]:
        caller = self._callers.setdefault(who, _Caller(asyncio.Semaphore(max(1, self.count // 2))))
        caller.requests += 1
        try:
            yield caller
        finally:
            caller.requests -= 1
            if not caller.requests:
                del self._callers[who]

    def _call(self, environ: dict[str, Any], context: contextvars.Context) -> Answer:
        answer = Answer(500, [], b"")

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            answer.status, answer.headers = int(status.split()[0]), headers

        rest = _closing(self.app(environ, start_response))
        for part in rest:
            answer.body += part
            if len(answer.body) > BUFFERED_BYTES:
                answer.rest, answer.context = rest, context
                break
        return answer


def _next_part(rest: Iterator[bytes]) -> bytes | None:
    return next(rest, None)


def _closing(parts: Any) -> Iterator[bytes]:
    try:
        yield from parts
    finally:
        if hasattr(parts, "close"):
            parts.close()
