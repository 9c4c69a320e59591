"""Sends what tenants are owed for ends of jobs, at least once: each try on a thread of its own, in bounded lines.

A line is a tenant's messages to one host, or into one bucket. Few of a line and of a tenant are under way at once, and
one of a line whose last try was not answered, so that a receiver that hangs holds up nobody else. A keeper leases what
it sends; what a killed one did not tell comes again. It does not know what is sent:
webhooks.py and deliveries.py do.
"""

import random
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tasks.errors import NotReady, StorageUnavailable
from tasks.ids import now_ms
from tasks.ledger.owed import Line, Outcome, Owed, What
from tasks.service.jobs import Jobs
from worker.keeper import metrics
from worker.keeper.posting import Reply
from worker.keeper.skipped import Skipped

HOSTS_A_LOOK = 64
"""Hosts of a tenant that are looked at together."""
LEASE_S = 30
"""Seconds until what was taken and neither told nor prolonged may be taken again."""
RETRY_S, GROWTH, LONGEST_S = 5.0, 4, 12 * 3600.0
"""Delay until the second try, its factor from try to try, and the longest, seconds; each within JITTER of it."""
JITTER = 0.25
GIVEN_UP_S = 3 * 86_400
"""Seconds after the end, or the last replay, beyond which no try is made."""
SLOW_LINES = 10_000
"""Lines that are remembered as slow, at most."""


@dataclass(frozen=True)
class Room:
    """Tries under way in one keeper, at most: in all, of one tenant, of one line."""

    at_once: int
    of_tenant: int
    of_line: int


class Sender(ABC):
    """The sender of one keeper, whose tries go on between its rounds."""

    what: What
    room: Room

    def __init__(self, jobs: Jobs, keeper: str, retry_s: float = RETRY_S) -> None:
        self._jobs, self._ledger, self._settings = jobs, jobs.ledger, jobs.settings
        self._keeper, self._retry_s = keeper, retry_s
        self._changed = threading.Condition()
        self._busy: Counter[Line] = Counter()
        self._finished = threading.Event()
        self._slow: set[Line] = set()
        self._served: dict[str, float] = {}

    @abstractmethod
    def _try(self, owed: Owed, skipped: Skipped) -> Reply:
        """Sends it once. Errors: NotReady, StorageUnavailable where ours is away; it then comes again."""

    def round(self, skipped: Skipped) -> None:
        """Send what is due, for the time of a round. Errors: NotReady."""
        until = time.monotonic() + self._settings.renew_s
        while time.monotonic() < until:
            self._finished.clear()
            if not self._start_due(skipped):
                return
            self._finished.wait(max(0.0, until - time.monotonic()))

    def wait(self, deadline_s: float) -> bool:
        """Wait until no try is under way; False where the time was over first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy.total(), deadline_s)

    def _start_due(self, skipped: Skipped) -> int:
        """Start as many due tries as there is room for. Returns their number."""
        wanted = list(self._wanted())
        if not wanted:
            return 0
        taken = self._ledger.take_owed(self.what, self._keeper, secrets.token_hex(8), wanted, LEASE_S)
        for owed in taken:
            self._start((owed.tenant, host_of(owed.url)), partial(self._send, owed), skipped)
        return len(taken)

    def _start(self, line: Line, send: Callable[[Skipped], Reply], skipped: Skipped) -> None:
        with self._changed:
            self._busy[line] += 1
        threading.Thread(target=self._run, args=(line, send, skipped), name=self.what, daemon=True).start()

    def _run(self, line: Line, send: Callable[[Skipped], Reply], skipped: Skipped) -> None:
        """One try, on its thread. An end that cannot be told comes again once its lease is over."""
        try:
            self._note(line, send(skipped).late)
        except (NotReady, StorageUnavailable):
            pass  # Redis or the bucket is away
        except Exception as error:
            skipped.add(f"a {self.what} of {line[0]}", error)
        finally:
            with self._changed:
                self._busy[line] -= 1
                if not self._busy[line]:
                    del self._busy[line]
                self._changed.notify_all()
            self._finished.set()

    def _wanted(self) -> Iterator[tuple[Line, int]]:
        """Due lines with the number of tries that each has room for; of the tenants with the fewest under way first."""
        with self._changed:
            busy = +self._busy
        free = self.room.at_once - busy.total()
        of_tenant: Counter[str] = Counter()
        for (tenant, _), count in busy.items():
            of_tenant[tenant] += count
        due = self._ledger.due_tenants(self.what) if free else []
        self._served = {tenant: self._served.get(tenant, 0) for tenant in due}
        for tenant in sorted(due, key=lambda tenant: (of_tenant[tenant], self._served[tenant])):
            room = min(free, self.room.of_tenant - of_tenant[tenant])
            if not free:
                return
            self._served[tenant] = time.monotonic()
            for host in self._ledger.due_hosts(self.what, tenant, HOSTS_A_LOOK) if room > 0 else ():
                line = tenant, host
                count = min(room, (1 if line in self._slow else self.room.of_line) - busy[line])
                if count > 0:
                    room, free = room - count, free - count
                    yield line, count

    def _send(self, owed: Owed, skipped: Skipped) -> Reply:
        """Try once and tell the outcome."""
        reply = self._try(owed, skipped)
        outcome, delay_s = self._judge(owed, reply)
        self._ledger.tell_owed(self.what, owed, outcome, reply.detail, reply.status, delay_s)
        metrics.SENT[self.what].labels(outcome).inc()
        return reply

    def _note(self, line: Line, late: bool) -> None:
        with self._changed:
            if not late:
                self._slow.discard(line)
            elif len(self._slow) < SLOW_LINES:
                self._slow.add(line)

    def _judge(self, owed: Owed, reply: Reply) -> tuple[Outcome, float]:
        """The outcome, and the seconds until the next try where it is pending."""
        if reply.delivered:
            return "delivered", 0
        if reply.final:
            return reply.final, 0
        tries = owed.attempts - owed.before
        backoff_s = min(self._retry_s * GROWTH ** min(tries, 20), LONGEST_S) * random.uniform(1 - JITTER, 1 + JITTER)
        delay_s = max(backoff_s, min(reply.retry_after_s, LONGEST_S))
        now = self._ledger.clock() or now_ms()
        over = now + delay_s * 1000 > owed.owed_ms + GIVEN_UP_S * 1000
        return ("failed", 0) if over else ("pending", delay_s)


def host_of(url: str) -> str:
    """The host of a URL with its port, or its bucket, as the ledger's lines name it."""
    return url.split("/", 3)[2].partition("?")[0]
