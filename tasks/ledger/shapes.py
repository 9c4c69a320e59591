"""The arguments and the answers of the ledger's verbs. It asks nothing of Redis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.job import SCHEMA, Fixed

JOBS_A_CALL = 100
"""Jobs that one call of sweep, due, expire, move, orphan or unpark handles at most: none blocks Redis for long."""
TEXT_MAX_BYTES = 64 * 1024
"""Bytes of UTF-8 that the text so far of a job has at most."""
ASK_AGAIN = 2
"""The answer of `claim` that parked a hundred jobs and found none to start: there may still be one."""

Record = dict[str, str]
"""The fields of a job's hash in Redis."""
Step = Literal["sealed", "canceled", "erased", "told"]
"""A step of a batch that is noted once."""
Cause = Literal["own", "drain", "neighbour"]
"""The cause of a release: the job itself, a worker that drains, or a job beside it."""


@dataclass(frozen=True)
class Submitted:
    """The answer of a submit.

    `bell`: a doorbell is needed. `replay_fingerprint`: the Idempotency-Key belongs to this job, whose request had this
    fingerprint. `answered`: 'succeeded' where it was cited, 'released' where it follows another. `left`: submits that
    the tenant may still make at once, where they are limited. `reset_s`: s until it may make a whole minute's again.
    """

    job_id: str
    bell: bool = False
    replay_fingerprint: str | None = None
    left: int = 0
    reset_s: float = 0
    answered: str = ""


@dataclass(frozen=True)
class Rate:
    """A rate limit: calls that the tenant may still make at once, and s until it may make a whole minute's again."""

    left: int
    reset_s: float


@dataclass(frozen=True)
class Used:
    """A tenant's rates, and its use of each quota: jobs, bytes, webhooks. `held_most`: bytes that its records may take,
    0 for any number."""

    submits: Rate
    uploads: Rate
    waiting: int
    running: int
    stored: int
    held: int
    held_most: int
    undelivered: int


@dataclass(frozen=True)
class Claimed:
    """A started attempt, and the token that alone may change its job.

    `record`: what a worker needs of the job's record, `fixed`, `starts`, `slot` and, where there is one, `checkpoint`.
    """

    fixed: Fixed
    token: str
    number: int
    record: Record


@dataclass(frozen=True)
class Commit:
    """The arguments of `commit`: result, outputs and metrics as JSON values."""

    job_id: str
    token: str
    result: Mapping[str, Any]
    outputs: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, Any]
    number: int = 0
    message: str | None = None


@dataclass(frozen=True)
class Wish:
    """A slot that asks for its next job by a token; the fields as in `claim`. `commit`: the end of its last job, which
    comes first."""

    slot: str
    token: str
    linger_s: float = 0
    lingered: bool = False
    commit: Commit | None = None


@dataclass(frozen=True)
class Granted:
    """The answer to a wish: how its commit was answered, '' without one, and the slot's next job."""

    committed: str
    claimed: Claimed | None


@dataclass(frozen=True)
class Held:
    """A slot as `renew` saw it. Times in ms of Redis' clock. A lost one has slot, token, job_id and state alone."""

    slot: str
    token: str
    job_id: str
    state: str
    phase: str = ""
    phase_ms: float = 0
    run_ms: float = 0
    deadline_ms: float | None = None
    line: str = ""


@dataclass(frozen=True)
class Worker:
    """The worker that claims: its id, its pool, and the queues and lines it serves.

    `most`: jobs of each line that it may hold, in the order of `lines`; 0 for any number. `shared`: all its slots are
    one process. `v`: the newest form of a record that it can read.
    """

    id: str
    pool: str
    queues: Sequence[str]
    lines: Sequence[str]
    most: Sequence[int] = ()
    shared: bool = False
    v: int = SCHEMA
