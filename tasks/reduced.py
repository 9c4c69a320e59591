"""Views of damaged records: the fields of a job that can be shown, and the names of those that cannot.

It changes no record. A record is as `tasks/job.py` says; anything may be wrong with one that another release, an
accident or a person has written.
"""

import json
import logging
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from tasks import text
from tasks.errors import Conflict
from tasks.job import Fixed, Job

log = logging.getLogger(__name__)
Record = dict[str, str]
OF_REQUEST: dict[str, Any] = {
    "input": {},
    "params": {},
    "metadata": {},
    "start_ms": None,
    "deadline_s": None,
    "retry_of": None,
    "webhook": None,
    "output": None,
    "cache": None,
}
"""Fields of the request that a view shows, with their stand-ins where they are damaged."""
UNSEEN: dict[str, Any] = {
    "priority": 0,
    "queue_ttl_s": 0,
    "run_timeout_s": 0,
    "retention_s": 0,
    "max_attempts": 1,
    "uploads": {},
    "waits_for": [],
}
"""Fields of the request that a view does not show, with their stand-ins where they are damaged."""
BASE = ("status", "created_ms")
ATTEMPTS = "attempts"
LOGGED_CHARS = 200
"""Characters of a name or a reason in the log, at most."""
REMEMBERED = 1000
"""Damaged records that a process logs at most, each once."""


class LeftOut:
    """Counter of the records that lists leave out; logs each once a process."""

    def __init__(self) -> None:
        self.count = 0
        self._told: set[str] = set()

    def add(self, name: str, why: Exception) -> None:
        if name in self._told or len(self._told) >= REMEMBERED:
            return
        self._told.add(name)
        self.count += 1
        log.error(
            "lists leave out %r, the %dth record of this process that cannot be shown (%s)",
            name[:LOGGED_CHARS],
            self.count,
            reason(why),
        )


left_out = LeftOut()


def views(records: Iterable[Record]) -> list[Job]:
    """The jobs of a page. A damaged record is shown in part; one that cannot be shown at all is left out and logged."""
    shown = []
    for record in records:
        try:
            shown.append(view(record))
        except Exception as error:  # anything may be wrong with it, and the others are shown
            left_out.add(json.loads(record["fixed"])["id"], error)  # `page` yields only records with an id
    return shown


def view(record: Record, position: int | None = None) -> Job:
    """The public view, reduced where the record is damaged. Errors: ValueError, KeyError where nothing can be shown."""
    try:
        return Job.of_record(record, position)
    except Exception:  # anything may be wrong with it
        return reduced(record)[0]


def reason(error: Exception) -> str:
    """The error as one line without the record's values: no input and no link goes into a log."""
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        return text.line(f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}", LOGGED_CHARS)
    return text.line(f"{type(error).__name__}: {error}", LOGGED_CHARS)


def request_of(record: Record, job_id: str) -> Fixed:
    """The whole request of a job. Errors: Conflict where it cannot be read."""
    try:
        return Fixed.model_validate_json(record["fixed"])
    except (ValueError, KeyError) as error:
        raise Conflict(f"the request of job {job_id} can no longer be read; submit it anew") from error


def to_forget(record: Record, job_id: str) -> Fixed:
    """The fields that erasing a job needs. Errors: KeyError where the record names no tenant."""
    try:
        return Fixed.model_validate_json(record["fixed"])
    except (ValueError, KeyError):
        known: dict[str, Any] = {"id": job_id, "tenant": record["tenant"], "uploads": _uploads(record)}
        return Fixed.model_construct(**known)


def _uploads(record: Record) -> dict[str, Any]:
    try:
        return dict(json.loads(record["fixed"])["uploads"])
    except (ValueError, TypeError, KeyError):
        return {}


def reduced(record: Record) -> tuple[Job, list[str]]:
    """The partial view, and the names of the missing parts, which its message lists too.

    Errors: ValueError, KeyError where the job's id, model, status or time of submit cannot be read.
    """
    fixed, missing = _fixed(record["fixed"])
    bare = fixed.model_copy(update=OF_REQUEST)
    kept: Record = {"start_by_ms": "", **{name: record[name] for name in BASE if name in record}}
    job = Job.of(bare, kept)
    for name in OF_REQUEST:
        try:
            job = Job.of(more := bare.model_copy(update={name: getattr(fixed, name)}), kept)
            bare = more
        except Exception:
            missing.append(name)
    for name, part in _parts(record).items():
        try:
            job = Job.of(bare, longer := {**kept, **part})
            kept = longer
        except Exception:
            missing.append(name)
    told = f"cannot be shown: {', '.join(missing)}" if missing else None
    return job.model_copy(update={"message": "; ".join(filter(None, (job.message, told))) or None}), missing


def _parts(record: Record) -> dict[str, Record]:
    """Fields of the record that stand or fall together, by the name of the part."""
    attempts = {name: value for name, value in record.items() if name == "starts" or name.startswith("attempt:")}
    others = {
        name: {name: value}
        for name, value in sorted(record.items())
        if name not in ("fixed", *BASE, *attempts) and not name.startswith("t:")
    }
    return {**others, **({ATTEMPTS: attempts} if attempts else {})}


def _fixed(kept: str) -> tuple[Fixed, list[str]]:
    """The request with stand-ins for its damaged fields, and the names of those fields."""
    try:
        return Fixed.model_validate_json(kept), []
    except ValidationError:
        found = json.loads(kept)
    stand_ins = {**OF_REQUEST, **UNSEEN}
    whole, damaged = Fixed.model_validate({**found, **stand_ins}), []
    for name in (name for name in stand_ins if name in found):
        try:
            more = Fixed.model_validate({**found, **stand_ins, name: found[name]})
            more.model_dump_json()
            whole = whole.model_copy(update={name: getattr(more, name)})
        except ValueError:
            damaged.append(name)
    return whole, damaged
