"""Reads a request's whole body, with a deadline, before a thread works on the request.

A body is kept in memory up to 256 KiB, else in an unnamed file of `spool_dir`. `Spool` bounds the bytes that a process
spools; one tenant never has more of them than it leaves free. Knows bytes and clocks, and no body's content.
"""

import asyncio
import io
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import IO, Any

from api.server.wire import Refused
from tasks.settings import Settings

Receive = Callable[[], Awaitable[dict[str, Any]]]
IN_MEMORY_BYTES = 256 * 1024
STEP_BYTES = 1024 * 1024
"""Bytes reserved at a time for a chunked body, whose length is unknown."""
PATIENCE_S = 10
"""Seconds in all for which a body may lag behind the lowest speed."""
FULL_RETRY_S = 5
"""Seconds of Retry-After while the spool is full."""
WATCH_S = 0.1
"""Seconds between two looks for bodies that are late."""
CUT_OFF = "the body ends before its Content-Length or its last chunk, or its chunks are not in form"


class Spool:
    """The bytes of bodies that this process holds or has reserved, in all and by caller.

    A caller may hold as many bytes as stay free: the first half of all, the second half of the rest, and so on. Ten
    greedy callers leave 2 MiB of 2 GiB, enough for the small bodies of others.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self._of: Counter[str] = Counter()

    def take(self, who: str, count: int) -> None:
        """Reserves bytes for a caller. Errors: Refused where there is no room."""
        if self._of[who] + count > self.most - self.held - count:
            raise Refused(
                503,
                "as many bytes of request bodies are being taken in as this server may hold; ask again",
                code="overloaded",
                retry_after_s=FULL_RETRY_S,
            )
        self.held += count
        self._of[who] += count

    def give_back(self, who: str, count: int) -> None:
        self.held -= count
        self._of[who] -= count
        if not self._of[who]:
            del self._of[who]


class Bodies:
    """Reads the bodies of this process."""

    def __init__(self, settings: Settings) -> None:
        self.spool = Spool(settings.spool_max_bytes)
        self.settings = settings
        self.ends_by = float("inf")
        self.waiting: set[Body] = set()
        self._watched_on: asyncio.AbstractEventLoop | None = None

    def room(self, who: str, announced: int | None) -> "Body":
        """Reserves room for a body of `announced` bytes (None: chunked) until it is closed. Errors: Refused."""
        return Body(self, who, announced)

    def end_by(self, moment: float) -> None:
        """Refuses every body that is not whole at this moment of time.monotonic()."""
        self.ends_by = moment

    def watch(self) -> None:
        """Has somebody look at the bodies that wait: a timer for each would cost more than most bodies do."""
        loop = asyncio.get_running_loop()
        if self._watched_on is not loop:
            self._watched_on = loop
            loop.call_later(WATCH_S, self._look)

    def _look(self) -> None:
        self._watched_on = None
        if self.waiting:
            self.watch()
        now = time.monotonic()
        for body in [body for body in self.waiting if now >= body.due_s()]:
            body.cut_off()


class Body:
    """One body. `count` bytes of it have come. Once it is read, `file` holds all of it and stands at its start; `whole`
    is the same as bytes, None where it lies on disk."""

    def __init__(self, bodies: Bodies, who: str, announced: int | None) -> None:
        self._bodies, self._who, self._announced = bodies, who, announced
        bodies.spool.take(who, announced or 0)
        self._reserved = announced or 0
        self.count = 0
        self.file: IO[bytes] | None = None
        self.whole: bytes | None = None
        self._start = time.monotonic()
        self._unwritten: list[bytes] = []
        self._unwritten_bytes = 0
        self._task: asyncio.Task[Any] | None = None
        self._is_late = False

    def __enter__(self) -> "Body":
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()
        self._bodies.spool.give_back(self._who, self._reserved)

    async def read(self, receive: Receive, most: int, too_large: str) -> IO[bytes]:
        """The whole body, `most` bytes at most. Errors: Refused: 408 too slow, 413 with `too_large`, 400 not whole."""
        more = self._announced != 0
        while more:
            message = await self._next(receive)
            if message["type"] != "http.request":
                raise Refused(400, CUT_OFF)
            self._keep(message.get("body", b""), most, too_large)
            if self._unwritten_bytes > IN_MEMORY_BYTES:
                await asyncio.to_thread(self._write)  # a busy disk must not block the event loop
            more = message.get("more_body", False) and self.count != self._announced
        if self._announced is not None and self.count != self._announced:
            raise Refused(400, CUT_OFF)
        if self.file is None:
            self.whole = b"".join(self._unwritten)
            self.file = io.BytesIO(self.whole)
        else:
            await asyncio.to_thread(self._write)
            self.file.seek(0)
        return self.file

    def due_s(self) -> float:
        """The moment at which more bytes must have come: for the lowest speed, the longest time, the process's end."""
        s = self._bodies.settings
        slowest = self._start + min(PATIENCE_S + self.count / s.body_min_bytes_per_s, s.body_timeout_s)
        return min(slowest, self._bodies.ends_by)

    def cut_off(self) -> None:
        """Ends the wait for more bytes."""
        if self._task is not None and not self._is_late:
            self._is_late = True
            self._task.cancel()

    async def _next(self, receive: Receive) -> dict[str, Any]:
        self._task = asyncio.current_task()
        self._bodies.waiting.add(self)
        self._bodies.watch()
        try:
            return await receive()
        except asyncio.CancelledError:
            if not self._is_late or self._task is None:
                raise
            self._task.uncancel()
            raise self._late() from None
        finally:
            self._bodies.waiting.discard(self)

    def _late(self) -> Refused:
        if time.monotonic() >= self._bodies.ends_by:
            detail = "this server is about to stop; send the request again"
            return Refused(503, detail, code="not_ready", retry_after_s=1)
        s = self._bodies.settings
        return Refused(
            408,
            f"the body came too slowly: after {PATIENCE_S} s at least {s.body_min_bytes_per_s:,} "
            f"bytes a second are wanted, and all of it within {s.body_timeout_s:g} s",
        )

    def _keep(self, part: bytes, most: int, too_large: str) -> None:
        self.count += len(part)
        if self.count > most:
            raise Refused(413, too_large)
        while self.count > self._reserved:
            self._bodies.spool.take(self._who, STEP_BYTES)
            self._reserved += STEP_BYTES
        self._unwritten.append(part)
        self._unwritten_bytes += len(part)

    def _write(self) -> None:
        if self.file is None:
            self.file = tempfile.TemporaryFile(dir=self._bodies.settings.spool_dir)  # noqa: SIM115 (closed by __exit__)
        self.file.writelines(self._unwritten)
        self._unwritten, self._unwritten_bytes = [], 0
