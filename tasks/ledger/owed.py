"""The verbs of webhooks and deliveries: owed, taken by a keeper, told, replayed; and the reads of their states. One
part of `Ledger` (verbs.py).

It knows no URL's meaning and sends nothing.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks import errors
from tasks.ids import now_ms
from tasks.ledger import keys
from tasks.ledger.client import Word
from tasks.ledger.connection import Connection, milliseconds
from tasks.ledger.faults import away
from tasks.ledger.shapes import Record

ENDS_A_CALL = 50
"""Ends that one call of settle handles at most."""
TENANTS_A_LOOK = 1000
KEPT_S = 86_400
"""Seconds for which the state of what is told is kept at least."""
What = Literal["webhook", "delivery"]
"""The messages that a tenant may be owed for the end of a job."""
OF_A_JOB: tuple[What, ...] = ("webhook", "delivery")
Outcome = Literal["delivered", "failed", "off", "pending"]
Line = tuple[str, str]
"""A tenant and a host with its port, or a bucket."""


@dataclass(frozen=True)
class Owed:
    """A webhook or a delivery that a keeper has taken. `ended`: the job's final status. `attempts`: tries so far,
    `before` of them before the last replay. `owed_ms`: the time of the end, or of the last replay."""

    tenant: str
    job_id: str
    url: str
    ended: str
    attempts: int
    before: int
    owed_ms: float


class Messages(Connection):
    """Verbs of the keeper's duties, and of callers that look at a webhook or a delivery or replay it."""

    def settle(self, what: What, ends: Sequence[Mapping[str, str]], restoring: str = "") -> int:
        """Owes the webhooks or deliveries of ended jobs where that has not been done; the number of those owed now.

        `ends`: records as they ended, each with its `id` and the field. `restoring`: the token of a restore.
        """
        names = ("tenant", "id", what, "status", "retained_ms")
        owed = 0
        for first in range(0, len(ends), ENDS_A_CALL):
            words = [end[name] for end in ends[first : first + ENDS_A_CALL] for name in names]
            owed += self._run("settle", [], [restoring, what, *words], int)
        return owed

    def owe_batch(self, batch: Record, kept_ms: float) -> None:
        """Owes the webhook of a batch whose jobs have all ended, where it has one that is not told; once, though it be
        asked again. `kept_ms`: the end of the batch's retention."""
        if "webhook" in batch and "told_ms" not in batch:
            self.settle("webhook", [{**batch, "status": "done", "retained_ms": f"{kept_ms:.0f}"}])

    def take_owed(
        self, what: What, keeper: str, token: str, wanted: Iterable[tuple[Line, int]], lease_s: float
    ) -> list[Owed]:
        """Leases due ones to the keeper, of each line so many at most. `token` is another at each call."""
        words: list[Word] = [word for (tenant, host), count in wanted for word in (tenant, host, count)]
        taken = self._run("take_owed", [], [what, milliseconds(lease_s), keeper, token, *words], list)
        return [_owed(*one) for one in taken]

    def lease_owed(self, what: What, taken: Iterable[Owed], hosts: Iterable[str], lease_s: float) -> None:
        """Prolongs the leases of what the keeper took and still sends, each with its host."""
        until = (self.clock() or now_ms()) + milliseconds(lease_s)
        lines = (
            (keys.owed_line(what, owed.tenant, host), owed.job_id) for owed, host in zip(taken, hosts, strict=True)
        )
        self.write(*(("ZADD", line, "XX", until, job_id) for line, job_id in lines))

    def tell_owed(
        self, what: What, owed: Owed, outcome: Outcome, detail: str, status: int | None = None, delay_s: float = 0
    ) -> bool:
        """Notes the outcome of one more try, in words and with its HTTP status; False where nothing is owed. `delay_s`:
        seconds until the next try, where it is pending."""
        answer = json.dumps({"detail": detail, **({"status": status} if status else {})})
        told: list[Word] = [
            owed.tenant,
            owed.job_id,
            owed.attempts + 1,
            outcome,
            milliseconds(delay_s),
            milliseconds(KEPT_S),
        ]
        return bool(self._run("tell_owed", [], [what, *told, answer], int))

    def replay_owed(self, what: What, tenant: str, job_id: str) -> None:
        """Owes it again, or lets it be tried now. Errors: Conflict where there is none to send."""
        match self._run("replay_owed", [keys.job(job_id)], [what, tenant, job_id], int):
            case 0:
                raise errors.Conflict(f"job {job_id} has no {what} for its end")
            case 2:
                raise errors.Conflict(f"job {job_id} has not ended; its {what} is sent at its end")
            case 3:
                raise errors.Conflict(f"the URL of the {what} of job {job_id} is no longer known")

    def due_tenants(self, what: What) -> list[str]:
        """Tenants that are owed one now, the longest owed first."""
        now = self.clock() or now_ms()
        with away():
            return self.redis.zrangebyscore(keys.OWED[what], "-inf", now, start=0, num=TENANTS_A_LOOK)

    def due_hosts(self, what: What, tenant: str, most: int) -> list[str]:
        """Hosts, or buckets, to which one of the tenant is due now, the longest due first."""
        now = self.clock() or now_ms()
        with away():
            return self.redis.zrangebyscore(keys.owed_hosts(what, tenant), "-inf", now, start=0, num=most)

    def passing(self, most: int) -> list[str]:
        """Takes messages of started and progress, so many of each tenant at most; '<event> <ms> <job id> <url>' each,
        with the tenant before it. They are not kept anywhere else."""
        with away():
            tenants = sorted(self.redis.smembers(keys.PASSING))
        found = []
        for tenant in tenants:
            (words,) = self.write(("LPOP", keys.passing(tenant), most))
            found += [f"{tenant} {one}" for one in words or ()]
            if not words:
                self.write(("SREM", keys.PASSING, tenant))
        return found

    def with_owed(self, records: Sequence[Record]) -> list[Record]:
        """The records, each that has a webhook or a delivery with the state of it as `webhook_state`,
        `delivery_state`."""
        having = [
            (place, what, job_id)
            for place, record in enumerate(records)
            for what in OF_A_JOB
            if what in record and (job_id := _id_of(record))
        ]
        if not having:
            return list(records)
        with away(), self.redis.pipeline(transaction=False) as together:
            for place, what, job_id in having:
                together.hgetall(keys.owed(what, records[place]["tenant"], job_id))
            states = together.execute()
        known = [dict(record) for record in records]
        for (place, what, _), state in zip(having, states, strict=True):
            known[place][f"{what}_state"] = json.dumps(state)
        return known

    def owed_state(self, what: What, tenant: str, job_id: str) -> Record:
        """The state of a job's webhook or delivery; {} where there is none."""
        with away():
            return self.redis.hgetall(keys.owed(what, tenant, job_id))


def _id_of(record: Record) -> str | None:
    """The id of the job, or of the batch; None where the record is damaged."""
    try:
        if "lines" in record:
            return record["id"]
        return json.loads(record["fixed"])["id"] if "tenant" in record else None
    except (ValueError, KeyError, TypeError):
        return None


def _owed(tenant: str, job_id: str, *flat: str) -> Owed:
    state = dict(zip(flat[::2], flat[1::2], strict=True))
    return Owed(
        tenant,
        job_id,
        state["url"],
        state["ended"],
        int(state["attempts"]),
        int(state["before"]),
        float(state["owed_ms"]),
    )
