"""Sends the webhooks that are owed, by Standard Webhooks 1.0: signed, at least once, tried again for three days.

A line is a tenant's webhooks to one host. Few of a line and of a tenant are under way at once, and one of a line whose
last try was not answered, so that a receiver that hangs holds up nobody else. A keeper leases what it sends; what a
killed one did not tell comes again. The body is made when it is sent: the job as a GET shows it then.
"""

import json
import logging
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator

from tasks.errors import Gone, NotFound, NotReady, StorageUnavailable
from tasks.ids import now_ms
from tasks.job import moment
from tasks.ledger.webhooks import Line, Outcome, Owed
from tasks.service.archive import Damaged
from tasks.service.jobs import Jobs
from tasks.webhook_secrets import WebhookSecrets
from worker.keeper import metrics
from worker.keeper.posting import POST_S, Reply, post
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
        self._secrets = WebhookSecrets(self._settings.webhook_secrets_file())
        self._changed = threading.Condition()
        self._busy: Counter[Line] = Counter()
        self._finished = threading.Event()
        self._slow: set[Line] = set()
        self._served: dict[str, float] = {}

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
        taken = self._ledger.take_webhooks(self._keeper, secrets.token_hex(8), wanted, LEASE_S)
        for owed in taken:
            with self._changed:
                self._busy[_line(owed)] += 1
            threading.Thread(target=self._send, args=(owed, skipped), name="webhook", daemon=True).start()
        return len(taken)

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

    def _send(self, owed: Owed, skipped: Skipped) -> None:
        """Try once and tell the outcome. What cannot be told comes again once its lease is over."""
        try:
            body = self._body(owed, skipped)
            reply = self._try(owed, body)
            outcome, delay_s = self._judge(owed, reply)
            self._ledger.tell_webhook(owed, outcome, reply.detail, reply.status, delay_s)
            metrics.WEBHOOKS.labels(outcome).inc()
            self._note(_line(owed), reply.late)
        except (NotReady, StorageUnavailable):
            pass  # Redis or the bucket is away
        except Exception as error:
            skipped.add(f"the webhook of {owed.job_id}", error)
        finally:
            with self._changed:
                self._busy[_line(owed)] -= 1
                self._changed.notify_all()
            self._finished.set()

    def _note(self, line: Line, late: bool) -> None:
        with self._changed:
            if not late:
                self._slow.discard(line)
            elif len(self._slow) < SLOW_LINES:
                self._slow.add(line)

    def _try(self, owed: Owed, body: bytes) -> Reply:
        signing, now = self._secrets.of(owed.tenant), int(time.time())
        if not signing:
            return Reply(None, "not sent: the tenant has no secret to sign it; POST /v1/webhooks/secret makes one")
        message_id = f"{owed.job_id}_completed"
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": " ".join(one.signature(message_id, now, body) for one in signing),
        }
        return post(owed.url, headers, body, self._settings)

    def _body(self, owed: Owed, skipped: Skipped) -> bytes:
        """The message. Of a job that was erased, or cannot be shown, it has id and status alone.

        Errors: NotReady, StorageUnavailable.
        """
        at, data = moment(owed.owed_ms), json.dumps({"id": owed.job_id, "status": owed.ended})
        try:
            job = self._jobs.get(owed.tenant, owed.job_id)
            at, data = job.completed_at or at, job.model_dump_json()
        except (NotFound, Gone):
            pass
        except (NotReady, StorageUnavailable) as error:
            if not isinstance(error, Damaged):
                raise
        except Exception as error:
            skipped.add(f"{owed.job_id} cannot be shown in its webhook", error)
        stamp = at.isoformat().replace("+00:00", "Z")
        return f'{{"type":"job.completed","timestamp":"{stamp}","data":{data}}}'.encode()

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


def _line(owed: Owed) -> Line:
    return owed.tenant, owed.url.split("/", 3)[2].partition("?")[0]
