"""A WSGI app behind coroutines: a few fixed threads, and how many requests one caller may have of them.

Knows the WSGI side of a request and no HTTP. A caller is a tenant, or an address without a key.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from api.server.wire import Refused

AT_ONCE_BYTES = 1024 * 1024
"""An answer of up to so much is taken from the app in one go; of a larger one, part by part as the caller reads."""


@dataclass
class Answer:
    """`rest` gives what follows `body`, for as long as it is not None."""

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
    """`app` on `count` threads; half of them at most work for one caller, who has `most` requests here at a time."""

    app: Callable[..., Any]
    count: int
    most: int
    _callers: dict[str, _Caller] = field(default_factory=dict, init=False)
    _places: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.count, "http")

    @contextlib.contextmanager
    def place(self, who: str) -> Iterator[None]:
        """One of the caller's places, from the head of a request to its answer. Errors: Refused, where none is left."""
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
        """What the app answers. The environ is not changed."""
        context = contextvars.copy_context()
        return await self._run(who, partial(context.run, self._call, dict(environ), context))

    async def part(self, who: str, answer: Answer) -> bytes | None:
        """The next of an answer's `rest`; None at its end."""
        return await self._run(who, partial(answer.context.run, next, answer.rest, None))

    @property
    def requests(self) -> int:
        """How many have a place now."""
        return self._places

    def close(self) -> None:
        """Take nothing more."""
        self._pool.shutdown(wait=False)

    async def _run(self, who: str, work: Callable[[], Any]) -> Any:
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
        head: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            head[:] = int(status.split()[0]), headers

        rest = _closing(self.app(environ, start_response))
        body = b""
        for part in rest:
            body += part
            if len(body) > AT_ONCE_BYTES:
                return Answer(*head, body, rest, context)
        return Answer(*head, body)


def _closing(parts: Any) -> Iterator[bytes]:
    try:
        yield from parts
    finally:
        if hasattr(parts, "close"):
            parts.close()
