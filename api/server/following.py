"""Hands changes of status to the streams of tenants: those of now, behind those since the listener's last event.

The reader's thread (tasks/ledger/events.py) tells all changes once; each is put into its form on the wire once, for all
streams of its tenant. A stream holds at most BUFFER of them; a listener that is slower is cut off, and comes back with
its Last-Event-ID. Old changes are read from Redis page by page, on one thread, for one listener after another.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from api.events import BEAT, Change, Reset, change_of, frame
from api.server.holds import Hold
from tasks.ledger import Ledger
from tasks.ledger.client import Entry
from tasks.ledger.events import Events, page, place
from tasks.reduced import left_out

BUFFER = 1000
"""Changes that wait for a listener at most."""
PAGE = 500
"""Old entries that one trip reads: some ms of Python's time."""


class OfTenant:
    """A stream of a tenant's changes of status. `wanted`: fields and the values that a change must have. `after`: the
    listener's last event, or ''. `hold` and `cut` end it."""

    over = False

    def __init__(self, tenant: str, wanted: Mapping[str, str], after: str) -> None:
        self.tenant, self.wanted, self.after = tenant, wanted, after
        self.waiting: deque[bytes] = deque()
        self.hold = Hold()
        self.cut: Callable[[], None] = self.hold.end

    def fits(self, change: Change) -> bool:
        return all(getattr(change, name) == value for name, value in self.wanted.items())

    def hear(self, told: bytes, at: str) -> None:
        """Keeps a change for the listener, unless it was its last event, or one before that."""
        if self.after and place(at) <= place(self.after):
            return
        self.after = ""
        if len(self.waiting) >= BUFFER:
            self.cut()
        else:
            self.waiting.append(told)
            self.hold.woken.set()


class Following:
    """The streams of all tenants of a process."""

    def __init__(self, events: Events, ledger: Ledger) -> None:
        self._events, self._ledger = events, ledger
        self._of: dict[str, set[OfTenant]] = {}
        self._cursor = ""
        self._joining = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "old events")
        self._loop: asyncio.AbstractEventLoop | None = None

    async def parts(self, stream: OfTenant, beat_s: float) -> AsyncGenerator[bytes, None]:
        """Missed changes, or `reset`; then those that come, and a beat with the cursor where none does. Errors:
        NotReady."""
        try:
            begin = await self._join(stream)
            if stream.after:
                async with contextlib.aclosing(self._missed(stream, begin)) as missed:
                    async for part in missed:
                        yield part
            else:
                yield _at(begin)
            due = time.monotonic() + beat_s
            while not stream.hold.over:
                if stream.waiting:
                    told = b"".join(stream.waiting)
                    stream.waiting.clear()
                elif time.monotonic() < due:
                    await stream.hold.wait(due - time.monotonic())
                    continue
                else:
                    told = BEAT + _at(self._cursor)
                due = time.monotonic() + beat_s
                yield told
        finally:
            await self._leave(stream)

    async def _missed(self, stream: OfTenant, until: str) -> AsyncGenerator[bytes, None]:
        """The changes between the listener's last event and a cursor; `reset` where some are gone."""
        loop, after = asyncio.get_running_loop(), stream.after
        while not stream.hold.over:
            entries = await loop.run_in_executor(self._thread, self._page, after, until)
            if entries is None:
                stream.after = ""
                yield frame("reset", Reset().model_dump_json(), until)
                return
            told = [
                frame("status", change.model_dump_json(), cursor)
                for cursor, change in _changes(entries, (stream.tenant,))
                if stream.fits(change)
            ]
            if told:
                yield b"".join(told)
            if len(entries) < PAGE:
                return
            after = entries[-1][0]

    def _page(self, after: str, until: str) -> list[Entry] | None:
        return page(self._ledger.redis, after, until, PAGE)

    async def _join(self, stream: OfTenant) -> str:
        """The cursor behind which the stream hears all. Errors: NotReady."""
        async with self._joining:
            self._loop = asyncio.get_running_loop()
            is_first = not self._of
            self._of.setdefault(stream.tenant, set()).add(stream)  # before the reader tells anything
            if not is_first:
                return self._cursor
            self._cursor = ""
            try:
                begin = await asyncio.to_thread(self._events.follow, self._hear)
            except BaseException:
                self._of.clear()
                raise
            self._cursor = self._cursor or begin
            return begin

    async def _leave(self, stream: OfTenant) -> None:
        async with self._joining:
            streams = self._of.get(stream.tenant, set())
            if stream not in streams:
                return
            streams.remove(stream)
            if not streams:
                del self._of[stream.tenant]
            if not self._of:
                self._events.unfollow(self._hear)

    def _hear(self, entries: Sequence[Entry] | None, cursor: str) -> None:
        """Hands news to the event loop, from the reader's thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._tell, entries, cursor)

    def _tell(self, entries: Sequence[Entry] | None, cursor: str) -> None:
        self._cursor = cursor
        if entries is None:  # some may be lost: listeners come back, and learn whether
            for stream in [stream for streams in self._of.values() for stream in streams]:
                stream.cut()
            return
        for at, change in _changes(entries, self._of):
            told = frame("status", change.model_dump_json(), at)
            for stream in list(self._of[change.tenant]):
                if stream.fits(change):
                    stream.hear(told, at)


def _changes(entries: Sequence[Entry], tenants: Container[str]) -> Iterator[tuple[str, Change]]:
    """The changes of some tenants' jobs, each with its cursor; entries that cannot be read are left out."""
    for cursor, fields in entries:
        if fields.get("tenant") in tenants:
            try:
                yield cursor, change_of((cursor, fields))
            except (KeyError, ValueError) as error:
                left_out.add(cursor, error)


def _at(cursor: str) -> bytes:
    """A block without an event, which moves the listener's Last-Event-ID."""
    return f"id: {cursor}\n\n".encode()
