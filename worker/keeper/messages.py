"""The messages of webhooks: their bodies, made when they are sent, and their signatures by Standard Webhooks 1.0.

It knows no schedule: webhooks.py decides what is sent when.
"""

import json
import time

from tasks.batch import Batch
from tasks.errors import Gone, NotFound, NotReady, StorageUnavailable
from tasks.job import moment
from tasks.service.archive import Damaged
from tasks.service.batches import Batches
from tasks.service.jobs import Jobs
from tasks.webhook_secrets import WebhookSecrets
from worker.keeper.posting import Reply, post
from worker.keeper.skipped import Skipped


class Messages:
    """Makes and posts the messages of one keeper."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs, self._settings = jobs, jobs.settings
        self._secrets = WebhookSecrets(self._settings.webhook_secrets_file())

    def body(self, event: str, tenant: str, job_id: str, at_ms: float, status: str, skipped: Skipped) -> bytes:
        """The message: the job as a GET shows it now. Of a job that was erased, or cannot be shown, it has id and
        status alone. Errors: NotReady, StorageUnavailable.
        """
        at, data = moment(at_ms), json.dumps({"id": job_id, "status": status})
        try:
            job = self._jobs.get(tenant, job_id)
            at, data = (event == "completed" and job.completed_at) or at, job.model_dump_json()
        except (NotFound, Gone):
            pass
        except (NotReady, StorageUnavailable) as error:
            if not isinstance(error, Damaged):
                raise
        except Exception as error:
            skipped.add(f"{job_id} cannot be shown in its webhook", error)
        stamp = at.isoformat().replace("+00:00", "Z")
        return f'{{"type":"job.{event}","timestamp":"{stamp}","data":{data}}}'.encode()

    def of_batch(self, tenant: str, batch_id: str, at_ms: float) -> bytes:
        """The message of a batch: the batch as a list shows it now, without the errors of its lines. Of one that was
        erased it has id and status alone. Errors: NotReady."""
        at, data = moment(at_ms), json.dumps({"id": batch_id, "status": "done"})
        try:
            batch = Batch.of_record(Batches(self._jobs).get(tenant, batch_id))
            at, data = batch.completed_at or at, batch.model_dump_json()
        except NotFound:
            pass
        stamp = at.isoformat().replace("+00:00", "Z")
        return f'{{"type":"batch.completed","timestamp":"{stamp}","data":{data}}}'.encode()

    def post(self, tenant: str, url: str, message_id: str, body: bytes) -> Reply:
        """Sign by each of the tenant's secrets and send."""
        signing, now = self._secrets.of(tenant), int(time.time())
        if not signing:
            return Reply(None, "not sent: the tenant has no secret to sign it; POST /v1/webhooks/secret makes one")
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": " ".join(one.signature(message_id, now, body) for one in signing),
        }
        return post(url, headers, body, self._settings)
