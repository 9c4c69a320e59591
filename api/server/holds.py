"""Requests that wait for a job (`Prefer: wait`): how many may, and what wakes one. Knows no HTTP and no job.

A held request is a coroutine: it has no thread and no connection to Redis. One thread of the process reads the
events of all jobs (tasks/ledger/events.py).
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any

from tasks.ledger.events import Events

LOOK_AGAIN_S = 15
"""A held request looks at its job so often even if no event came."""


@dataclass
class Wish:
    """What Flask leaves in the environ of a request that may be held (api/prefer.py), at ENVIRON."""

    job_id: str = ""
    tenant: str = ""
    seconds: float = 0


ENVIRON = "backlot.hold"
LOOK = "backlot.look"
"""In the environ of a look that a held request takes: it is no request of anybody."""


class Hold:
    """One held request, while it is: `woken` at each change that it has to look at."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.over = False

    def end(self) -> None:
        """The caller left, or the process stops: whoever waits, waits no more."""
        self.over = True
        self.woken.set()

    async def wait(self, seconds: float) -> None:
        """Until something changed, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, LOOK_AGAIN_S)):
                await self.woken.wait()
        self.woken.clear()


class Holds:
    """All held requests of a process."""

    def __init__(self, events: Events, most: int, most_of_tenant: int) -> None:
        self._events, self._most, self._most_of_tenant = events, most, most_of_tenant
        self._of: Counter[str] = Counter()
        self._held: set[Hold] = set()
        self.stopped = False

    def __len__(self) -> int:
        return len(self._held)

    def may(self, tenant: str) -> bool:
        """Whether one more of this tenant may wait."""
        return not self.stopped and len(self._held) < self._most and self._of[tenant] < self._most_of_tenant

    @contextlib.asynccontextmanager
    async def holding(self, wish: Wish, left: Awaitable[Any]) -> AsyncIterator[Hold]:
        """A hold that hears of its job's changes from now on; it is over once `left` is done. Errors: NotReady."""
        hold, loop = Hold(), asyncio.get_running_loop()

        def wake() -> None:  # from the reader's thread
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(hold.woken.set)

        gone = asyncio.ensure_future(left)
        gone.add_done_callback(lambda _: hold.end())
        self._held.add(hold)
        self._of[wish.tenant] += 1
        try:
            await asyncio.to_thread(self._events.join, wish.job_id, wake)
            try:
                yield hold
            finally:
                self._events.leave(wish.job_id, wake)
        finally:
            gone.cancel()
            self._held.discard(hold)
            self._of[wish.tenant] -= 1
            if not self._of[wish.tenant]:
                del self._of[wish.tenant]

    def stop(self) -> None:
        """End all holds, and allow no other."""
        self.stopped = True
        for hold in self._held:
            hold.end()
