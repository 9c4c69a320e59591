"""Reads a request's body to its end, or to its deadline, before anybody works on it.

A body lies in memory up to 256 KiB, else in a file of `spool_dir` that has no name. `Spool` bounds what a process
holds of them at one time; one tenant has no more of it than it leaves free, so that a few cannot fill it for all.
Knows bytes and clocks; not what is in a body.
"""

import asyncio
import contextlib
import io
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import IO, Any

from api.server.wire import Refused
from tasks.settings import Settings

Receive = Callable[[], Awaitable[dict[str, Any]]]
IN_MEMORY_BYTES = 256 * 1024
STEP_BYTES = 1024 * 1024
"""What is reserved at a time for a body that comes in chunks and does not say how long it is."""
PATIENCE_S = 10
"""A body may be silent, or below the lowest speed, for so long in all."""
FULL_RETRY_S = 5
CUT = "the body ends before its Content-Length or its last chunk, or its chunks are not in form"


class Spool:
    """Bytes that this process holds, or has promised to hold, of bodies: in all, and of each tenant.

    A tenant may have as much as stays free: alone half of all, a second half of the rest, and so on. Ten that take all
    they may leave 2 MiB of 2 GiB, enough for the small bodies of others.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self._of: Counter[str] = Counter()

    def take(self, who: str, count: int) -> None:
        """Errors: Refused where there is no room."""
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
    """How bodies are read in this process."""

    def __init__(self, settings: Settings) -> None:
        self.spool = Spool(settings.spool_max_bytes)
        self.settings = settings
        self.ends_by = float("inf")
        self.waits: set[asyncio.Timeout] = set()

    @contextlib.contextmanager
    def room(self, who: str, announced: int | None) -> Iterator["Body"]:
        """A place for a body of as many bytes (None: chunks), given back at the end. Errors: Refused."""
        body = Body(self, who, announced)
        try:
            yield body
        finally:
            body.close()

    def end_by(self, moment: float) -> None:
        """Whatever has not come by then, of time.monotonic(), is refused."""
        self.ends_by = moment
        for wait in self.waits:
            wait.reschedule(min(wait.when(), asyncio.get_running_loop().time() + moment - time.monotonic()))


class Body:
    """One body. `file` has all of it, from its start, once it has been read; `count` is how many bytes came."""

    def __init__(self, bodies: Bodies, who: str, announced: int | None) -> None:
        self._bodies, self._who, self._announced = bodies, who, announced
        bodies.spool.take(who, announced or 0)
        self._reserved = announced or 0
        self.count, self.file = 0, io.BytesIO()
        self._start = time.monotonic()
        self._unwritten: list[bytes] = []
        self._unwritten_bytes = 0

    async def read(self, receive: Receive, most: int, too_large: str) -> IO[bytes]:
        """All of it, `most` bytes at most. Errors: Refused: 408 too slow, 413 with `too_large`, 400 not whole."""
        more = self._announced != 0
        while more:
            message = await self._next(receive)
            if message["type"] != "http.request":
                raise Refused(400, CUT)
            await self._keep(message.get("body", b""), most, too_large)
            more = message.get("more_body", False) and self.count != self._announced
        if self._announced is not None and self.count != self._announced:
            raise Refused(400, CUT)
        if isinstance(self.file, io.BytesIO):
            self.file = io.BytesIO(b"".join(self._unwritten))
        else:
            await asyncio.to_thread(self._write)
            self.file.seek(0)
        return self.file

    def close(self) -> None:
        self.file.close()
        self._bodies.spool.give_back(self._who, self._reserved)

    async def _next(self, receive: Receive) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._patience_s()) as wait:
                self._bodies.waits.add(wait)
                try:
                    return await receive()
                finally:
                    self._bodies.waits.discard(wait)
        except TimeoutError:
            if time.monotonic() >= self._bodies.ends_by:
                raise Refused(
                    503, "this server is about to stop; send the request again", code="not_ready", retry_after_s=1
                ) from None
            s = self._bodies.settings
            raise Refused(
                408,
                f"the body came too slowly: after {PATIENCE_S} s at least {s.body_min_bytes_per_s:,} "
                f"bytes a second are wanted, and all of it within {s.body_timeout_s:g} s",
            ) from None

    def _patience_s(self) -> float:
        """Until the next bytes must have come, for the lowest speed, the longest time and the process's end."""
        s = self._bodies.settings
        slowest = self._start + min(PATIENCE_S + self.count / s.body_min_bytes_per_s, s.body_timeout_s)
        return max(0.0, min(slowest, self._bodies.ends_by) - time.monotonic())

    async def _keep(self, part: bytes, most: int, too_large: str) -> None:
        self.count += len(part)
        if self.count > most:
            raise Refused(413, too_large)
        while self.count > self._reserved:
            self._bodies.spool.take(self._who, STEP_BYTES)
            self._reserved += STEP_BYTES
        self._unwritten.append(part)
        self._unwritten_bytes += len(part)
        if self._unwritten_bytes > IN_MEMORY_BYTES:
            await asyncio.to_thread(self._write)  # a disk that is busy must not hold up whoever shares the loop

    def _write(self) -> None:
        if isinstance(self.file, io.BytesIO):
            self.file = tempfile.TemporaryFile(dir=self._bodies.settings.spool_dir)  # noqa: SIM115 (closed by `room`)
        self.file.writelines(self._unwritten)
        self._unwritten, self._unwritten_bytes = [], 0
