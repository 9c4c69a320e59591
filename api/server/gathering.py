"""Gathers what coroutines ask into lists, which one thread answers. It does not know what is asked.

Nobody waits for company: what is asked alone is answered at once, and what is asked while a list is being answered goes
into the next, callers in turns.
"""

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Gathering(Generic[Asked, Answer]):
    """`answer_all` answers each of a list, in order. It is called by one thread, which has this name.

    A list has `most` at most, and ends with the first that brings its weights to `heaviest`.
    """

    def __init__(
        self, answer_all: Callable[[Sequence[Asked]], Sequence[Answer]], most: int, heaviest: int, name: str
    ) -> None:
        self._answer_all, self._most, self._heaviest, self._name = answer_all, most, heaviest, name
        self._waiting: dict[str, deque[tuple[Asked, int, asyncio.Future[Answer]]]] = {}
        self._lists: queue.SimpleQueue[_List[Asked, Answer] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy_on: asyncio.AbstractEventLoop | None = None

    async def ask(self, who: str, asked: Asked, weight: int = 0) -> Answer:
        """The answer to what `who` asks. Errors: that of `answer_all`, for each of its list."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.setdefault(who, deque()).append((asked, weight, future))
        if self._busy_on is not loop:
            self._busy_on = loop
            loop.call_soon(self._send)  # with what else is asked in this turn of the loop
        return await future

    def close(self) -> None:
        """Ends the thread behind its last list."""
        self._lists.put(None)

    def _send(self) -> None:
        """Gives the thread the next list. On the loop."""
        some = self._take()
        if not some or self._busy_on is None:
            self._busy_on = None
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        self._lists.put(_List(self._busy_on, some))

    def _take(self) -> list[tuple[Asked, "asyncio.Future[Answer]"]]:
        """One of each caller's, then again, up to a list's worth."""
        taken: list[tuple[Asked, asyncio.Future[Answer]]] = []
        weight = 0
        while self._waiting and len(taken) < self._most and weight < self._heaviest:
            who = next(iter(self._waiting))
            line = self._waiting.pop(who)
            asked, more, future = line.popleft()
            if not future.done():  # else its caller left
                taken.append((asked, future))
                weight += more
            if line:
                self._waiting[who] = line
        return taken

    def _serve(self) -> None:
        while (one := self._lists.get()) is not None:
            try:
                one.answers = self._answer_all([asked for asked, _ in one.asked])
            except BaseException as error:
                one.error = error
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
                one.loop.call_soon_threadsafe(self._give, one)
            del one  # else an idle thread holds its last list

    def _give(self, one: "_List[Asked, Answer]") -> None:
        """Hands out the answers, and sends the next list. On the loop."""
        for index, (_, future) in enumerate(one.asked):
            if future.done():
                continue  # its caller left
            if one.error is not None:
                future.set_exception(one.error)
            else:
                future.set_result(one.answers[index])
        self._send()


class _List(Generic[Asked, Answer]):
    """A list of what was gathered, and the loop that waits for its answers."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, asked: Sequence[tuple[Asked, "asyncio.Future[Answer]"]]
    ) -> None:
        self.loop, self.asked = loop, asked
        self.answers: Sequence[Answer] = ()
        self.error: BaseException | None = None
