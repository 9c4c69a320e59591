"""The verbs of jobs that ask for the same work: cite, hand_on and let_go. One part of `Ledger` (verbs.py).

It knows digests, not what they are of (tasks/same_work.py).
"""

from collections.abc import Iterable
from typing import Literal, cast

from tasks.job import Fixed
from tasks.ledger import keys
from tasks.ledger.connection import Call, Connection
from tasks.ledger.faults import away
from tasks.ledger.shapes import Record

FOLLOWERS_A_CALL = 20
"""Followers that one call of hand_on cites: about 3 ms."""
Answer = Literal["succeeded", "released", "leads", "lost", "none"]
"""The answer of `cite`, as its script gives it."""
ANSWERED = ("succeeded", "released")
"""Answers to a job that does not run now."""


class SameWork(Connection):
    """Verbs of API, workers and keeper about the same work."""

    def cite(self, job_id: str, digest: str, token: str) -> Answer:
        """Ends the attempt by the result of a job that has done the same work; or takes it back, where one does it now;
        or lets it go on.

        'succeeded', 'released', 'leads', or how this token's attempt had ended before.
        """
        return cast(Answer, self._run(*_cite(job_id, digest, token, ""), str))

    def cite_call(self, fixed: Fixed, restoring: str = "") -> Call | None:
        """The call behind the submit of a job whose work is known by then; None for any other."""
        if not fixed.cache or fixed.start_ms is not None:
            return None
        return _cite(fixed.id, fixed.cache, "", restoring)

    def hand_on(self) -> int:
        """Lets followers of one ended leader go on; the number of leaders with followers left."""
        return self._run("hand_on", [keys.HANDING], [FOLLOWERS_A_CALL], int)

    def let_go(self, tenant: str, job_id: str) -> str:
        """Prepares the deletion of an erased job's objects: its citation ends. The folder of its outputs, where other
        jobs list them; it must stay, and is trash once the last of those jobs is erased. '' where there is none."""
        return self._run("let_go", [], [tenant, job_id], str)

    def is_citable(self, record: Record, job_id: str) -> bool:
        """True for an ended job whose result may still answer others."""
        if "cache" not in record:
            return False
        with away():
            return job_id in self.redis.hgetall(keys.cached(record["tenant"], record["cache"])).values()

    def leaders(self, records: Iterable[Record]) -> list[str]:
        """The job for which each follower waits; '' for a job that follows none."""
        records = list(records)
        named = [keys.same(one["tenant"], one["cache"]) if "follows" in one else "" for one in records]
        if not any(named):
            return named
        with away(), self.redis.pipeline(transaction=False) as together:
            for name in filter(None, named):
                together.zrange(name, 0, 0)
            found = iter(together.execute())
        return [next(iter(next(found)), "") if name else "" for name in named]


def _cite(job_id: str, digest: str, token: str, restoring: str) -> Call:
    return "cite", [keys.job(job_id)], [job_id, digest, token, restoring]
