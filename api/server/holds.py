"""Holds requests until their jobs change (`Prefer: wait`), within limits. Knows no HTTP and no job.

A held request is a coroutine without a thread or a connection to Redis. One thread of the process reads the events of
all jobs (tasks/ledger/events.py).
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tasks.ledger.events import Events

POLL_S = 15
"""Seconds after which a held request reads its job even without an event."""


@dataclass
class Wish:
    """The wait that Flask asks the bridge for (api/prefer.py): it fills the Wish that lies in the environ at WISH.
    `stream`: the event stream that goes on behind the answer (api/v1/events.py)."""

    job_id: str = ""
    tenant: str = ""
    seconds: float = 0
    stream: Any = None


WISH = "backlot.hold"
"""Environ key of the Wish."""
HELD_READ = "backlot.look"
"""Environ key that marks a read by the bridge for a held request, which is no request of a caller."""


class Hold:
    """One held request. `woken` is set when its job may have changed; `over` when the wait has to end."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.over = False

    def end(self) -> None:
        """Ends the wait: the caller left, or the process stops."""
        self.over = True
        self.woken.set()

    def waker(self) -> Callable[[], None]:
        """A function by which another thread wakes it on the loop that runs now."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self.woken.set)

        return wake

    async def wait(self, seconds: float) -> None:
        """Waits for a change, for at most so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, POLL_S)):
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
        """True where the limits allow one more held request of this tenant."""
        return not self.stopped and len(self._held) < self._most and self._of[tenant] < self._most_of_tenant

    @contextlib.asynccontextmanager
    async def holding(self, wish: Wish, left: Awaitable[Any]) -> AsyncIterator[Hold]:
        """A hold that is woken by its job's events while the block runs, and ends once `left` is done. Errors:
        NotReady."""
        hold = Hold()
        wake = hold.waker()
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
        """Ends all holds and allows no new one."""
        self.stopped = True
        for hold in self._held:
            hold.end()
