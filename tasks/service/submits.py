"""Submits requests of several tenants in one trip to Redis; to each of them it is `Jobs.submit` (jobs.py).

A request that is refused before Redis is asked, that needs the bucket, or whose Idempotency-Key was used before is left
to `Jobs.submit`, and nothing of it is recorded here. It knows no HTTP and no API key.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tasks.errors import BacklotError, NotReady
from tasks.ids import new_id, now_ms
from tasks.job import Fixed, Job, Upload
from tasks.ledger import Idempotency, Submitted
from tasks.ledger.connection import Call
from tasks.request import parse_valid
from tasks.request_shapes import JobRequest
from tasks.service.chains import Source
from tasks.service.intake import Intake
from tasks.service.jobs import Accepted, Jobs, fresh

SUBMITS_A_TRIP = 25
"""Submits in one trip at most. Redis serves nobody else meanwhile, for about 2 ms."""
CLOCKS = ("start_at", "queue_ttl_s", "run_timeout_s", "deadline_s", "retention_s")
FIELDS = frozenset(
    (*CLOCKS, "kind", "model", "input", "params", "priority", "metadata", "max_attempts", "webhook", "output")
)
"""Fields of a request that are known here. One with a field that a later release adds is left to `Jobs.submit`."""
BELLS = ThreadPoolExecutor(1, "bells")
"""Rings doorbells: a broker that is slow to answer holds up no submit."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request: the tenant, the JSON, the kinds that the caller may submit (None: all), its Idempotency-Key, and the
    id of its API key."""

    tenant: str
    body: bytes
    kinds: Collection[str] | None
    idempotency_key: str | None
    key: str | None = None


Outcome = Accepted | BacklotError | None
"""A job, Redis' refusal, or None for a request that is left to `Jobs.submit`."""


class Submits:
    """Submits lists of requests."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs, self._intake = jobs, _WithoutBucket(jobs.settings, jobs.ledger, jobs.storage, jobs.chains)

    def submit(self, wanted: Sequence[Wanted]) -> list[Outcome]:
        """The outcome of each, in order. SUBMITS_A_TRIP at most are one trip.

        Each step is done for all of them before the next: the processor then has the code at hand.
        """
        drafts = [_Draft(one) for one in wanted]
        for step in (self._parse, self._prepare, self._show, self._make_call):
            for draft in drafts:
                if not draft.left:
                    try:
                        step(draft)
                    except Exception:  # Jobs.submit meets it too, and tells the caller or the log
                        draft.left = True
        ready = [draft for draft in drafts if not draft.left]
        bells: Counter[str] = Counter()
        for draft, answer in zip(ready, self._record(ready) if ready else [], strict=True):
            if isinstance(answer, BacklotError):
                draft.outcome = answer
            elif not (draft.idempotency and answer.replay_fingerprint is not None):
                draft.outcome = self._jobs.accepted(draft.job, draft.text, answer)
                bells[draft.fixed.queue] += answer.bell
        for queue, count in bells.items():
            if count:
                BELLS.submit(self._jobs.broker.ring, queue, min(count, self._jobs.settings.bells))
        return [draft.outcome for draft in drafts]

    def _parse(self, draft: "_Draft") -> None:
        request = draft.request = parse_valid(draft.wanted.body)
        kinds = draft.wanted.kinds
        draft.left = not request.model_fields_set <= FIELDS or kinds is not None and request.kind not in kinds

    def _prepare(self, draft: "_Draft") -> None:
        wanted, request = draft.wanted, draft.request
        draft.fixed, prepared = self._jobs.prepare(wanted.tenant, request, new_id("job"), {}, self._intake, wanted.key)
        draft.left = bool(prepared.pending) or self._jobs.budgets.is_spent(wanted.tenant)
        if wanted.idempotency_key:
            draft.idempotency = self._jobs.idempotency(wanted.tenant, request, wanted.idempotency_key)

    def _show(self, draft: "_Draft") -> None:
        """Makes the job's view before it is recorded: one that cannot be shown would break every list."""
        draft.job = fresh(draft.fixed, now_ms())
        draft.text = draft.job.model_dump_json()

    def _make_call(self, draft: "_Draft") -> None:
        draft.call = self._jobs.ledger.submit_call(draft.fixed, draft.idempotency)

    def _record(self, drafts: Sequence["_Draft"]) -> Sequence[Submitted | BacklotError]:
        """The ledger's answer to each. Where a list fails as a whole, each is asked by itself, with the same id."""
        try:
            return self._jobs.ledger.submit_many([(draft.fixed, draft.call) for draft in drafts])
        except NotReady as error:
            return [error] * len(drafts)
        except BacklotError as error:
            if len(drafts) == 1:
                return [error]
            return [answer for draft in drafts for answer in self._record([draft])]


@dataclass(slots=True)
class _Draft:
    """A request on its way to a job; each step adds its part, or leaves it to `Jobs.submit`."""

    wanted: Wanted
    left: bool = False
    outcome: Outcome = None
    idempotency: Idempotency | None = None
    request: JobRequest = field(init=False)
    fixed: Fixed = field(init=False)
    job: Job = field(init=False)
    text: str = field(init=False)
    call: Call = field(init=False)


class _WithoutBucket(Intake):
    """Finds no upload and no job: to look for one takes a request to the bucket, while which others would wait."""

    def find(self, tenant: str, upload_id: str) -> Upload | None:
        raise LookupError(upload_id)

    def find_job(self, tenant: str, job_id: str) -> Source:
        raise LookupError(job_id)
