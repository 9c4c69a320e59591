"""Usage of a tenant: the counters that are kept, and the amounts that one ended job adds to them.

A row is a day (UTC), a pool, a kind, a model, an API key and, of each metadata key that the operator names, a value. It
knows neither Redis nor the bucket; worker/keeper/usage.py counts, tasks/service/usage.py reads.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, date, datetime
from typing import Any, Self

from tasks.job import Status, moment

MONTHS_KEPT = 4
"""Months for which usage is kept, the present one included."""
VALUES_MAX = 100
"""Values of one metadata key that are counted by themselves, of one tenant in one month; the rest are OTHER."""
VALUE_MAX = 100
"""Characters of such a value; a longer one is OTHER."""
OTHER = "other"


@dataclass(slots=True)
class Amounts:
    """The counters of a row, whole numbers. `_ms`: milliseconds.

    Each job counts once, in the day of its end, with all of its attempts. `retries`, `retry_ms`: attempts that were not
    a job's first, and the time that they had a slot; `attempt_ms`: that of all attempts.
    """

    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    expired: int = 0
    attempts: int = 0
    retries: int = 0
    queued_ms: int = 0
    load_ms: int = 0
    run_ms: int = 0
    attempt_ms: int = 0
    retry_ms: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    sound_ms: int = 0
    pictures: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    def add(self, other: "Amounts") -> None:
        for name in NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @classmethod
    def read(cls, kept: str | None) -> Self:
        """The counters as `written` made them; a later release's further ones are left out. Errors: ValueError."""
        return cls(*map(int, kept.split(" ")[: len(NAMES)])) if kept else cls()

    def written(self) -> str:
        return " ".join(map(str, astuple(self)))


NAMES = tuple(one.name for one in fields(Amounts))


@dataclass(frozen=True, slots=True)
class Row:
    """The job's place in the counters. `key`: id of the API key that submitted it. `name` and `value`: a metadata key
    with its value, '' and None in the row that counts all jobs."""

    day: int
    pool: str
    kind: str
    model: str
    key: str | None
    name: str = ""
    value: str | None = None

    @classmethod
    def read(cls, kept: str) -> Self:
        """Errors: ValueError, TypeError."""
        return cls(*json.loads(kept))

    def written(self) -> str:
        last = (self.name, self.value) if self.name else ()
        return json.dumps((self.day, self.pool, self.kind, self.model, self.key, *last), separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class End:
    """An ended job as it is counted. `values`: of each metadata key that is counted, None where the job has none."""

    tenant: str
    month: str
    row: Row
    values: dict[str, str | None]
    amounts: Amounts


def month_of(day: date) -> str:
    return f"{day:%Y-%m}"


def first_kept(today: date) -> date:
    """The first day of the oldest month that is kept."""
    months = today.year * 12 + today.month - MONTHS_KEPT
    return date(months // 12, months % 12 + 1, 1)


def kept_until_ms(month: str) -> int:
    """The ms since 1970 at which a month's usage goes."""
    year, number = map(int, month.split("-"))
    months = year * 12 + number - 1 + MONTHS_KEPT
    return round(datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC).timestamp() * 1000)


def end_of(record: dict[str, str], names: Sequence[str] = ()) -> End:
    """The end that a final record tells of. `names`: metadata keys that are counted.

    Errors: KeyError, ValueError, TypeError, AttributeError where the record is damaged.
    """
    fixed, at = json.loads(record["fixed"]), moment(float(record["ended_ms"]))
    metadata = fixed.get("metadata") or {}
    row = Row(at.day, record["line"].partition(".")[0], fixed["kind"], fixed["model"], fixed.get("key"))
    values = {name: _value(metadata[name]) if name in metadata else None for name in names}
    return End(record["tenant"], month_of(at), row, values, _amounts(record))


def _value(value: Any) -> str:
    """A metadata value as it is counted; one that is no string, as JSON."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= VALUE_MAX else OTHER


def _amounts(record: dict[str, str]) -> Amounts:
    made = Amounts(attempts=int(record.get("starts", 0)), queued_ms=_queued_ms(record))
    setattr(made, Status(record["status"]), 1)
    made.retries = max(0, made.attempts - 1)
    for attempt in _attempts(record):
        took_ms = _ms(attempt["ended_ms"]) - _ms(attempt["started_ms"])
        made.attempt_ms += took_ms
        made.retry_ms += took_ms if attempt["number"] > 1 else 0
        told = attempt.get("metrics") or {}
        made.load_ms += _of_s(told.get("load_s")) if told else _cut_off(attempt, "loading")
        made.run_ms += _of_s(told.get("run_s")) if told else _cut_off(attempt, "running")
        made.bytes_in += int(told.get("bytes_in", 0))
    if record["status"] == Status.SUCCEEDED:
        told = json.loads(record.get("metrics") or "{}")
        made.prompt_tokens = int(told.get("prompt_tokens", 0))
        made.completion_tokens = int(told.get("completion_tokens", 0))
        made.sound_ms = _of_s(told.get("sound_s"))
        made.pictures = int(told.get("pictures", 0))
        made.bytes_out = sum(int(output["bytes"]) for output in json.loads(record.get("outputs") or "[]"))
    _add_forgotten(made, record)
    return made


def _attempts(record: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The attempts that the record still has, oldest first. The metrics of a success stand beside them."""
    last = int(record.get("starts", 0))
    for number in range(max(1, last - 50), last + 1):
        if f"attempt:{number}" in record:
            attempt = json.loads(record[f"attempt:{number}"])
            if "ended_ms" in attempt:
                metrics = json.loads(record.get("metrics") or "{}")
                yield {"metrics": metrics, **attempt} if attempt["outcome"] == "succeeded" else attempt


def _add_forgotten(made: Amounts, record: dict[str, str]) -> None:
    """Adds the attempts that the record of a job with very many has dropped, whose sums it keeps."""
    took_ms, run_ms, load_ms, first_ms, bytes_in = map(_ms, record.get("past", "0 0 0 0 0").split(" "))
    made.attempt_ms += took_ms
    made.retry_ms += took_ms - first_ms
    made.run_ms += run_ms
    made.load_ms += load_ms
    made.bytes_in += bytes_in


def _cut_off(attempt: dict[str, Any], phase: str) -> int:
    """The ms of the phase in which the attempt ended without a word of its worker: it was killed, or swept."""
    return max(0, _ms(attempt["ended_ms"]) - _ms(attempt["phase_ms"])) if attempt.get("phase") == phase else 0


def _queued_ms(record: dict[str, str]) -> int:
    """All waits in the queue; of a job that ended while it waited, the last one too."""
    waited = _ms(record.get("queued_ms", 0))
    if "starts" not in record and "since_ms" in record:
        waited += max(0, _ms(record["ended_ms"]) - _ms(record["since_ms"]))
    return waited


def _ms(value: Any) -> int:
    return round(float(value))


def _of_s(seconds: Any) -> int:
    return round(float(seconds or 0) * 1000)
