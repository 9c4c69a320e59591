"""Sends webhooks: `completed` at least once, tried again for three days; `started` and `progress` at most once.

A line is a tenant's webhooks to one host. Few of a line and of a tenant are under way at once, and one of a line whose
last try was not answered, so that a receiver that hangs holds up nobody else. A keeper leases what it sends; what a
killed one did not tell comes again. `started` and `progress` are dropped where there is no room for them now.
"""

import logging
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from tasks.errors import NotReady, StorageUnavailable
from tasks.ids import now_ms
from tasks.ledger.webhooks import Line, Outcome, Owed
from tasks.service.jobs import Jobs
from worker.keeper import metrics
from worker.keeper.messages import Messages
from worker.keeper.posting import POST_S, Reply
from worker.keeper.skipped import Skipped

log = logging.getLogger(__name__)
AT_ONCE, OF_TENANT, OF_LINE = 64, 16, 4
"""Tries under way in one keeper: in all, of one tenant, of one tenant to one host."""
HOSTS_A_LOOK = 64
"""Hosts of a tenant that are looked at together."""
LEASE_S = 2 * POST_S
"""Seconds until a webhook that was taken and not told may be taken again."""
RETRY_S, GROWTH, LONGEST_S = 5.0, 4, 12 * 3600.0
"""Delay until the second try, its factor from try to try, and the longest, seconds; each within JITTER of it."""
JITTER = 0.25
GIVEN_UP_S = 3 * 86_400
"""Seconds after the end, or the last replay, beyond which no try is made."""
SLOW_LINES = 10_000
"""Lines that are remembered as slow, at most."""


class Webhooks:
    """The sender of one keeper, whose tries go on between its rounds, each on a thread of its own."""

    def __init__(self, jobs: Jobs, keeper: str, retry_s: float = RETRY_S) -> None:
        self._jobs, self._ledger, self._settings = jobs, jobs.ledger, jobs.settings
        self._keeper, self._retry_s = keeper, retry_s
        self._messages = Messages(jobs)
        self._changed = threading.Condition()
        self._busy: Counter[Line] = Counter()
        self._finished = threading.Event()
        self._slow: set[Line] = set()
        self._served: dict[str, float] = {}

    def round(self, skipped: Skipped) -> None:
        """Send what is due, for the time of a round. Errors: NotReady."""
        until = time.monotonic() + self._settings.renew_s
        self._start_passing(skipped)
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
        taken = self._ledger.take_webhooks(self._keeper, secrets.token_hex(8), wanted, LEASE_S)
        for owed in taken:
            self._start((owed.tenant, host_of(owed.url)), partial(self._send, owed), skipped)
        return len(taken)

    def _start_passing(self, skipped: Skipped) -> None:
        """Send started and progress where there is room; drop them where there is none."""
        for words in self._ledger.passing(OF_TENANT):
            try:
                tenant, event, at_ms, job_id, url = words.split(" ")
                line, at = (tenant, host_of(url)), float(at_ms)
            except (ValueError, IndexError) as error:
                skipped.add("a message of started or progress", error)
                continue
            with self._changed:
                of_tenant = sum(count for (one, _), count in self._busy.items() if one == tenant)
                has_room = self._busy.total() < AT_ONCE // 2 and of_tenant < OF_TENANT // 2
                has_room = has_room and line not in self._slow and self._busy[line] < OF_LINE
            if has_room:
                self._start(line, partial(self._pass, tenant, event, at, job_id, url), skipped)

    def _start(self, line: Line, send: Callable[[Skipped], Reply], skipped: Skipped) -> None:
        with self._changed:
            self._busy[line] += 1
        threading.Thread(target=self._run, args=(line, send, skipped), name="webhook", daemon=True).start()

    def _run(self, line: Line, send: Callable[[Skipped], Reply], skipped: Skipped) -> None:
        """One try, on its thread. An end that cannot be told comes again once its lease is over."""
        try:
            self._note(line, send(skipped).late)
        except (NotReady, StorageUnavailable):
            pass  # Redis or the bucket is away
        except Exception as error:
            skipped.add(f"a webhook of {line[0]}", error)
        finally:
            with self._changed:
                self._busy[line] -= 1
                if not self._busy[line]:
                    del self._busy[line]
                self._changed.notify_all()
            self._finished.set()

    def _pass(self, tenant: str, event: str, at_ms: float, job_id: str, url: str, skipped: Skipped) -> Reply:
        """Send started or progress, once."""
        body = self._messages.body(event, tenant, job_id, at_ms, "running", skipped)
        message_id = f"{job_id}_{event}_{at_ms:.0f}"
        return self._messages.post(tenant, url, message_id, body)

    def _wanted(self) -> Iterator[tuple[Line, int]]:
        """Due lines with the number of tries that each has room for; of the tenants with the fewest under way first."""
        with self._changed:
            busy = +self._busy
        free = AT_ONCE - busy.total()
        of_tenant: Counter[str] = Counter()
        for (tenant, _), count in busy.items():
            of_tenant[tenant] += count
        due = self._ledger.due_webhooks() if free else []
        self._served = {tenant: self._served.get(tenant, 0) for tenant in due}
        for tenant in sorted(due, key=lambda tenant: (of_tenant[tenant], self._served[tenant])):
            room = min(free, OF_TENANT - of_tenant[tenant])
            if not free:
                return
            self._served[tenant] = time.monotonic()
            for host in self._ledger.due_hosts(tenant, HOSTS_A_LOOK) if room > 0 else ():
                line = tenant, host
                count = min(room, (1 if line in self._slow else OF_LINE) - busy[line])
                if count > 0:
                    room, free = room - count, free - count
                    yield line, count

    def _send(self, owed: Owed, skipped: Skipped) -> Reply:
        """Try once and tell the outcome."""
        body = self._messages.body("completed", owed.tenant, owed.job_id, owed.owed_ms, owed.ended, skipped)
        reply = self._messages.post(owed.tenant, owed.url, f"{owed.job_id}_completed", body)
        outcome, delay_s = self._judge(owed, reply)
        self._ledger.tell_webhook(owed, outcome, reply.detail, reply.status, delay_s)
        metrics.WEBHOOKS.labels(outcome).inc()
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
        if reply.status == 410:
            return "off", 0
        tries = owed.attempts - owed.before
        backoff_s = min(self._retry_s * GROWTH ** min(tries, 20), LONGEST_S) * random.uniform(1 - JITTER, 1 + JITTER)
        delay_s = max(backoff_s, min(reply.retry_after_s, LONGEST_S))
        now = self._ledger.clock() or now_ms()
        over = now + delay_s * 1000 > owed.owed_ms + GIVEN_UP_S * 1000
        return ("failed", 0) if over else ("pending", delay_s)


def host_of(url: str) -> str:
    """The host of a URL with its port, as the ledger's lines name it."""
    return url.split("/", 3)[2].partition("?")[0]
