"""Keeps event streams open: one coroutine each, without a thread or a connection to Redis of its own.

A stream waits for a signal of the process's one reader (tasks/ledger/events.py), then asks for a look at its job. Looks
that are asked for at one time are one trip to Redis, made on one thread. A listener that reads slowly asks for no look
meanwhile, so nothing piles up for it. Knows no HTTP and no event's content (api/events.py).
"""

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from api.events import BEAT, RETRY_MS, Telling
from api.server.following import Following, OfTenant
from api.server.gathering import Gathering
from api.server.holds import Hold
from api.server.wire import Refused
from tasks.errors import NotReady
from tasks.ledger.events import Events
from tasks.service.looks import Ask, Look, Looks
from tasks.settings import Settings

log = logging.getLogger(__name__)
BEAT_S = 15
"""Seconds without an event after which a comment is sent and the job is looked at; and between two looks at the key."""
AWAY_S = 1
"""Seconds until the next look while Redis is away."""
LOOKS_A_TRIP = 2000
"""Jobs that one trip looks at, at most."""
STOP_S = 1
"""Seconds that a stream has to say its last words at the end of the process; a listener that takes none is cut off."""
FULL_RETRY_S = 5

Send = Callable[[bytes], Awaitable[None]]


class OfJob:
    """A stream of one job. `telling`: what its listener has been told."""

    def __init__(self, tenant: str, job_id: str, telling: Telling) -> None:
        self.tenant, self.job_id, self.telling = tenant, job_id, telling

    @property
    def over(self) -> bool:
        return self.telling.over


class Streams:
    """All event streams of a process."""

    def __init__(self, events: Events, looks: Looks, settings: Settings) -> None:
        self._events, self._settings = events, settings
        self._looks, self._following = looks, Following(events, looks.ledger)
        self._looking: Gathering[Ask, Look | None] = Gathering(self._look_at, LOOKS_A_TRIP, 1, "looks")
        self._of: Counter[str] = Counter()
        self._open: dict[Hold, asyncio.Task[Any] | None] = {}
        self._stopped = False

    def __len__(self) -> int:
        return self._of.total()

    def admit(self, tenant: str) -> None:
        """Takes a place, which `serve` gives back. Errors: Refused at a limit."""
        most, of_tenant = self._settings.http_streams, self._settings.http_streams_per_tenant
        if self._of[tenant] >= of_tenant:
            raise Refused(
                429,
                f"{of_tenant} of your event streams are open here, as many as one tenant may have; close one",
                code="rate_limited",
                retry_after_s=FULL_RETRY_S,
            )
        if len(self) >= most:
            raise Refused(
                503,
                f"this server keeps {most} event streams open, as many as it may; ask again",
                code="overloaded",
                retry_after_s=FULL_RETRY_S,
            )
        self._of[tenant] += 1

    async def serve(
        self, stream: OfJob | OfTenant, first: bytes, send: Send, left: Awaitable[Any], may_go_on: Callable[[], bool]
    ) -> bool:
        """Sends a stream to its end: what it tells is over, its listener left, Redis is away, the process stops, or
        `may_go_on`, asked once every BEAT_S, says no. A stream that ends before what it tells asks its listener to
        come back. False where the listener takes nothing more."""
        hold, gone = Hold(), asyncio.ensure_future(left)
        gone.add_done_callback(lambda _: hold.end())
        self._open[hold] = asyncio.current_task()
        if self._stopped:
            hold.end()
        try:
            await send(first)
            with contextlib.suppress(NotReady):
                checked = time.monotonic()
                async with contextlib.aclosing(self._parts(stream, hold)) as parts:
                    async for part in parts:  # one each BEAT_S at least
                        if time.monotonic() >= checked + BEAT_S:
                            if not may_go_on():
                                break
                            checked = time.monotonic()
                        await send(part)
            if not stream.over and not gone.done():
                await send(f"retry: {random.randint(*RETRY_MS)}\n\n".encode())
            return not gone.done()
        except asyncio.CancelledError:
            if not hold.over:
                raise
        except Exception:  # it is one stream's alone
            log.exception("an event stream ends with a defect")
        finally:
            gone.cancel()
            del self._open[hold]
            self._of[stream.tenant] -= 1
            if not self._of[stream.tenant]:
                del self._of[stream.tenant]
        return False

    def stop(self) -> None:
        """Ends all streams."""
        self._stopped = True
        for hold in list(self._open):
            self._cut(hold)

    def _cut(self, hold: Hold) -> None:
        """Ends a stream, by force where its listener takes nothing more."""
        hold.end()
        if task := self._open.get(hold):
            asyncio.get_running_loop().call_later(STOP_S, task.cancel)

    def _parts(self, stream: OfJob | OfTenant, hold: Hold) -> AsyncGenerator[bytes, None]:
        """The events of a stream, and a beat where there are none for BEAT_S."""
        if isinstance(stream, OfJob):
            return self._of_job(stream, hold)
        stream.hold, stream.cut = hold, lambda: self._cut(hold)
        return self._following.parts(stream, BEAT_S)

    def _look_at(self, asks: Sequence[Ask]) -> list[Look | None]:
        """A look at each job; None where its record cannot be read. Errors: NotReady, LedgerFault."""
        found = self._looks.at(asks)
        return [found.get(ask) for ask in asks]

    async def _of_job(self, stream: OfJob, hold: Hold) -> AsyncGenerator[bytes, None]:
        wake = hold.waker()
        await asyncio.to_thread(self._events.join, stream.job_id, wake, True)
        try:
            due = time.monotonic() + BEAT_S
            while not hold.over:
                look, away = None, False
                try:
                    look = await self._looking.ask(stream.tenant, stream.telling.ask)
                except NotReady:
                    away = True
                part = stream.telling.of(look) if look else b""
                if not part and time.monotonic() >= due:
                    part = BEAT
                if part:
                    due = time.monotonic() + BEAT_S
                    yield part
                if stream.telling.over:
                    return
                await hold.wait(AWAY_S if away else max(0.0, due - time.monotonic()))
        finally:
            self._events.leave(stream.job_id, wake)
