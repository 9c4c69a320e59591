"""Webhooks and deliveries of a tenant's jobs: judged at submit, shown with the job, replayed; and the secrets that
sign webhooks.

It sends nothing: those are duties of the keeper.
"""

from urllib.parse import urlsplit

from tasks import delivery
from tasks.bucket.allowed import check_host, check_output
from tasks.delivery import Delivery, OutputRequest
from tasks.errors import Conflict, InvalidInput, InvalidRequest
from tasks.job import Job
from tasks.ledger import Ledger
from tasks.ledger.owed import What
from tasks.request_shapes import JobRequest
from tasks.settings import Settings
from tasks.webhook import Webhook, WebhookRequest, shown
from tasks.webhook_secrets import WebhookSecrets


class Webhooks:
    """Operations of callers on webhooks and deliveries. Errors of every method: NotReady where Redis is away."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.settings, self.ledger = settings, ledger
        self.secrets = WebhookSecrets(settings.webhook_secrets_file())

    def wanted(self, tenant: str, request: JobRequest, alone: bool) -> WebhookRequest | None:
        """The webhook of a submit, or the tenant's default where the request does not name the field and the job is
        `alone`, no line of a batch. Errors: those of `check`."""
        if request.webhook:
            return self.check(tenant, request.webhook)
        return self.secrets.default(tenant) if alone and "webhook" not in request.model_fields_set else None

    def check(self, tenant: str, wanted: WebhookRequest) -> WebhookRequest:
        """The webhook of a submit. Errors: InvalidRequest where its host may not be reached, or no secret signs it."""
        try:
            check_host(urlsplit(wanted.url), self.settings)
        except InvalidInput as error:
            raise InvalidRequest([{"pointer": "/webhook/url", "detail": error.detail}]) from error
        if not self.secrets.of(tenant):
            told = "there is no secret to sign webhooks yet; make one with POST /v1/webhooks/secret"
            raise InvalidRequest([{"pointer": "/webhook", "detail": told}])
        return wanted

    def check_output(self, tenant: str, wanted: OutputRequest) -> OutputRequest:
        """The delivery of a submit. Errors: InvalidRequest where the operator does not allow it."""
        try:
            check_output(wanted.url, tenant, self.settings)
        except InvalidInput as error:
            raise InvalidRequest([{"pointer": "/output/url", "detail": error.detail}]) from error
        return wanted

    def with_state(self, job: Job) -> Job:
        """A job from the bucket with the states of its webhook and its delivery, where Redis has one."""
        kept: dict[str, Webhook | Delivery] = {}
        if job.webhook:
            state = self.ledger.owed_state("webhook", job.tenant, job.id)
            kept["webhook"] = Webhook.model_validate(shown(job.webhook.url, job.webhook.events, state))
        if job.delivery:
            state = self.ledger.owed_state("delivery", job.tenant, job.id)
            kept["delivery"] = Delivery.model_validate(delivery.shown(job.delivery.url, state))
        return job.model_copy(update=kept) if kept else job

    def replay(self, what: What, job: Job) -> None:
        """Sends the webhook of an ended job again, with the same id, or delivers its outputs again. Errors: Conflict
        where there is none."""
        if getattr(job, what) is None:
            raise Conflict(f"job {job.id} has no {what}")
        self.ledger.replay_owed(what, job.tenant, job.id)
