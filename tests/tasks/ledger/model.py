"""What the ledger should do, in plain Python: the model that test_machine compares the real one with.

Times in ms. One pool; a job's `answers` holds, by token, how each of its attempts ended.
"""

from dataclasses import dataclass, field

LEASE, PERIOD, POSTPONED, FREE_RELEASES = 10_000, 1_000, 5_000, 10
FINAL = {"succeeded", "failed", "canceled", "expired"}


@dataclass
class Job:
    id: str
    tenant: str
    line: str
    priority: int
    most: int
    deadline: int | None
    retry: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    status: str = ""
    starts: int = 0
    releases: int = 0
    own: int = 0
    token: str | None = None
    tag: float | None = None
    lease: int | None = None
    due: int | None = None
    expiry: int | None = None
    waits: bool = False
    suspect: bool = False
    dead: bool = False
    batch: str | None = None
    webhook: bool = False
    output: bool = False
    start_by: int = 0
    change: str = ""
    created: int = 0
    answers: dict[str, str] = field(default_factory=dict)

    @property
    def flow(self) -> str:
        return f"{self.tenant}#batch" if self.batch else self.tenant

    @property
    def other_flow(self) -> str:
        return self.tenant if self.batch else f"{self.tenant}#batch"

    @property
    def place(self) -> tuple[float, str]:
        return self.tag - 10 * self.priority, self.id


class Model:
    """The verbs by their names in the ledger; each gives the answer that the ledger should give."""

    def __init__(self) -> None:
        self.now = 0
        self.jobs: dict[str, Job] = {}
        self.slots: dict[str, tuple[str, str]] = {}
        self.clock: float | None = None
        self.tags: dict[str, float] = {}
        self.waiting: dict[str, int] = {}
        self.swept_at: int | None = None
        self.hold = 0
        self.forgotten: set[str] = set()
        self.owed: set[tuple[str, str, str]] = set()

    # -- callers

    def submit(self, fixed) -> str:
        if fixed.id in self.jobs:
            return fixed.id
        start = max(fixed.start_ms or 0, self.now)
        deadline = None if fixed.deadline_s is None else self.now + round(fixed.deadline_s * 1000)
        job = Job(fixed.id, fixed.tenant, fixed.line, fixed.priority, fixed.max_attempts, deadline, dict(fixed.retry))
        job.batch, job.webhook, job.output = fixed.batch, fixed.webhook is not None, fixed.output is not None
        job.created, job.start_by = self.now, start + round(fixed.queue_ttl_s * 1000)
        job.expiry = min(job.start_by, deadline or 1 << 60)
        self.jobs[job.id] = job
        if start > self.now:
            job.status, job.due = "scheduled", start
        else:
            self._enter(job)
        return job.id

    def amend(self, old, new, change: str, base: str) -> bool | str | None:
        """The place of its arrival is kept; a later start takes it away. No slot lingers: who enters wants a bell."""
        job = self.jobs.get(new.id)
        if job is None:
            return "NotFound"
        if job.change == change:
            return False
        if job.status not in ("scheduled", "queued"):
            return "Conflict"
        if job.change != base:
            return None
        moved, ttl = new.start_ms != old.start_ms, round(new.queue_ttl_s * 1000)
        start, longer = new.start_ms or 0, ttl - round(old.queue_ttl_s * 1000)
        if job.starts and (moved or longer):
            return "Conflict"
        later, before = moved and start > self.now, job.status
        job.change, job.priority = change, new.priority
        job.start_by += longer
        if later or moved and before == "scheduled":
            job.start_by = max(start, self.now) + ttl
        job.deadline = None if new.deadline_s is None else job.created + round(new.deadline_s * 1000)
        job.expiry = job.deadline if job.starts else min(job.start_by, job.deadline or 1 << 60)
        if later:
            if job.waits:
                self._leave(job)
                self._give_back(job)
                job.tag = None
            job.status, job.due = "scheduled", start
        elif moved and before == "scheduled":
            self._enter(job)
            return True
        return False

    def cancel(self, job_id: str) -> str:
        job = self.jobs.get(job_id)
        if job is None:
            return "NotFound"
        if job.status in ("scheduled", "queued"):
            self._finish(job, "canceled")
        elif job.status == "running":
            job.status = "canceling"
        return job.status if job.status in ("canceling", "canceled") else "Conflict"

    def forget(self, job_id: str) -> str | None:
        job = self.jobs.get(job_id)
        if job is None or job.status not in FINAL:
            return "Conflict" if job else None if job_id in self.forgotten else "NotFound"
        self.forgotten.add(job_id)
        del self.jobs[job_id]
        return None

    # -- workers

    def claim(self, lines: list[str], slot: str, token: str) -> str | None:
        last, held = self.slots.get(slot, ("", ""))
        if token <= last:
            return held if token == last and self._owned(held, last) else None
        if job := self._owned(held, last):
            self._release(job, "own")
        heads = [
            min((j for j in self.jobs.values() if j.waits and j.line == line), key=lambda j: j.place, default=None)
            for line in lines
        ]
        heads = [job for job in heads if job]
        beside = self._beside(slot)
        if not heads or any(other.suspect for other in beside):
            return None
        job = min(heads, key=lambda j: j.place[0])
        if job.suspect and beside:
            return None
        share = 0 if job.starts else 1 / max(1, (len(self.tags) + len(self.waiting) + (self.clock is not None)) // 2)
        self.clock = max((self.clock or 0) + share, min(job.tag, job.place[0]))
        self._leave(job)
        job.status, job.token, job.starts = "running", token, job.starts + 1
        job.lease, job.expiry = self.now + LEASE, job.deadline
        self.slots[slot] = (token, job.id)
        return job.id

    def _beside(self, slot: str) -> list[Job]:
        """What runs in the other slots of the same process."""
        process = slot.rpartition(":")[0]
        held = [
            self._owned(job_id, token)
            for other, (token, job_id) in self.slots.items()
            if other != slot and other.rpartition(":")[0] == process
        ]
        return [job for job in held if job]

    def renew(self, worker: str) -> dict[str, str]:
        """By slot: running, canceling or lost."""
        states = {}
        for slot, (token, job_id) in self.slots.items():
            if slot.startswith(worker + ":") and job_id != "-":
                job = self._owned(job_id, token)
                states[slot] = job.status if job else "lost"
                if job:
                    job.lease = self.now + LEASE
        return states

    def report(self, job_id: str, token: str) -> str:
        job = self._owned(job_id, token)
        return "lost" if not job else "canceling" if job.status == "canceling" else "noted"

    def commit(self, job_id: str, token: str) -> str:
        if not (job := self._owned(job_id, token)):
            return self._past(job_id, token)
        self._free(token)
        return self._end(job, "succeeded")

    def fail(self, job_id: str, token: str, retryable: bool, delay: int) -> str:
        if not (job := self._owned(job_id, token)):
            return self._past(job_id, token)
        self._free(token)
        return self._fail(job, retryable, delay, "storage_unavailable" if retryable else "model_failed")

    def release(self, job_id: str, token: str, cause: str) -> str:
        if not (job := self._owned(job_id, token)):
            return self._past(job_id, token)
        self._free(token)
        return self._release(job, cause)

    # -- the keeper

    def sweep(self) -> None:
        if self.swept_at is None or self.now - self.swept_at > max(2 * PERIOD, LEASE / 2):
            self.hold = self.now + LEASE
        self.swept_at = self.now
        for job in list(self.jobs.values()):
            if self.now >= self.hold and job.token and job.lease <= self.now:
                token = job.token
                self._fail(job, True, 0, swept=True)
                job.answers[token] = "lost"

    def due(self) -> None:
        for job in sorted((j for j in self.jobs.values() if j.due and j.due <= self.now), key=lambda j: (j.due, j.id)):
            self._enter(job)

    def expire(self) -> set[str]:
        ended = set()
        for job in [j for j in self.jobs.values() if j.expiry and j.expiry <= self.now]:
            if job.token:
                job.expiry = self.now + POSTPONED
            else:
                self._finish(job, "failed" if job.starts else "expired")
                ended.add(job.id)
        return ended

    # -- what they share

    def _owned(self, job_id: str, token: str) -> Job | None:
        job = self.jobs.get(job_id)
        return job if job and job.token == token else None

    def _past(self, job_id: str, token: str) -> str:
        return self.jobs[job_id].answers.get(token, "lost") if job_id in self.jobs else "lost"

    def _free(self, token: str) -> None:
        """A slot that has claimed anew since keeps its newer token; one attempt has but one slot."""
        for slot, (last, _) in self.slots.items():
            if last == token:
                self.slots[slot] = (token, "-")

    def _end(self, job: Job, status: str) -> str:
        job.answers[job.token] = status
        self._finish(job, status)
        return status

    def _fail(self, job: Job, retryable: bool, delay: int, code: str = "worker_lost", swept: bool = False) -> str:
        """A cause with a budget is counted by itself, all others together. Only before its last attempt is a job
        suspected that a sweep took."""
        if job.status == "canceling":
            return self._end(job, "canceled")
        over = job.deadline is not None and self.now + delay >= job.deadline
        counted = job.starts - job.releases - sum(job.failed.values())
        left = job.retry[code] - job.failed.get(code, 0) if code in job.retry else (job.most - counted) * retryable
        if left <= 0 or over:
            job.dead = retryable
            return self._end(job, "failed")
        if code in job.retry:
            job.failed[code] = job.failed.get(code, 0) + 1
        job.suspect = job.suspect or code == "worker_lost" and (not swept or left == 1)
        return self._requeue(job, "queued", delay)

    def _release(self, job: Job, cause: str) -> str:
        if job.status == "canceling":
            return self._end(job, "canceled")
        if cause == "own" and job.own >= FREE_RELEASES:
            return self._fail(job, True, 0)
        job.own += cause == "own"
        job.releases += 1
        return self._requeue(job, "released", 0)

    def _requeue(self, job: Job, answer: str, delay: int) -> str:
        job.answers[job.token] = answer
        job.token = job.lease = None
        job.status = "queued"
        if delay:
            job.due = self.now + delay
        else:
            self._enter(job)
        return answer

    def _enter(self, job: Job) -> None:
        if job.tag is None:
            step = 2 if job.other_flow in self.waiting else 1
            job.tag = self.tags[job.flow] = max(self.clock or 0, self.tags.get(job.flow, 0)) + step
        self.waiting[job.flow] = self.waiting.get(job.flow, 0) + 1
        job.status, job.waits, job.due = "queued", True, None

    def _leave(self, job: Job) -> None:
        job.waits = False
        self.waiting[job.flow] -= 1
        if not self.waiting[job.flow]:
            del self.waiting[job.flow]
            self.tags.pop(job.flow, None)

    def _finish(self, job: Job, status: str) -> None:
        if job.webhook:
            self.owed.add(("webhook", job.tenant, job.id))
        if job.output and status == "succeeded":
            self.owed.add(("delivery", job.tenant, job.id))
        if job.waits:
            self._leave(job)
            self._give_back(job)
        job.status, job.token, job.lease, job.due, job.expiry = status, None, None, None, None

    def _give_back(self, job: Job) -> None:
        if not job.starts and job.flow in self.tags:
            self.tags[job.flow] = max(self.clock or 0, self.tags[job.flow] - 1)
