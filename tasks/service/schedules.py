"""Schedules of a tenant: made, changed and deleted, and run when they are due. It knows no HTTP and no duty.

A job's id follows from its schedule and its due time, so that a run that is done twice makes one job.
"""

import hashlib
import json
from datetime import datetime
from typing import Any

from pydantic import JsonValue, ValidationError

from tasks.bucket.layout import job_json_key
from tasks.bucket.storage import ObjectRefused
from tasks.errors import (
    BacklotError,
    Conflict,
    InvalidRequest,
    KeyReused,
    LedgerFault,
    NotFound,
    NotReady,
    Overloaded,
    StorageUnavailable,
    TooLarge,
)
from tasks.ids import SCHEDULE_ID, derived_id, new_id, now_ms
from tasks.job import Fixed, JobError, moment
from tasks.ledger.schedules import Scheduled
from tasks.reduced import left_out
from tasks.request import invalid, parse
from tasks.request_shapes import JobRequest
from tasks.schedule import RUNS_SHOWN, Content, Run, Schedule, ScheduleLinks, SchedulePatch, ScheduleRequest, shown
from tasks.service.again import merged
from tasks.service.jobs import Jobs

JOB_MAX_BYTES = 16 * 1024
"""Bytes of a schedule's job as JSON."""
FAILURES_MAX = 10
"""Runs in a row that are refused after which a schedule is paused."""
MISSED_MS = 60_000
"""Lateness from which a run counts as missed."""
SURELY_NEW_MS = 1000
"""Lateness up to which a run's job cannot have been made, run and forgotten before."""
TRIES = 5
"""Tries of a change between whose reading and writing others come."""
AWAY = (NotReady, Overloaded, StorageUnavailable)
"""Errors of the service that are no fault of a schedule: its run is tried again."""


class Schedules:
    """The operations of a tenant on its schedules. Errors of every method: NotReady where Redis is away."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs, self.ledger = jobs, jobs.ledger

    def create(self, tenant: str, asked: ScheduleRequest, key: str | None = None) -> Schedule:
        """Makes a schedule. `key`: an Idempotency-Key, with which the same request makes one.

        Errors: InvalidInput, TooLarge, UnknownModel for the job; SchedulesTooMany; KeyReused; Overloaded.
        """
        self.check(tenant, asked)
        schedule_id = _id_of(tenant, key) if key else new_id("schedule")
        content = Content(**asked.model_dump(), fingerprint=_fingerprint(asked))
        known = self.ledger.schedule(tenant, schedule_id) if key else None
        if known is None:
            now = now_ms()
            made = Scheduled(schedule_id, tenant, new_id("change"), _text(content), now, _next(content, now))
            if self.ledger.put_schedule(made):
                return view(made)
            known = self._get(tenant, schedule_id)
        if _read(known).fingerprint != content.fingerprint:
            raise KeyReused(f"this Idempotency-Key was used for {schedule_id} with another request; take a new one")
        return view(known)

    def get(self, tenant: str, schedule_id: str) -> Schedule:
        """Errors: NotFound, also for another tenant's."""
        return view(self._get(tenant, schedule_id))

    def list(self, tenant: str) -> list[Schedule]:
        """All of the tenant's, the newest first. One that cannot be read is left out and logged."""
        self.ledger.ready()  # a Redis that has lost some would show too few
        found = []
        for one in self.ledger.schedules(tenant):
            try:
                found.append(view(one))
            except LedgerFault as error:
                left_out.add(one.id, error)
        return found

    def change(self, tenant: str, schedule_id: str, patch: SchedulePatch) -> Schedule:
        """Changes a schedule. One that is resumed begins anew: its failures are forgotten.

        Errors: NotFound; those of `create`; Conflict where others change it at the same time.
        """
        for _ in range(TRIES):
            known = self._get(tenant, schedule_id)
            old = _read(known)
            document = merged(
                old.model_dump(include=set(ScheduleRequest.model_fields), mode="json"),
                patch.model_dump(exclude_unset=True, mode="json"),
            )
            asked = _asked(document)
            if asked.job != old.job:
                self.check(tenant, asked)
            resumed = old.paused and not asked.paused
            new = old.model_copy(update={**dict(asked), **({"failures": 0} if resumed else {})})
            moved = (new.cron, new.time_zone, new.paused) != (old.cron, old.time_zone, old.paused)
            next_ms = _next(new, now_ms()) if moved else known.next_ms
            made = Scheduled(known.id, tenant, new_id("change"), _text(new), known.created_ms, next_ms)
            if self.ledger.put_schedule(made, known.change):
                return view(made)
        raise Conflict(f"{schedule_id} is being changed by several requests at once; ask again", retryable=True)

    def delete(self, tenant: str, schedule_id: str) -> None:
        """Deletes a schedule; its jobs stay. Errors: NotFound."""
        for _ in range(TRIES):
            known = self._get(tenant, schedule_id)
            if self.ledger.put_schedule(Scheduled(known.id, tenant, new_id("change"), "", 0), known.change):
                return
        raise Conflict(f"{schedule_id} is being changed by several requests at once; ask again", retryable=True)

    def check(self, tenant: str, asked: ScheduleRequest) -> JobRequest:
        """The job's request, after all checks of a submit. Errors: InvalidInput, TooLarge, UnknownModel."""
        try:
            request = _request(asked.job)
            self._prepare(tenant, request, new_id("job"))
        except InvalidRequest as error:
            raise InvalidRequest(_within_job(error.errors)) from error
        except BacklotError as error:
            if hasattr(error, "errors"):
                error.errors = _within_job(error.errors)
            raise
        return request

    def run(self, tenant: str, schedule_id: str) -> bool:
        """Makes the job of a schedule that is due. False where it is not, or another has run it.

        A refused job is noted in the schedule. Errors: NotReady, Overloaded, StorageUnavailable: it stays due.
        """
        known, now = self.ledger.schedule(tenant, schedule_id), now_ms()
        if known is None or known.next_ms is None or known.next_ms > now:
            return False
        content, due_ms = _read(known), known.next_ms
        was_missed = now - due_ms > MISSED_MS
        if was_missed and content.missed == "skip":
            run = Run(due_at=moment(due_ms), error=JobError(code="missed", detail="no keeper ran", retryable=False))
        else:
            run = self._run(known, content, due_ms, now)
        failures = content.failures + 1 if run.error and run.error.code != "missed" else 0
        paused = failures >= FAILURES_MAX
        content = content.model_copy(update={"last_run": run, "failures": failures, "paused": paused})
        next_ms = content.next_ms(now if was_missed else due_ms)
        made = Scheduled(known.id, tenant, new_id("change"), _text(content), known.created_ms, next_ms)
        return self.ledger.put_schedule(made, known.change)

    def _run(self, known: Scheduled, content: Content, due_ms: int, now: int) -> Run:
        job_id = derived_id("job", due_ms, known.tenant, known.id)
        run = Run(due_at=moment(due_ms), job=job_id)
        if now - due_ms > SURELY_NEW_MS and self._was_made(known.tenant, job_id):
            return run
        try:
            fixed = self._prepare(known.tenant, _request(content.job), job_id)
            self.jobs.budgets.check(known.tenant)
            self.jobs.accept(fixed.model_copy(update={"schedule": known.id}))
        except AWAY:
            raise
        except BacklotError as error:
            return Run(due_at=run.due_at, error=JobError(**error.as_dict()))
        return run

    def _was_made(self, tenant: str, job_id: str) -> bool:
        """True where the job has ended, and may be forgotten by now. Errors: StorageUnavailable."""
        try:
            return self.jobs.storage.head(job_json_key(tenant, job_id)) is not None
        except ObjectRefused:
            return False  # a submit finds the record, if there is one

    def _prepare(self, tenant: str, request: JobRequest, job_id: str) -> Fixed:
        if request.start_at is not None:
            raise InvalidRequest([{"pointer": "/start_at", "detail": "a schedule sets the start of its jobs"}])
        fixed, prepared = self.jobs.prepare(tenant, request, job_id, {})
        if prepared.pending or prepared.uploads:
            raise InvalidRequest(
                [{"pointer": "/input", "detail": "a schedule names no upload, which may be deleted before a run"}]
            )
        return fixed

    def _get(self, tenant: str, schedule_id: str) -> Scheduled:
        is_id = SCHEDULE_ID.fullmatch(schedule_id)
        known = self.ledger.schedule(tenant, schedule_id) if is_id else None
        if known is None and is_id:
            self.ledger.ready()
            known = self.ledger.schedule(tenant, schedule_id)  # the keeper may have restored it since the first read
        if known is None:
            raise NotFound(f"there is no schedule {schedule_id[:64]}")
        return known


def view(known: Scheduled) -> Schedule:
    """The schedule as callers see it. Errors: LedgerFault where its content cannot be read."""
    content, at = _read(known), known.next_ms
    runs: list[datetime] = []
    while at is not None and len(runs) < RUNS_SHOWN:
        runs.append(moment(at))
        at = content.next_ms(at)
    return Schedule(
        id=known.id,
        tenant=known.tenant,
        created_at=moment(known.created_ms),
        next_runs=runs,
        links=ScheduleLinks(self=f"/v1/schedules/{known.id}"),
        **{**content.model_dump(exclude={"job", "fingerprint", "last_run"}), "job": shown(content.job)},
        last_run=content.last_run,
    )


def _within_job(errors: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{**one, "pointer": f"/job{one['pointer']}"} for one in errors]


def _request(job: dict[str, JsonValue]) -> JobRequest:
    body = json.dumps(job)
    if len(body) > JOB_MAX_BYTES:
        raise TooLarge(f"the job has {len(body):,} bytes of JSON; that of a schedule may have {JOB_MAX_BYTES:,}")
    return parse(body)


def _next(content: Content, now: int) -> int | None:
    """Errors: InvalidRequest where no time is ever due."""
    next_ms = content.next_ms(now)
    if next_ms is None and not content.paused:
        raise InvalidRequest([{"pointer": "/cron", "detail": "no time of the next 50 years is due"}])
    return next_ms


def _asked(document: Any) -> ScheduleRequest:
    try:
        return ScheduleRequest.model_validate(document)
    except ValidationError as error:
        raise invalid(error, document) from error


def _id_of(tenant: str, key: str) -> str:
    """The id that an Idempotency-Key stands for."""
    digest = hashlib.sha256(f"{tenant}\n{key}".encode()).digest()
    return derived_id("schedule", int.from_bytes(digest[:5], "big"), tenant, key)


def _fingerprint(asked: ScheduleRequest) -> str:
    return hashlib.sha256(json.dumps(asked.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def _read(known: Scheduled) -> Content:
    try:
        return Content.model_validate_json(known.content)
    except ValueError as error:
        raise LedgerFault(f"{known.id} cannot be read; delete it and make another") from error


def _text(content: Content) -> str:
    return content.model_dump_json()
