"""What the ledger's verbs are given and what they answer. It asks nothing of Redis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.job import SCHEMA, Fixed

AGAIN = 2
"""What `claim` answers where it has parked so many jobs that it does not know yet whether there is one."""

Record = dict[str, str]
Cause = Literal["own", "drain", "neighbour"]
"""Why an attempt is handed back: the job itself, a worker that goes, or what ran beside it."""


@dataclass(frozen=True)
class Submitted:
    """`bell`: a doorbell is needed. `replay_fingerprint`: the key was used before, by this job, for such a request.
    `left` submits the tenant may still make at once, where they are limited; in `reset_s` it may make all of a minute.
    """

    job_id: str
    bell: bool = False
    replay_fingerprint: str | None = None
    left: int = 0
    reset_s: float = 0


@dataclass(frozen=True)
class Claimed:
    """A started attempt: the record as it is now, and the token that alone may change it."""

    fixed: Fixed
    token: str
    number: int
    record: Record


@dataclass(frozen=True)
class Held:
    """A slot as `renew` saw it. Times in ms of Redis' clock; only slot, token, job_id and state where it is lost."""

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
    """Who claims: its id, pool, and the queues and lines it serves. `most`: how many jobs of each line it may hold, in
    their order, 0 for any number. `shared`: all its slots are one process. `v`: the newest form of record it knows."""

    id: str
    pool: str
    queues: Sequence[str]
    lines: Sequence[str]
    most: Sequence[int] = ()
    shared: bool = False
    v: int = SCHEMA
