"""Submit, get, cancel, retry, delete and list jobs: record first, then ring the doorbell.

It knows tenants and the kinds' contracts; HTTP and keys are the API's, scripts the ledger's.
"""

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.broker import Broker
from tasks.bucket.layout import media_type_of
from tasks.bucket.storage import CALLERS_PATIENCE, Storage
from tasks.errors import BacklotError, Conflict, InvalidRequest, KeyReused, NotFound, NotReady
from tasks.ids import JOB_ID, new_id, now_ms
from tasks.job import SCHEMA, Fixed, Job, Status
from tasks.ledger import Idempotency, Ledger, Record, Submitted, keys
from tasks.ledger.events import Events
from tasks.ledger.owed import What
from tasks.ledger.pages import Count, Cursor, Wanted, counted, page
from tasks.prices import Prices
from tasks.reduced import request_of, to_forget, views
from tasks.registry import Registry
from tasks.request import check_model
from tasks.request_shapes import AmendRequest, JobRequest, RetryRequest
from tasks.service import again, chains
from tasks.service.amends import Amends
from tasks.service.archive import Archive
from tasks.service.budgets import Budgets
from tasks.service.clocks import clocks_of
from tasks.service.etas import Etas
from tasks.service.intake import File, Intake, Prepared, content_of
from tasks.service.looks import Looks
from tasks.service.same_work import digest_at_submit
from tasks.service.webhooks import Webhooks
from tasks.settings import Settings

AMONG = {Status.RUNNING: keys.running, Status.CANCELING: keys.running, Status.SCHEDULED: keys.later}
"""Statuses whose jobs a set of the tenant's has."""


@dataclass(frozen=True)
class Accepted:
    """`replayed`: the same request with the same Idempotency-Key made this job before. `left` and `reset_s`: of the
    submits that the tenant may make a minute, where they are limited and this was one. `text`: the job as JSON, where
    it was made before it was recorded. `budget`: the header Backlot-Budget, or ''."""

    job: Job
    replayed: bool = False
    left: int | None = None
    reset_s: float = 0
    text: str = ""
    budget: str = ""


@dataclass(frozen=True)
class Page:
    """Some jobs, newest first; `next_cursor` is None where nothing older is left. `count`: where it was asked for."""

    jobs: list[Job]
    next_cursor: str | None
    count: Count | None = None


class Jobs:
    """The operations of a tenant on its jobs. Errors of every method: NotReady where Redis is away."""

    def __init__(
        self, settings: Settings, registry: Registry, ledger: Ledger, broker: Broker, storage: Storage
    ) -> None:
        self.settings, self.registry, self.ledger = settings, registry, ledger
        self.broker, self.storage = broker, storage
        self.archive = Archive(ledger, storage)
        self.chains = chains.Chains(ledger, self.archive)
        self.intake = Intake(settings, ledger, storage, self.chains)
        self.events, self.looks = Events(settings), Looks(ledger)
        self.prices = Prices.read(settings.prices_file) if settings.prices_file else None
        self.budgets = Budgets(self.prices, ledger)
        self.amends = Amends(settings, registry, ledger, broker)
        self.webhooks, self.etas = Webhooks(settings, ledger), Etas(ledger)

    @classmethod
    def of(cls, settings: Settings) -> "Jobs":
        """Builds Jobs with the registry, ledger, broker and storage that the settings name."""
        storage = Storage(settings, CALLERS_PATIENCE)
        return cls(settings, settings.registry(), Ledger(settings), Broker(settings), storage)

    def submit(
        self,
        tenant: str,
        request: JobRequest,
        *,
        files: Mapping[str, File] | None = None,
        idempotency_key: str | None = None,
        key: str | None = None,
    ) -> Accepted:
        """Record a job of a parsed request (tasks/request.py); `files` by upload id, where the request names
        `upload:<id>` for bytes that came with it. `key`: id of the caller's API key, by which usage is counted.

        Errors: InvalidInput, TooLarge, UnknownModel; KeyReused, Conflict for the Idempotency-Key; RateLimited,
        QuotaExceeded; Overloaded; StorageUnavailable where an input has to be stored or found.
        """
        files = files or {}
        fixed, prepared = self.prepare(tenant, request, new_id("job"), files, key=key)
        idempotency = self.idempotency(tenant, request, idempotency_key, files) if idempotency_key else None
        self.budgets.check(tenant, idempotency)
        return (
            self.store_and_accept(fixed, prepared, idempotency) if prepared.pending else self.accept(fixed, idempotency)
        )

    def prepare(
        self,
        tenant: str,
        request: JobRequest,
        job_id: str,
        files: Mapping[str, File],
        intake: Intake | None = None,
        key: str | None = None,
        alone: bool = True,
    ) -> tuple[Fixed, Prepared]:
        """The job that a parsed request asks for, and its inputs. It records and stores nothing. `alone`: it is no
        line of a batch.

        Errors: InvalidInput, TooLarge, UnknownModel; StorageUnavailable where an upload has to be found.
        """
        model = self.registry.model(request.kind, request.model)
        check_model(request, model)
        clocks = clocks_of(request, model, self.settings)
        of_kind: Any = request.input  # the kind's own models, by tasks/request.py
        params: Any = request.params
        prepared = (intake or self.intake).prepare(tenant, of_kind, files)
        fixed = Fixed(
            id=job_id,
            tenant=tenant,
            kind=model.kind,
            model=model.name,
            pool=model.pool,
            input=prepared.input,
            params=params.model_dump(mode="json", exclude_unset=True),
            metadata=request.metadata,
            priority=request.priority,
            uploads=prepared.uploads,
            webhook=self.webhooks.wanted(tenant, request, alone),
            output=self.webhooks.check_output(tenant, request.output) if request.output else None,
            in_bucket=prepared.in_bucket,
            key=key,
            v=SCHEMA if prepared.in_bucket or prepared.waits_for else 1,
            **chains.fields(prepared.waits_for),
            cache=digest_at_submit(model, of_kind, params, files) if request.cache else None,
            **clocks,
        )
        return fixed, prepared

    def idempotency(
        self, tenant: str, request: JobRequest, key: str, files: Mapping[str, File] | None = None
    ) -> Idempotency:
        """The Idempotency-Key of a submit, bound to what is asked."""
        return Idempotency.of((tenant, "POST", "/v1/jobs", key), (content_of(request, files or {}),))

    def get(self, tenant: str, job_id: str) -> Job:
        """The job as it is. Errors: NotFound, also for another tenant's."""
        record = self._record_of(tenant, job_id)
        return self._view(tenant, record) if record else self._archived(tenant, job_id)

    def cancel(self, tenant: str, job_id: str) -> Job:
        """Asks a running job to stop; cancels a waiting one at once. Errors: NotFound; Conflict where it had ended."""
        if self._record_of(tenant, job_id) is None:
            raise Conflict(f"job {job_id} is {self.archive.get(tenant, job_id).status}")
        self.ledger.cancel(tenant, job_id)
        return self.get(tenant, job_id)

    def amend(self, tenant: str, job_id: str, patch: AmendRequest) -> Job:
        """Changes a job that waits. Errors: NotFound, Gone; those of Amends.amend."""

        def read() -> Record:
            record = self._record_of(tenant, job_id)
            return record or {"status": self.archive.get(tenant, job_id).status}

        self.amends.amend(job_id, read, patch)
        return self.get(tenant, job_id)

    def retry(
        self,
        tenant: str,
        job_id: str,
        idempotency_key: str | None = None,
        patch: RetryRequest | None = None,
        key: str | None = None,
    ) -> Accepted:
        """Submits an ended job's request again, changed by a merge patch. Errors: NotFound; Conflict where it has not
        ended; UnknownModel, InvalidRequest, TooLarge for the patch."""
        record = self._record_of(tenant, job_id)
        if record is None:
            self.archive.get(tenant, job_id)
            raise Conflict(f"of job {job_id} only what it made is kept, not all of its request; submit it anew")
        if not Status(record["status"]).final:
            raise Conflict(f"job {job_id} is {record['status']}; only a job that has ended can be retried")
        old = request_of(record, job_id)
        if old.shrunk:
            raise Conflict(
                f"job {job_id} ended long ago, and of its large request only what may be shown is kept; submit it anew"
            )
        fixed = self.chains.judged(again.anew(old, new_id("job"), self.registry, self.settings, patch, key))
        path = f"/v1/jobs/{job_id}/retry"
        content = again.told(patch)
        idempotency = Idempotency.of((tenant, "POST", path, idempotency_key), content) if idempotency_key else None
        self.budgets.check(tenant, idempotency)
        return self.accept(fixed, idempotency)

    def replay(self, what: What, tenant: str, job_id: str) -> Job:
        """Sends the webhook of an ended job again, or delivers its outputs again. Errors: NotFound; Conflict where
        there is none."""
        self.webhooks.replay(what, self.get(tenant, job_id))
        return self.get(tenant, job_id)

    def delete(self, tenant: str, job_id: str) -> None:
        """Erase an ended job, its record and its outputs. Errors: NotFound; Conflict where it has not ended."""
        record = self._record_of(tenant, job_id)
        if record is None:
            return self.archive.erase(tenant, job_id)
        self.ledger.forget(to_forget(record, job_id))

    def list(
        self,
        tenant: str,
        *,
        status: Status | None = None,
        kind: str | None = None,
        model: str | None = None,
        batch: str | None = None,
        metadata: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        count: bool = False,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page:
        """Jobs newest first, at most `limit`; a page may be short, even empty, and still have a next one.

        `count`: also how many there are. Errors: InvalidRequest for a cursor that is none of ours.
        """
        since_ms: float | None = _ms(created_after)
        before_ms: float | None = _ms(created_before)
        if batch and (known := self.ledger.batch(tenant, batch)):  # its jobs lie between its creation and its seal
            since_ms = max(since_ms or 0, float(known["created_ms"]))
            before_ms = min(before_ms or math.inf, float(known.get("sealed_ms", math.inf)) + 1)
        wanted = Wanted(
            status=status,
            kind=kind,
            model=model,
            batch=batch,
            metadata=metadata or {},
            since_ms=since_ms,
            before_ms=None if before_ms == math.inf else before_ms,
            among=AMONG[status](tenant) if status in AMONG else None,
        )
        try:
            start = Cursor.read(cursor) if cursor else None
        except ValueError as error:
            raise InvalidRequest([{"pointer": "/cursor", "detail": "not a cursor that a page of jobs gave"}]) from error
        self.ledger.ready()  # a Redis that has lost records would show too few
        index = keys.tenant_jobs(tenant)
        records, following = page(self.ledger, index, start, limit, wanted)
        told = [
            {**record, "message": why} if why else record
            for record, why in zip(records, self.ledger.why_they_wait(records), strict=True)
        ]
        number = counted(self.ledger, index, wanted) if count else None
        return Page(views(self.ledger.with_owed(told)), str(following) if following else None, number)

    def output_link(self, tenant: str, job_id: str, name: str) -> str:
        """A fresh link to an output. Errors: NotFound."""
        return self.storage.link(self.output_key(tenant, job_id, name), media_type_of(name), name)

    def output_key(self, tenant: str, job_id: str, name: str) -> str:
        """The key of an output in the bucket. Errors: NotFound."""
        record = self._record_of(tenant, job_id)
        if record is None or "shrunk" in record:
            key = self.archive.output_key(tenant, job_id, name)
        else:
            outputs = json.loads(record.get("outputs") or "[]")
            key = next((output["key"] for output in outputs if output["name"] == name), None)
        if key is None:
            raise NotFound(f"job {job_id} has no output {name[:200]!r}")
        return key

    def tenant_of(self, job_id: str) -> str | None:
        """The tenant of a job, for operators; None where Redis has no such job."""
        return self.ledger.tenant_of(job_id) if JOB_ID.fullmatch(job_id) else None

    def _record_of(self, tenant: str, job_id: str) -> Record | None:
        """The tenant's record; None where Redis has none. Errors: NotFound where it cannot be anywhere else; NotReady
        where Redis has none because it has lost some."""
        if not JOB_ID.fullmatch(job_id):
            raise NotFound(f"there is no job {job_id[:64]}")
        record = self.ledger.record(job_id)
        if record is None:
            self.ledger.ready()
            record = self.ledger.record(job_id)  # the keeper may have restored it since the first read
        if record and record["tenant"] != tenant:
            raise NotFound(f"there is no job {job_id}")
        return record

    def _view(self, tenant: str, record: Record) -> Job:
        """The view from the record, or from the bucket where the record has been shrunk."""
        if "shrunk" in record:
            return self._archived(tenant, json.loads(record["fixed"])["id"])
        (why,) = self.ledger.why_they_wait([record])
        (record,) = self.ledger.with_owed([record])
        return self.etas.view({**record, "message": why} if why else record, waits_for_more=bool(why))

    def _archived(self, tenant: str, job_id: str) -> Job:
        return self.webhooks.with_state(self.archive.get(tenant, job_id))

    def accept(self, fixed: Fixed, idempotency: Idempotency | None = None, replaying: bool = False) -> Accepted:
        """Records the job, then rings the doorbell. The answer is built from the request, not read back.

        `replaying`: accepts only while the job that this one retries is a dead letter. Errors: as `submit`; Replayed.
        """
        job = fresh(fixed, now_ms())
        text = job.model_dump_json()  # before it is recorded: one that cannot be shown would break every list
        submitted = self.ledger.submit(fixed, idempotency, replaying=replaying)
        if idempotency and submitted.replay_fingerprint is not None:
            return self._replay(fixed.tenant, submitted.job_id, submitted.replay_fingerprint, idempotency)
        if submitted.bell:
            self.broker.ring(fixed.queue)
        if fixed.waits_for or submitted.answered:  # the script has judged it by other jobs
            job, text = self.get(fixed.tenant, fixed.id), ""
        return self.accepted(job, text, submitted)

    def accepted(self, job: Job, text: str, submitted: Submitted) -> Accepted:
        """A job that was recorded now; `text` is its JSON."""
        limited = self.settings.submits_per_minute > 0
        left, budget = submitted.left if limited else None, self.budgets.warning(job.tenant)
        return Accepted(job, left=left, reset_s=submitted.reset_s, text=text, budget=budget)

    def store_and_accept(self, fixed: Fixed, prepared: Prepared, idempotency: Idempotency | None) -> Accepted:
        """Store the pending files, under an Idempotency-Key only once, nothing where the job would be refused. Whatever
        refuses it, the key is free for the caller's next try, and what was stored goes."""
        held = self.ledger.reserve(fixed.tenant, idempotency, fixed.id) if idempotency else None
        if idempotency and held:
            return self._replay(fixed.tenant, held.job_id, held.replay_fingerprint, idempotency)
        try:
            self.ledger.submit(fixed, idempotency, asking=True)
            self.intake.store(fixed.tenant, prepared)
            return self.accept(fixed.model_copy(update={"uploads": prepared.uploads}), idempotency)
        except Exception as error:
            with contextlib.suppress(BacklotError):  # the key's two minutes, and the upload's day, pass by themselves
                if idempotency:
                    self.ledger.give_back(fixed.tenant, idempotency, fixed.id)
                self.intake.forsake(fixed.tenant, prepared, surely=not isinstance(error, NotReady))
            raise

    def _replay(self, tenant: str, job_id: str, fingerprint: str | None, idempotency: Idempotency) -> Accepted:
        if fingerprint != idempotency.fingerprint:
            raise KeyReused(f"this Idempotency-Key was used for job {job_id} with another request; take a new one")
        try:
            return Accepted(self.get(tenant, job_id), replayed=True)
        except NotFound as error:
            raise Conflict(f"this Idempotency-Key belongs to job {job_id}, which has been erased") from error


def fresh(fixed: Fixed, now: int) -> Job:
    """The view of a job that is submitted now, ms since 1970, by its request alone."""
    start = max(fixed.start_ms or now, now)
    record = {
        "created_ms": str(now),
        "status": Status.SCHEDULED if start > now or fixed.waits_for else Status.QUEUED,
        "start_by_ms": str(start + round(fixed.queue_ttl_s * 1000)),
    }
    return Job.of(fixed, record | ({"waits": " ".join(fixed.waits_for)} if fixed.waits_for else {}))


def _ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000)
