"""Reads the moving part of many jobs in one trip: status, phase, progress, message, and what is new of the text so far.

It knows no listener: whoever asks says what it has, and compares the look with what was told before.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tasks.errors import NotReady
from tasks.job import Job, Status
from tasks.ledger import Ledger, Record, keys
from tasks.ledger.client import Pipeline
from tasks.ledger.faults import away, ours
from tasks.reduced import view

FIELDS = ("status", "starts", "phase", "batching", "progress", "message", "retry_ms", "text", "log", "amended_ms")
"""Fields of the record that a look reads."""
HEAD = 8
"""Digits of the attempt's number before a text so far (report.lua)."""


class Ask(NamedTuple):
    """A job to look at, and what is known of its text and log so far: the attempt of each, 0 for none, and bytes."""

    job_id: str
    attempt: int = 0
    offset: int = 0
    log_attempt: int = 0
    log_offset: int = 0


@dataclass(frozen=True)
class Text:
    """The part of an attempt's text or log behind `offset` bytes of UTF-8."""

    attempt: int
    offset: int
    text: str


@dataclass(frozen=True)
class Look:
    """A job as it is. `record`: the fields that move, without absent ones; empty where there is no such job. `job`: its
    view, once it is done. `text` and `log`: what is new of the text and the log so far."""

    record: Record
    job: Job | None = None
    text: Text | None = None
    log: Text | None = None

    @property
    def done(self) -> bool:
        with contextlib.suppress(ValueError, KeyError):
            return Status(self.record["status"]).final
        return False


class Looks:
    """Looks at jobs. Errors of every method: NotReady, LedgerFault."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def at(self, asks: Iterable[Ask]) -> dict[Ask, Look]:
        """A look for each of these, in one trip; in further ones the views of jobs that are done, and texts. Jobs whose
        records cannot be read are left out."""
        asks = list(dict.fromkeys(asks))
        rows = self._read(
            (ask.job_id for ask in asks), lambda pipeline, job_id: pipeline.hmget(keys.job(job_id), FIELDS)
        )
        looks = {
            job_id: Look({name: value for name, value in zip(FIELDS, row, strict=True) if value is not None})
            for job_id, row in rows.items()
        }
        if not all(look.record for look in looks.values()):
            self.ledger.ready()  # a Redis that has lost records would show jobs as erased
        done = [job_id for job_id, look in looks.items() if look.done]
        records = self._read(done, lambda pipeline, job_id: pipeline.hgetall(keys.job(job_id)))
        for job_id, record in zip(records, self.ledger.with_owed(list(records.values())), strict=True):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                looks[job_id] = Look(looks[job_id].record, view(record))
        found = {ask: looks[ask.job_id] for ask in asks if ask.job_id in looks}
        texts = self._texts({(ask, keys.text(ask.job_id)): ask[1:3] for ask in found if "text" in found[ask].record})
        logs = self._texts({(ask, keys.log(ask.job_id)): ask[3:5] for ask in found if "log" in found[ask].record})
        return {ask: Look(look.record, look.job, texts.get(ask), logs.get(ask)) for ask, look in found.items()}

    def _texts(self, asks: Mapping[tuple[Ask, str], tuple[int, int]]) -> dict[Ask, Text]:
        """The new part of each text, by its key, behind what is known of it, an attempt and bytes of its text; all of
        it where another attempt has begun."""
        parts = {(ask, key): ((key, 0, HEAD - 1), (key, HEAD + known[1], -1)) for (ask, key), known in asks.items()}
        found = self._read((part for pair in parts.values() for part in pair), _range, transaction=True)
        texts = {}
        for (ask, key), (head, rest) in parts.items():
            attempt, (known, offset) = _attempt(found.get(head, "")), asks[ask, key]
            if attempt == known or not offset:
                texts[ask] = Text(attempt, offset, found.get(rest, ""))
            elif attempt:
                whole = self._read([(key, 0, -1)], _range).get((key, 0, -1), "")
                texts[ask] = Text(_attempt(whole[:HEAD]), 0, whole[HEAD:])
        return {ask: text for ask, text in texts.items() if text.attempt}

    def _read(
        self, names: Iterable[Any], ask: Callable[[Pipeline, Any], object], transaction: bool = False
    ) -> dict[Any, Any]:
        """The answer for each name; without keys that are of another type."""
        names = list(dict.fromkeys(names))
        if not names:
            return {}
        with away("looking at jobs"), self.ledger.redis.pipeline(transaction) as pipeline:
            for name in names:
                ask(pipeline, name)
            answers = pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception) and isinstance(fault := ours(answer, "looking at jobs"), NotReady):
                raise fault
        return {name: answer for name, answer in zip(names, answers, strict=True) if not isinstance(answer, Exception)}


def _attempt(head: str) -> int:
    """The attempt by the head of a text so far; 0 where there is none."""
    return int(head) if head.isdecimal() else 0


def _range(pipeline: Pipeline, part: tuple[str, int, int]) -> object:
    """Asks for a part of a text so far: its key, the first byte and the last."""
    return pipeline.getrange(*part)
