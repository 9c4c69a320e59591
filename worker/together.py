"""Joins what several threads ask at once into one question: while one is under way, the next ones gather.

Nobody waits for company: a thread that asks alone is answered at once, by itself. It does not know what is asked.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class _Entry(Generic[Asked, Answer]):
    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.turn: threading.Event | None = None  # of one that waits: it is answered, or is to ask for all gathered
        self.answer: Answer | None = None
        self.error: BaseException | None = None
        self.done = False


class Together(Generic[Asked, Answer]):
    """`ask_all` answers each of a list, in order; it is called by one thread at a time, with `most` at most."""

    def __init__(self, ask_all: Callable[[Sequence[Asked]], Sequence[Answer]], most: int) -> None:
        self._ask_all, self._most = ask_all, most
        self._lock, self._under_way = threading.Lock(), False
        self._gathered: deque[_Entry[Asked, Answer]] = deque()

    def ask(self, asked: Asked) -> Answer:
        """The answer. Errors: those of `ask_all`, for each that was asked with it."""
        entry: _Entry[Asked, Answer] = _Entry(asked)
        with self._lock:
            self._gathered.append(entry)
            if self._under_way:
                entry.turn = threading.Event()
            self._under_way = True
        if entry.turn:
            entry.turn.wait()
        if not entry.done:
            self._lead()
        if entry.error is not None:
            raise entry.error
        return entry.answer  # type: ignore[return-value]  # done without an error

    def _lead(self) -> None:
        """Ask for all that have gathered, this thread's entry first, then let the first that came since lead."""
        with self._lock:
            group = [self._gathered.popleft() for _ in range(min(self._most, len(self._gathered)))]
        try:
            for entry, answer in zip(group, self._ask_all([entry.asked for entry in group]), strict=True):
                entry.answer = answer
        except BaseException as error:
            for entry in group:
                entry.error = error
        with self._lock:
            following = self._gathered[0] if self._gathered else None
            self._under_way = following is not None
        for entry in (*group, following) if following else group:
            entry.done = entry is not following
            if entry.turn:
                entry.turn.set()
