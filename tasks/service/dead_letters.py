"""Dead letters: jobs that failed after their last attempt for a reason that may have passed; list, replay, purge.

A view of the ledger's own index, which a retry and an erasure take a job out of. Each call looks at a bounded number
of jobs and says where the next may begin. A job of before a restore that left no record is in no view.
"""

import json
import time
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.errors import BacklotError, InvalidRequest, KeyReused, Replayed
from tasks.ids import new_id
from tasks.job import Job
from tasks.ledger import Idempotency, Record, keys
from tasks.ledger.faults import away
from tasks.ledger.idempotency import IDEMPOTENCY_MS
from tasks.ledger.pages import Cursor, Wanted, page
from tasks.reduced import request_of, to_forget, views
from tasks.request_shapes import RetryRequest
from tasks.service.again import anew, told
from tasks.service.jobs import Jobs, Page

LAST_ID = "job_" + "z" * 26


@dataclass(frozen=True)
class Which:
    """A filter: dead letters that match every field, at most `limit`, newest end first."""

    kind: str | None = None
    model: str | None = None
    error_code: str | None = None
    older_than_s: float | None = None
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True)
class Refused:
    """A dead letter that was not replayed, and why."""

    id: str
    error: BacklotError


@dataclass
class Replay:
    """The new jobs, and the dead letters that were refused and stay. `next_cursor` is None after the oldest."""

    jobs: list[Job] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    next_cursor: str | None = None


@dataclass(frozen=True)
class Purge:
    """The ids of the jobs that were erased."""

    ids: list[str]
    next_cursor: str | None


class DeadLetters:
    """Lists, replays and purges a tenant's dead letters. Errors of every method: NotReady; InvalidRequest for a cursor
    that no page gave."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs, self.ledger = jobs, jobs.ledger

    def read(self, tenant: str, which: Which) -> Page:
        """The page of dead letters that a replay or a purge with the same filter would take."""
        records, following = self._page(tenant, which)
        return Page(views(self.ledger.with_owed(records)), str(following) if following else None)

    def replay(
        self,
        tenant: str,
        which: Which,
        idempotency_key: str | None = None,
        patch: RetryRequest | None = None,
        key: str | None = None,
    ) -> Replay:
        """Submits a new job for each, changed by a merge patch, exactly once under concurrent calls; with an
        Idempotency-Key also under retries. `key`: id of the caller's API key.

        Errors: KeyReused; RateLimited, QuotaExceeded, Overloaded where not even one may be submitted now. One that is
        met later ends the call, and `next_cursor` leads on from there.
        """
        plan = self._plan(tenant, which, idempotency_key, patch)
        done = Replay(next_cursor=plan["next_cursor"])
        place = which.cursor
        for old, new, here in plan["jobs"]:
            try:
                done.jobs += self._replay_one(tenant, old, new, patch, key)
            except BacklotError as error:
                if error.retryable and not done.jobs:
                    raise
                done.refused.append(Refused(old, error))
                if error.retryable:
                    return replace(done, next_cursor=place)
            place = here
        return done

    def purge(self, tenant: str, which: Which) -> Purge:
        """Erases each job: its record and its objects in the bucket."""
        records, following = self._page(tenant, which)
        ids = []
        for record in records:
            fixed = to_forget(record, _id(record))
            if self.ledger.redis.zscore(keys.dead(tenant), fixed.id) is None:
                continue  # retried since the page was read
            self.ledger.forget(fixed)
            ids.append(fixed.id)
        return Purge(ids, str(following) if following else None)

    def _replay_one(self, tenant: str, old: str, new: str, patch: RetryRequest | None, key: str | None) -> list[Job]:
        """The new job, made now or by an earlier call of the same plan; none where another has retried the old one."""
        if self.ledger.record(new):
            return [self.jobs.get(tenant, new)]
        record = self.ledger.record(old)
        if record is None or record["tenant"] != tenant:
            return []
        fixed = anew(request_of(record, old), new, self.jobs.registry, self.jobs.settings, patch, key)
        fixed = self.jobs.chains.judged(fixed)
        self.jobs.budgets.check(tenant)
        try:
            return [self.jobs.accept(fixed, replaying=True).job]
        except Replayed:
            return []

    def _plan(
        self, tenant: str, which: Which, idempotency_key: str | None, patch: RetryRequest | None
    ) -> dict[str, Any]:
        """Pairs each dead letter with the id of its new job. Under an Idempotency-Key the plan is stored for a day
        before any job is submitted, so that a retry continues it. Errors: KeyReused."""
        content = json.dumps([which.kind, which.model, which.error_code, which.older_than_s, which.limit, which.cursor])
        idempotency = None
        if idempotency_key:
            idempotency = Idempotency.of(
                (tenant, "POST", "/v1/dead-letters/replay", idempotency_key), (content, *told(patch))
            )
        key = keys.replay(tenant, idempotency.digest) if idempotency else None
        with away():
            kept = self.ledger.redis.get(key) if key else None
        if kept is None:
            records, following = self._page(tenant, which)
            plan: dict[str, Any] = {
                "next_cursor": str(following) if following else None,
                "jobs": [
                    (_id(record), new_id("job"), str(Cursor(float(record["ended_ms"]), _id(record))))
                    for record in records
                    if "ended_ms" in record
                ],
            }
            if not (key and idempotency):
                return plan
            plan["fingerprint"] = idempotency.fingerprint
            _, kept = self.ledger.write(("SET", key, json.dumps(plan), "NX", "PX", IDEMPOTENCY_MS), ("GET", key))
        plan = json.loads(kept)
        if idempotency and plan["fingerprint"] != idempotency.fingerprint:
            raise KeyReused("this Idempotency-Key was used to replay other dead letters; take a new one")
        return plan

    def _page(self, tenant: str, which: Which) -> tuple[list[Record], Cursor | None]:
        start = (
            None if which.older_than_s is None else Cursor(round((time.time() - which.older_than_s) * 1000), LAST_ID)
        )
        try:
            after = Cursor.read(which.cursor) if which.cursor else None
        except ValueError as error:
            raise InvalidRequest([{"pointer": "/cursor", "detail": "not a cursor that a page gave"}]) from error
        if start and (after is None or start.at_ms < after.at_ms):
            after = start
        wanted = Wanted(kind=which.kind, model=which.model, error_code=which.error_code)
        self.ledger.ready()  # a Redis that has lost records would show too few
        return page(self.ledger, keys.dead(tenant), after, which.limit, wanted)


def _id(record: Record) -> str:
    return str(json.loads(record["fixed"])["id"])
