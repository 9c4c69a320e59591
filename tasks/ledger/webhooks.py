"""The verbs of webhooks: owed, taken by a keeper, told, replayed; and the reads of their states. One part of `Ledger`
(verbs.py).

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
"""Seconds for which the state of a told webhook is kept at least."""
Outcome = Literal["delivered", "failed", "off", "pending"]
Line = tuple[str, str]
"""A tenant and a host with its port."""


@dataclass(frozen=True)
class Owed:
    """A webhook that a keeper has taken. `ended`: the job's final status. `attempts`: tries so far, `before` of them
    before the last replay. `owed_ms`: the time of the end, or of the last replay."""

    tenant: str
    job_id: str
    url: str
    ended: str
    attempts: int
    before: int
    owed_ms: float


class Webhooks(Connection):
    """Verbs of the keeper's duty, and of callers that look at a webhook or replay it."""

    def settle(self, ends: Sequence[Mapping[str, str]], restoring: str = "") -> int:
        """Owes the webhooks of ended jobs where that has not been done; the number of those owed now.

        `ends`: records as they ended, each with its `id`. `restoring`: the token of a restore.
        """
        names = ("tenant", "id", "webhook", "status", "retained_ms")
        owed = 0
        for first in range(0, len(ends), ENDS_A_CALL):
            words = [end[name] for end in ends[first : first + ENDS_A_CALL] for name in names]
            owed += self._run("settle", [], [restoring, *words], int)
        return owed

    def take_webhooks(self, keeper: str, token: str, wanted: Iterable[tuple[Line, int]], lease_s: float) -> list[Owed]:
        """Leases due webhooks to the keeper, of each line so many at most. `token` is another at each call."""
        words: list[Word] = [word for (tenant, host), count in wanted for word in (tenant, host, count)]
        taken = self._run("take_webhooks", [], [milliseconds(lease_s), keeper, token, *words], list)
        return [_owed(*one) for one in taken]

    def tell_webhook(self, owed: Owed, outcome: Outcome, detail: str, status: int | None, delay_s: float = 0) -> bool:
        """Notes the outcome of one more try, in words and with its HTTP status; False where nothing is owed. `delay_s`:
        seconds until the next try, where it is pending."""
        answer = json.dumps({"detail": detail, **({"status": status} if status else {})})
        return bool(
            self._run(
                "tell_webhook",
                [],
                [
                    owed.tenant,
                    owed.job_id,
                    owed.attempts + 1,
                    outcome,
                    milliseconds(delay_s),
                    milliseconds(KEPT_S),
                    answer,
                ],
                int,
            )
        )

    def replay_webhook(self, tenant: str, job_id: str) -> None:
        """Owes the webhook again, or lets it be tried now. Errors: Conflict where there is none to send."""
        match self._run("replay_webhook", [keys.job(job_id)], [tenant, job_id], int):
            case 0:
                raise errors.Conflict(f"job {job_id} has no webhook for its end")
            case 2:
                raise errors.Conflict(f"job {job_id} has not ended; its webhook is sent at its end")
            case 3:
                raise errors.Conflict(f"the URL of the webhook of job {job_id} is no longer known")

    def due_webhooks(self) -> list[str]:
        """Tenants that are owed a webhook now, the longest owed first."""
        now = self.clock() or now_ms()
        with away():
            return self.redis.zrangebyscore(keys.WEBHOOKS, "-inf", now, start=0, num=TENANTS_A_LOOK)

    def due_hosts(self, tenant: str, most: int) -> list[str]:
        """Hosts to which a webhook of the tenant is due now, the longest due first."""
        now = self.clock() or now_ms()
        with away():
            return self.redis.zrangebyscore(keys.webhook_hosts(tenant), "-inf", now, start=0, num=most)

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

    def with_webhooks(self, records: Sequence[Record]) -> list[Record]:
        """The records, each that has a webhook with the state of it as `webhook_state`."""
        having = {place: job_id for place, record in enumerate(records) if (job_id := _id_with_webhook(record))}
        if not having:
            return list(records)
        with away(), self.redis.pipeline(transaction=False) as together:
            for place, job_id in having.items():
                together.hgetall(keys.webhook(records[place]["tenant"], job_id))
            states = dict(zip(having, together.execute(), strict=True))
        return [
            {**record, "webhook_state": json.dumps(states[place])} if place in states else record
            for place, record in enumerate(records)
        ]

    def webhook_state(self, tenant: str, job_id: str) -> Record:
        """The state of a job's webhook; {} where there is none."""
        with away():
            return self.redis.hgetall(keys.webhook(tenant, job_id))


def _id_with_webhook(record: Record) -> str | None:
    """The id of a job that has a webhook; None where it has none, or the record is damaged."""
    try:
        return json.loads(record["fixed"])["id"] if "webhook" in record and "tenant" in record else None
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
