"""Sends webhooks of jobs and batches: `completed` at least once, tried again for three days; `started` and `progress`
at most once, which are dropped where there is no room for them now.
"""

from functools import partial

from tasks.ledger.owed import Owed
from tasks.service.batches import BATCH_ID
from tasks.service.jobs import Jobs
from worker.keeper.messages import Messages
from worker.keeper.posting import Reply
from worker.keeper.sender import RETRY_S, Room, Sender, host_of
from worker.keeper.skipped import Skipped


class Webhooks(Sender):
    """The sender of webhooks of one keeper."""

    what = "webhook"
    room = Room(at_once=64, of_tenant=16, of_line=4)

    def __init__(self, jobs: Jobs, keeper: str, retry_s: float = RETRY_S) -> None:
        super().__init__(jobs, keeper, retry_s)
        self._messages = Messages(jobs)

    def round(self, skipped: Skipped) -> None:
        """Send what is due, for the time of a round. Errors: NotReady."""
        self._start_passing(skipped)
        super().round(skipped)

    def _start_passing(self, skipped: Skipped) -> None:
        """Send started and progress where there is room; drop them where there is none."""
        for words in self._ledger.passing(self.room.of_tenant):
            try:
                tenant, event, at_ms, job_id, url = words.split(" ")
                line, at = (tenant, host_of(url)), float(at_ms)
            except (ValueError, IndexError) as error:
                skipped.add("a message of started or progress", error)
                continue
            with self._changed:
                of_tenant = sum(count for (one, _), count in self._busy.items() if one == tenant)
                has_room = self._busy.total() < self.room.at_once // 2 and of_tenant < self.room.of_tenant // 2
                has_room = has_room and line not in self._slow and self._busy[line] < self.room.of_line
            if has_room:
                self._start(line, partial(self._pass, tenant, event, at, job_id, url), skipped)

    def _pass(self, tenant: str, event: str, at_ms: float, job_id: str, url: str, skipped: Skipped) -> Reply:
        """Send started or progress, once."""
        body = self._messages.body(event, tenant, job_id, at_ms, "running", skipped)
        message_id = f"{job_id}_{event}_{at_ms:.0f}"
        return self._messages.post(tenant, url, message_id, body)

    def _try(self, owed: Owed, skipped: Skipped) -> Reply:
        if BATCH_ID.fullmatch(owed.job_id):
            body = self._messages.of_batch(owed.tenant, owed.job_id, owed.owed_ms)
        else:
            body = self._messages.body("completed", owed.tenant, owed.job_id, owed.owed_ms, owed.ended, skipped)
        return self._messages.post(owed.tenant, owed.url, f"{owed.job_id}_completed", body)
